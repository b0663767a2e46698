"""Supervised trunk: trained on the labels themselves. The ceiling on them, not on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo, missing
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.labels import Heads, as_tensors, pick
from bench.encoders.parts.training import train
from bench.encoders.parts.trunk import ConvTrunk, check_sizes, conv_input
from bench.errors import BenchError

REVISION = 1

Array = npt.NDArray[Any]


class Supervised(Encoder):
    """The trunk, a linear code and a linear head a target, trained by cross-entropy."""

    uses_labels = True

    def __init__(
        self, source: SourceInfo, target: str | None, code: int, width: int, rate: float
    ) -> None:
        super().__init__()
        self.input, self.rate = conv_input(source), rate
        self.trunk = ConvTrunk(source.channels, width)
        self.to_code = nn.Linear(self.trunk.dim, code)
        self.dims = self.trunk.dims(code)
        # All targets of the data, or the one asked for: which of them are granted is known in fit.
        self.heads = Heads(code, pick(source.targets, target, "supervised"))

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_code)

    def stages(self) -> nn.Sequential:
        return self.trunk.stages()

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Least loss of the granted labels, summed over targets.

        Raises BenchError where no label of its targets is granted.
        """
        granted = {name: y for name, y in (labels or {}).items() if name in self.heads.targets}
        rows = np.flatnonzero(self._told(granted)) if granted else np.empty(0, dtype=np.int64)
        if not len(rows):
            raise BenchError("supervised needs labels, and no label of its targets is granted")
        # An image without any label would teach it nothing, and count as seen.
        images = Delivery(images.images, images.input, images.rows[rows])
        known = as_tensors({n: y[rows] for n, y in granted.items()}, self.to_code.weight.device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            index = torch.from_numpy(rows)
            wanted = {name: values[index] for name, values in known.items()}
            return self.heads.loss(self.to_code(self.trunk(batch)), wanted)

        return train(self, images, loss, budget=budget, seed=seed, rate=self.rate)

    def _told(self, labels: Mapping[str, Array]) -> Array:
        """Which rows have a label of any target: bool (n,)."""
        lacking = [missing(self.heads.targets[name], y) for name, y in labels.items()]
        by_row = [each if each.ndim == 1 else each.all(axis=1) for each in lacking]
        told: Array = ~np.all(by_row, axis=0)
        return told


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    target: str | None = None,
    code: int = 64,
    width: int = 16,
    rate: float = 1e-3,
) -> Supervised:
    """A trunk of `width`, 2 `width`, 4 `width` maps, trained on one `target` or on all; Adam's `rate`.

    Raises BenchError for a target that the data have not, a code below 1, and a width that is no
    multiple of 8.
    """
    check_sizes("supervised", code, width, rate)
    return Supervised(source, target, code, width, rate)
