"""An encoder under check: built and fitted on tiny images as often as the checks ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import SourceInfo, Target
from bench.encoders.base import Encoder, FitReport
from bench.errors import BenchError
from bench.naming.specs import Resolved
from bench.running.workspace import fresh
from bench.seeding import generator
from bench.testing._finding import Finding, require

__all__ = ["EncoderCase", "attempt", "features", "is_json", "same", "tiny_encoder", "tiny_images"]

Array = npt.NDArray[Any]
COUNT = 96  # training images


def tiny_images(count: int, input: Input, *, seed: int = 0) -> ArrayImages:
    """Blurred noise: uint8 (count, c, h, w), some structure, no two alike."""
    rng = generator(seed, "tiny_images")
    height, width = input.size
    coarse = rng.integers(0, 256, (count, input.channels, -(-height // 4), -(-width // 4)))
    smooth = coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width]
    noise = rng.integers(-20, 21, smooth.shape)
    return ArrayImages((smooth + noise).clip(0, 255).astype(np.uint8))


def tiny_encoder(spec: Resolved, *, seed: int = 0, count: int = COUNT, size: int = 16) -> Encoder:
    """The encoder of a spec, fitted on `count` tiny grey images with two classes."""
    case = EncoderCase(spec)
    images = tiny_images(count, Input(size=(size, size), channels=1))
    return case.fit(seed=seed, images=images)[0]


@dataclass(slots=True, eq=False)
class EncoderCase:
    """The encoder of a spec, on grey images of 16 x 16 pixels with two classes."""

    spec: Resolved
    _kept: dict[int, tuple[Encoder, FitReport]] = field(default_factory=dict)

    @property
    def encoder(self) -> Encoder:
        """Fitted with seed 0, once; a check leaves it as it was."""
        return self.fitted(0)[0]

    @property
    def learns(self) -> bool:
        return self.spec.entry.training != "none" and self.spec.budget != 0

    def fitted(self, seed: int) -> tuple[Encoder, FitReport]:
        """Encoder and report, fitted once a seed."""
        if seed not in self._kept:
            self._kept[seed] = self.fit(seed=seed)
        return self._kept[seed]

    def build(self, *, seed: int = 0, channels: Literal[1, 3] = 1, size: Any = (16, 16)) -> Encoder:
        """The untrained encoder for images of this kind, as a run builds it."""
        targets = {"label": Target("classes", 2, ("even", "odd"))}
        info = SourceInfo(channels, size[0], size[1], targets)
        depends = {
            name: _Done(EncoderCase(other).fit(seed=seed, images=self.images(channels, size))[0])
            for name, other in self.spec.depends.items()
        }
        return fresh(self.spec, info, seed, depends)  # type: ignore[arg-type]

    def images(self, channels: Literal[1, 3] = 1, size: Any = (16, 16)) -> ArrayImages:
        return tiny_images(COUNT, Input(size=size, channels=channels))

    def fit(
        self,
        *,
        seed: int = 0,
        images: ArrayImages | None = None,
        labels: Mapping[str, Array] | Literal["usual"] | None = "usual",
    ) -> tuple[Encoder, FitReport]:
        """A new encoder, fitted as a run fits it. `labels`: "usual" are those that it declares."""
        images = images or self.images()
        native = images.native
        encoder = self.build(seed=seed, channels=native.channels, size=native.size)
        if not self.learns:
            return encoder, FitReport()
        if labels == "usual":
            labels = self.labels(len(images)) if encoder.uses_labels else None
        report = encoder.fit(
            Delivery(images, encoder.input), labels=labels, budget=self.budget(images), seed=seed
        )
        return encoder.eval(), report

    def budget(self, images: ArrayImages) -> int:
        """Images seen, or for what is solved in closed form all that there are."""
        return 2 * len(images) if self.spec.entry.training == "budget" else len(images)

    def labels(self, count: int = COUNT) -> dict[str, Array]:
        return {"label": np.arange(count, dtype=np.int64) % 2}

    def batch(self, count: int = 5) -> torch.Tensor:
        """Some images that it was not fitted on, as it wants them."""
        return self.delivery(count).read(np.arange(count))

    def delivery(self, count: int = 23) -> Delivery:
        form = self.encoder.input
        return Delivery(tiny_images(count, form, seed=1), form)


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """As much of a fitted encoder as `fresh` reads."""

    encoder: Encoder


def features(encoder: Encoder, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """All levels, in eval mode, without gradients."""
    with torch.inference_mode():
        return {name: tap.clone() for name, tap in encoder.eval().taps(images).items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def attempt(what: str, call: Any) -> Any:
    """`call()`; what it raises becomes a finding that names `what` failed."""
    try:
        return call()
    except (Finding, BenchError):
        raise
    except Exception as error:
        raise Finding(f"{what} fails: {type(error).__name__}: {error}".splitlines()[0]) from error


def is_json(value: FitReport) -> None:
    """Raise `Finding` unless a report can be written."""
    try:
        json.dumps(asdict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Finding(f"fit's report is no JSON ({error}); give numbers that are finite") from error
    require(isinstance(value.steps, int), "FitReport.steps is no whole number")
