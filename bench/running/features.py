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

from bench.data.images import Delivery, Images
from bench.data.samples import DataSet, Samples, SourceInfo
from bench.encoders.base import Encoder
from bench.errors import BenchError, Declined
from bench.progress import progress
from bench.running.backends import Backend, level_tensor

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
    BenchError for shapes other than in `dims`, and for NaN or infinity."""
    start = time.perf_counter()
    with torch.no_grad():
        taps = encoder.eval().taps(torch.from_numpy(x))
    levels = {level: _tap(taps, level, (len(x), d), name) for level, d in encoder.dims.items()}
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
    # Not in inference mode, in which a model cannot take gradients of its own.
    with torch.no_grad(), progress(f"encoding {name}", len(images), "images") as counted:
        for chunk in images.batches(batch or _batch(images)):
            taps = compute(chunk.to(device))
            for level, array in features.items():
                shape = (len(chunk), array.shape[1])
                array[done : done + len(chunk)] = _tap(taps, level, shape, name)
            done += len(chunk)
            counted.update(len(chunk))
    _require_finite(features, name)
    chosen = {} if backend is None else {"name": backend.name, "refused": dict(backend.refused)}
    return Features(features, time.perf_counter() - start, chosen)


def _tap(taps: object, level: str, shape: tuple[int, int], name: str) -> Array:
    """One level of what `taps` gave: float32 of `shape` (n, d)."""
    tap = level_tensor(taps, level)
    if tap.shape != shape:
        raise BenchError(
            f"{name}: level {level!r} has shape {tuple(tap.shape)}; dims promises {shape}"
        )
    array: Array = tap.detach().float().cpu().numpy()
    return array


def is_collapsed(features: Array) -> bool:
    """Is every feature of (n, d) constant, up to the rounding of float32?"""

    def constant(rows: Array) -> bool:
        high, low = rows.max(axis=0), rows.min(axis=0)
        rounding = 8 * np.finfo(np.float32).eps * np.maximum(np.abs(high), np.abs(low))
        return bool((high.astype(np.float64) - low <= rounding).all())

    # Rows that differ are near the top, nearly always.
    return len(features) > 1 and constant(features[:64]) and constant(features)


def require_varying(features: Array, level: str) -> None:
    """Raise BenchError where all features (n, d) of the training rows are constant."""
    if is_collapsed(features):
        raise BenchError(
            f"the encoder has collapsed: all features of level {level!r} are constant over "
            f"{len(features)} training rows: there is nothing to learn from"
        )


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


def activations(below: nn.Module, images: Delivery) -> Array:
    """What comes out of the stages below the tuned ones: (n, ...) float32."""
    below.eval()
    device = next((p.device for p in below.parameters()), torch.device("cpu"))
    with torch.no_grad():
        chunks = images.batches(_batch(images))
        return np.concatenate([below(chunk.to(device)).float().cpu().numpy() for chunk in chunks])


def check_rows_independent(
    encoder: Encoder, images: Delivery, *, backend: Backend | None = None
) -> Features:
    """Features of 64 images; raises BenchError unless they are the same in one batch and in batches of 7.

    Largest difference relative to the features' root mean square: a live batch norm or dropout
    shows here. Half-precision weights may differ by the rounding of their type.
    """
    rounding = [torch.finfo(p.dtype).eps for p in encoder.parameters() if p.is_floating_point()]
    tolerance = max(1e-3, min(0.1, 8 * max(rounding, default=0.0)))
    first = Delivery(images.images, images.input, images.rows[:64])
    features_of_all = encode_images(encoder, first, name="64 images", backend=backend)
    whole = features_of_all.levels
    parts = encode_images(encoder, first, name="64 images", batch=7, backend=backend).levels
    for level, features in whole.items():
        scale = float(np.sqrt(np.mean(features.astype(np.float64) ** 2))) or 1.0
        gap = float(np.abs(features - parts[level]).max()) / scale
        if gap > tolerance:
            raise BenchError(
                f"features of level {level!r} depend on the batch (batches of 64 and 7 differ by "
                f"{gap:.2g} of their RMS); encode in eval mode, row by row"
            )
    return features_of_all
