"""A network in an ONNX file, run in a process of its own (path=NET.onnx)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder
from bench.encoders.parts.arguments import require_at_least, require_positive, training_data
from bench.encoders.parts.onnx_process import OnnxProcess
from bench.errors import BenchError

REVISION = 1
TRAINING = "none"
EXAMPLE = "path=../parts/onnx_example.onnx"


class OnnxNetwork(Encoder):
    """Images (n, c, h, w) in [0, 1] to one output of the network, flattened to (n, d).

    The network gets (images - mean) / std, channel by channel, with `bgr` the blue one first. It has no
    gradients.
    """

    seeded = False
    differentiable = False

    def __init__(
        self,
        network: OnnxProcess,
        input: Input,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        bgr: bool,
    ) -> None:
        super().__init__()
        self.network, self.input, self.bgr = network, input, bgr
        self.mean, self.std = (  # of NumPy: they stay with the process, on the CPU
            np.broadcast_to(np.asarray(values, np.float32), input.channels).reshape(-1, 1, 1)
            for values in (mean, std)
        )
        self.parameter_count = int(network.about["weights"])
        features = self.taps(torch.zeros(1, input.channels, *input.size))["output"]
        self.dims = {"output": features.shape[1]}

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        normalised = (images.cpu().numpy() - self.mean) / self.std
        features = self.network(normalised[:, ::-1] if self.bgr else normalised)
        return {"output": torch.from_numpy(features).to(images.device)}


def build(
    *,
    source: SourceInfo,
    path: Path,
    size: int | None = None,
    mean: str = "",
    std: str = "",
    bgr: bool = False,
    output: str = "",
    interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    crop: float = 1.0,
    pretrained_on: str = "",
    unlabelled: str = "",
) -> OnnxNetwork:
    """The network in a file `path` of ONNX, all in one file, with the operators of ONNX alone.

    Its one input is float32 (n, c, h, w) or (n, h, w, c), c = 1 or 3; `size` is needed where the network
    takes any. It gets (images - mean) / std of images in [0, 1]: `mean` and `std` are a number or one a
    channel, as in `mean=0.485+0.456+0.406`; without them those of the model's metadata
    ("reptransfer.mean", "reptransfer.std"), else 0 and 1. `bgr`: its first channel is blue. `output` names
    any value of the graph (default: its first output). `pretrained_on` names the data sets that it was
    trained on with labels, as in `imagenet-1k+coco`, `unlabelled` those without.

    Raises BenchError for a file that is no such network, and for one that takes more than 8 GB of memory
    or two minutes for a batch.
    """
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise BenchError(f"{package} is not installed: pip install 'reptransfer[fast]'")
    network = OnnxProcess(Path(path), output)
    about = network.about
    metadata: Mapping[str, str] = about["metadata"]
    channels: Literal[1, 3] = about["channels"] or 3
    if channels not in (1, 3):
        raise BenchError(f"{path} takes images of {channels} channels; 1 or 3 are needed")
    height, width = about["height"] or size, about["width"] or size
    if height is None or width is None:
        raise BenchError(f"{path} takes images of any size: give size=PIXELS")
    if size is not None:
        require_at_least(1, "onnx", size=size)
        if (height, width) != (size, size):
            raise BenchError(f"onnx,size={size}: {path} takes images of {height} x {width} pixels")
    require_positive("onnx", crop=crop)
    encoder = OnnxNetwork(
        network,
        Input(size=(height, width), channels=channels, interpolation=interpolation, crop=crop),
        _numbers("mean", mean or metadata.get("reptransfer.mean", "0"), channels),
        _numbers("std", std or metadata.get("reptransfer.std", "1"), channels),
        bgr=bgr,
    )
    encoder.pretrained_on, encoder.unlabelled = training_data(pretrained_on, unlabelled)
    return encoder


def _numbers(name: str, text: str, channels: int) -> list[float]:
    try:
        values = [float(part) for part in text.split("+")]
    except ValueError:
        values = []
    is_valid = len(values) in (1, channels) and all(map(math.isfinite, values))
    if not is_valid or (name == "std" and min(values) <= 0):
        raise BenchError(
            f"onnx,{name}={text}: must be a number or {channels} of them, as in {name}=0.5+0.4+0.6"
            + (", above 0" if name == "std" else "")
        )
    return values
