"""An encoder under check: built and fitted on tiny images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import Array, SourceInfo, Target
from bench.encoders.base import Encoder, FitReport
from bench.errors import BenchError
from bench.naming.specs import Resolved
from bench.running.workspace import fresh
from bench.seeding import generator, seeded
from bench.testing._finding import Finding, first_line, require

COUNT = 96  # training images


def tiny_images(count: int, input: Input, *, seed: int = 0) -> ArrayImages:
    """Coarse noise in blocks of 4 x 4 pixels, plus fine noise: uint8 (count, c, h, w), no two alike."""
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


@dataclass(eq=False)
class EncoderCase:
    """The encoder of a spec, on grey images of 16 x 16 pixels with two classes."""

    spec: Resolved
    _fitted: dict[int, tuple[Encoder, FitReport]] = field(default_factory=dict)

    @property
    def encoder(self) -> Encoder:
        """Fitted with seed 0, once; a check leaves it unchanged."""
        return self.fitted(0)[0]

    def forget(self) -> None:
        """Let the next check fit anew: the fitted encoder has been changed."""
        self._fitted.clear()

    @cached_property
    def refitted(self) -> Encoder:
        """Fitted again with seed 0, from another global random state, and given labels in any case."""
        with seeded(90210):
            return self.fit(labels=self.labels())[0]

    @property
    def learns(self) -> bool:
        return self.spec.entry.training != "none" and self.spec.budget != 0

    def fitted(self, seed: int) -> tuple[Encoder, FitReport]:
        """Encoder and report, fitted once per seed."""
        if seed not in self._fitted:
            self._fitted[seed] = self.fit(seed=seed)
        return self._fitted[seed]

    def build(self, *, seed: int = 0, channels: Literal[1, 3] = 1, size: Any = (16, 16)) -> Encoder:
        """The untrained encoder for images of this shape, built as in a run."""
        targets = {"label": Target("classes", 2, ("even", "odd"))}
        info = SourceInfo(channels, size[0], size[1], targets)
        depends = {
            name: _Fitted(EncoderCase(spec).fit(seed=seed, images=self.images(channels, size))[0])
            for name, spec in self.spec.depends.items()
        }
        encoder = fresh(self.spec, info, seed, depends)  # type: ignore[arg-type]
        form = getattr(encoder, "input", None)
        require(
            isinstance(form, Input),
            f"`input` is {form!r}; set it in __init__ to a bench.Input(size=..., channels=...)",
            at="input __init__",
        )
        return encoder

    def images(self, channels: Literal[1, 3] = 1, size: Any = (16, 16)) -> ArrayImages:
        return tiny_images(COUNT, Input(size=size, channels=channels))

    def fit(
        self,
        *,
        seed: int = 0,
        images: ArrayImages | None = None,
        labels: Mapping[str, Array] | Literal["declared"] | None = "declared",
    ) -> tuple[Encoder, FitReport]:
        """A new encoder, fitted as in a run. "declared": it gets labels if it declares `uses_labels`."""
        images = images or self.images()
        native = images.native
        encoder = self.build(seed=seed, channels=native.channels, size=native.size)
        if not self.learns:
            return encoder, FitReport()
        if labels == "declared":
            labels = self.labels(len(images)) if encoder.uses_labels else None
        report = encoder.fit(
            Delivery(images, encoder.input), labels=labels, budget=self.budget(images), seed=seed
        )
        return encoder.eval(), report

    def budget(self, images: ArrayImages) -> int:
        """Twice the number of images, or for closed-form encoders that number."""
        return 2 * len(images) if self.spec.entry.training == "budget" else len(images)

    def labels(self, count: int = COUNT) -> dict[str, Array]:
        return {"label": np.arange(count, dtype=np.int64) % 2}

    def batch(self, count: int = 5) -> torch.Tensor:
        """Images that it was not fitted on, as its `input` says: float (count, c, h, w) in [0, 1]."""
        return self.delivery(count).read(np.arange(count))

    def delivery(self, count: int = 23) -> Delivery:
        form = self.encoder.input
        return Delivery(tiny_images(count, form, seed=1), form)


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """The part of a fitted encoder that `fresh` reads."""

    encoder: Encoder


def features(encoder: Encoder, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """All levels, in eval mode, without gradients."""
    with torch.inference_mode():
        taps = encoder.eval().taps(images)
        is_valid = isinstance(taps, Mapping) and all(
            isinstance(t, torch.Tensor) for t in taps.values()
        )
        require(
            is_valid,
            f"taps returns {_described(taps)}; expected {{level: tensor (n, d)}}",
            at="taps()",
        )
        return {name: tap.clone() for name, tap in taps.items()}


def _described(taps: object) -> str:
    if not isinstance(taps, Mapping):
        return f"{type(taps).__name__}"
    return ", ".join(f"{name!r}: {type(tap).__name__}" for name, tap in taps.items())


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def attempt(action: str, call: Any) -> Any:
    """`call()`; an exception becomes the finding that `action` fails."""
    try:
        return call()
    except (Finding, BenchError):
        raise
    except Exception as error:
        raise Finding(f"{action} fails: {first_line(error)}") from error


def require_json(report: FitReport) -> None:
    """Raise `Finding` unless the report can be written as JSON."""
    try:
        json.dumps(asdict(report), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Finding(f"the FitReport is not JSON ({error}); use finite numbers") from error
    require(isinstance(report.steps, int), "FitReport.steps is not a whole number")
