"""Features of images: one pass of an encoder, and the check that they do not depend on the batch."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from bench.data.images import Delivery, Images
from bench.data.samples import DataSet, Samples, SourceInfo
from bench.encoders.base import Encoder
from bench.errors import BenchError, Declined
from bench.running.backends import Backend

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Level -> (n, d) float32, the seconds that reading and encoding took, and the back end."""

    levels: Mapping[str, Array]
    seconds: float
    backend: Mapping[str, Any] = field(default_factory=dict)


def images_of(samples: Samples) -> Images:
    """The images of a data set's own split. Raises Declined where it holds features."""
    if isinstance(samples.x, np.ndarray):
        raise Declined("the data set holds features, not images")
    if isinstance(samples.x, Delivery):
        raise TypeError("a data set's split holds images")
    return samples.x


def encode_features(encoder: Encoder, x: Array, *, name: str) -> Features:
    """Features x (n, d) of a data set without images through an encoder that takes them. Raises
    BenchError for NaN or infinity."""
    start = time.perf_counter()
    with torch.inference_mode():
        taps = encoder.eval().taps(torch.from_numpy(x))
    levels = {level: tap.numpy() for level, tap in taps.items()}
    _require_finite(levels, name)
    return Features(levels, time.perf_counter() - start)


def source_info(dataset: DataSet) -> SourceInfo:
    """What an encoder may know of a data set before it sees an image."""
    train = dataset.split("train")
    if isinstance(train.x, np.ndarray):
        targets, seen = dataset.meta.targets, dataset.pretrained_on
        return SourceInfo(1, 1, train.x.shape[1], targets, features=True, pretrained_on=seen)
    native = images_of(train).native
    height, width = native.size
    return SourceInfo(native.channels, height, width, dataset.meta.targets)


def encode_images(
    encoder: Encoder,
    images: Delivery,
    *,
    name: str,
    batch: int | None = None,
    backend: Backend | None = None,
    levels: Collection[str] | None = None,
) -> Features:
    """Features of `levels` (None: all), in one pass, in eval mode, without gradients.

    name: of the images, for progress and errors. batch: images at a time (None: up to 512, of 64 MiB at
    most). backend: computes the features (None: the encoder itself).
    Raises BenchError for shapes other than in `dims`, and for NaN or infinity.
    """
    start, encoder = time.perf_counter(), encoder.eval()
    compute = encoder.taps if backend is None else backend.taps
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    features = {
        level: np.empty((len(images), d), np.float32)
        for level, d in encoder.dims.items()
        if levels is None or level in levels
    }
    done = 0
    progress = tqdm(total=len(images), desc=name, unit="image", disable=None, leave=False, delay=1)
    with torch.inference_mode(), progress:
        for chunk in images.batches(batch or _batch(images)):
            taps = compute(chunk.to(device))
            for level, array in features.items():
                tap = taps[level]
                if tap.shape != (len(chunk), array.shape[1]):
                    raise BenchError(
                        f"{name}: level {level!r} has shape {tuple(tap.shape)}; dims promises "
                        f"{(len(chunk), array.shape[1])}"
                    )
                array[done : done + len(chunk)] = tap.float().cpu().numpy()
            done += len(chunk)
            progress.update(len(chunk))
    _require_finite(features, name)
    chosen = {} if backend is None else {"name": backend.name, "refused": dict(backend.refused)}
    return Features(features, time.perf_counter() - start, chosen)


def _require_finite(levels: Mapping[str, Array], name: str) -> None:
    for level, array in levels.items():
        bad = int((~np.isfinite(array).all(axis=1)).sum())
        if bad:
            raise BenchError(
                f"{name}: features of level {level!r} hold NaN or infinity in {bad} of {len(array)} rows"
            )


def _batch(images: Delivery) -> int:
    height, width = images.input.size
    return max(16, min(512, 2**26 // (4 * images.input.channels * height * width)))


def activations(below: nn.Module, images: Delivery, *, batch: int | None = None) -> Array:
    """What comes out of the stages below the tuned ones: (n, ...) float32."""
    below.eval()
    device = next((p.device for p in below.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        return np.concatenate(
            [
                below(chunk.to(device)).float().cpu().numpy()
                for chunk in images.batches(batch or _batch(images))
            ]
        )


def check_rows_independent(
    encoder: Encoder, images: Delivery, *, backend: Backend | None = None, tolerance: float = 1e-3
) -> None:
    """Raise BenchError unless 64 images give the same features in one batch and in batches of 7.

    Largest difference relative to the features' root mean square: a live batch norm or dropout
    shows here.
    """
    first = Delivery(images.images, images.input, images.rows[:64])
    whole = encode_images(encoder, first, name="64 images", backend=backend).levels
    parts = encode_images(encoder, first, name="64 images", batch=7, backend=backend).levels
    for level, features in whole.items():
        scale = float(np.sqrt(np.mean(features.astype(np.float64) ** 2))) or 1.0
        gap = float(np.abs(features - parts[level]).max()) / scale
        if gap > tolerance:
            raise BenchError(
                f"features of level {level!r} depend on the batch (batches of 64 and 7 differ by "
                f"{gap:.2g} of their RMS); encode in eval mode, row by row"
            )
