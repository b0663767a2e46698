"""What an encoder is: images in, vectors out, and nothing else known of the task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
from torch import Tensor, nn

from bench.data.images import Delivery, Input

__all__ = ["Encoder", "FitReport"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What a fit did: images drawn in all, optimiser steps, final loss terms, things to know."""

    images_seen: int = 0
    steps: int = 0
    terms: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


class Encoder(nn.Module, ABC):
    """Images (n, c, h, w) in [0, 1] to features (n, d): deterministic, row by row, in eval mode.

    A sub-class sets `input`, `dims` (level -> d, the default level first) and what else is not as
    here. All state that `fit` makes lies in parameters and buffers. Where it can decode(z),
    reconstruct(images) or sample(n), it has the method.
    """

    input: Input
    dims: Mapping[str, int]
    uses_labels: bool = False  # labels reach `fit`
    pretrained_on: tuple[str, ...] = ()  # data sets that given weights have seen
    differentiable: bool = True  # gradients of the features reach images and weights
    seeded: bool = True  # does `build` or `fit` draw random numbers?
    backends: tuple[
        str, ...
    ] = ()  # faster ways to run it on a CPU, the best first (running/backends.py)

    @property
    def level(self) -> str:
        """The level that is read out by default, and ranked."""
        return next(iter(self.dims))

    @abstractmethod
    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Features (n, d) of every level in `dims`, in one pass."""

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, d) of the default level."""
        return self.taps(images)[self.level]

    def stages(self) -> nn.Sequential | None:
        """Modules that compose to the default level, for tuning the last few; None: not in parts."""
        return None

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Learn from training images, up to `budget` images seen; by default there is nothing to do.

        labels: as in `Samples.y`, only if `uses_labels`, -1 or NaN where not granted.
        """
        return FitReport()
