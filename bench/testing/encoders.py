"""What every encoder keeps to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.data import SourceInfo, Target
from bench.encoders.base import Encoder
from bench.errors import BenchError
from bench.features import extract
from bench.images import ArrayImages, Delivery, Input
from bench.lab import fresh
from bench.seeding import generator
from bench.specs import Resolved
from bench.testing._finding import Check, Finding, require

__all__ = ["encoder_checks", "tiny_encoder", "tiny_images"]

Array = npt.NDArray[Any]


def tiny_images(count: int, input: Input, *, seed: int = 0) -> ArrayImages:
    """Blurred noise: uint8 (count, c, h, w), some structure, no two alike."""
    rng = generator(seed, "tiny_images")
    height, width = input.size
    coarse = rng.integers(0, 256, (count, input.channels, -(-height // 4), -(-width // 4)))
    smooth = coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width]
    noise = rng.integers(-20, 21, smooth.shape)
    return ArrayImages((smooth + noise).clip(0, 255).astype(np.uint8))


def tiny_encoder(spec: Resolved, *, seed: int = 0, count: int = 96, size: int = 16) -> Encoder:
    """The encoder of a spec, fitted on `count` tiny grey images with two classes."""
    info = SourceInfo(1, size, size, {"label": Target("classes", 2, ("even", "odd"))})
    depends = {
        name: _Done(tiny_encoder(other, seed=seed, count=count, size=size))
        for name, other in spec.depends.items()
    }
    encoder = fresh(spec, info, seed, depends)  # type: ignore[arg-type]
    if spec.entry.training == "none" or spec.budget == 0:
        return encoder
    images = tiny_images(count, Input(size=(size, size), channels=1))
    labels = {"label": np.arange(count, dtype=np.int64) % 2} if encoder.uses_labels else None
    encoder.fit(Delivery(images, encoder.input), labels=labels, budget=2 * count, seed=seed)
    return encoder.eval()


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """As much of a fitted encoder as `fresh` reads."""

    encoder: Encoder


def _deliver(encoder: Encoder, count: int = 23) -> Delivery:
    return Delivery(tiny_images(count, encoder.input, seed=1), encoder.input)


def check_encoder_shape(encoder: Encoder) -> None:
    """Features are float32 (n, dims[level]), for every level, also for one image."""
    for count in (1, 23):
        images = _deliver(encoder, count).read(np.arange(count))
        with torch.inference_mode():
            taps = encoder.eval().taps(images)
        require(
            set(taps) == set(encoder.dims),
            f"taps gives {sorted(taps)}, dims {sorted(encoder.dims)}",
        )
        for level, tap in taps.items():
            wanted = (count, encoder.dims[level])
            require(
                tuple(tap.shape) == wanted and tap.dtype == torch.float32,
                f"level {level!r} is {tap.dtype} {tuple(tap.shape)}; float32 {wanted} is wanted",
            )


def check_encoder_finite(encoder: Encoder) -> None:
    """Features are finite, also of black and of white images."""
    height, width = encoder.input.size
    images = torch.zeros(2, encoder.input.channels, height, width)
    images[1] = 1
    with torch.inference_mode():
        for level, tap in encoder.eval().taps(images).items():
            require(
                bool(tap.isfinite().all()),
                f"level {level!r} of a black or white image is not finite",
            )
    try:
        extract(encoder, _deliver(encoder), what="tiny images")
    except BenchError as error:
        raise Finding(str(error)) from error


def check_encoder_forward(encoder: Encoder) -> None:
    """`forward` gives the default level of `taps`."""
    images = _deliver(encoder).read(np.arange(5))
    with torch.inference_mode():
        same = torch.equal(encoder.eval()(images), encoder.taps(images)[encoder.level])
    require(same, "forward(images) differs from taps(images) at the default level")


def check_encoder_deterministic(encoder: Encoder) -> None:
    """The same images give the same features, bit for bit: no sampling, no dropout, no corruption."""
    first = extract(encoder, _deliver(encoder), what="tiny images").levels
    again = extract(encoder, _deliver(encoder), what="tiny images").levels
    for level, features in first.items():
        require(
            np.array_equal(features, again[level]),
            f"level {level!r} differs from call to call; encode in eval mode, with the mean",
        )


def check_encoder_rows_independent(encoder: Encoder) -> None:
    """A row's features do not depend on its batch: 23, 7 or 1 at a time differ by under 1e-4."""
    whole = extract(encoder, _deliver(encoder), what="tiny images").levels
    for batch in (7, 1):
        parts = extract(encoder, _deliver(encoder), what="tiny images", batch=batch).levels
        for level, features in whole.items():
            scale = float(np.sqrt((features.astype(np.float64) ** 2).mean())) or 1.0
            gap = float(np.abs(features - parts[level]).max()) / scale
            require(
                gap < 1e-4,
                f"level {level!r} moves by {gap:.2g} of its RMS in batches of {batch}; use GroupNorm, "
                "or batch norm in eval mode",
            )


def check_encoder_untouched(encoder: Encoder) -> None:
    """Encoding changes neither its input nor a parameter or buffer, even outside inference mode."""
    images = _deliver(encoder).read(np.arange(23))
    kept = images.clone()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.eval().taps(images)
    require(
        torch.equal(images, kept), "the images that were passed in are changed; copy them first"
    )
    for name, value in encoder.state_dict().items():
        require(torch.equal(value, before[name]), f"{name!r} changes while encoding")


def encoder_checks() -> list[Check[Encoder]]:
    """For a fitted encoder."""
    return [
        check_encoder_shape,
        check_encoder_finite,
        check_encoder_forward,
        check_encoder_deterministic,
        check_encoder_rows_independent,
        check_encoder_untouched,
    ]
