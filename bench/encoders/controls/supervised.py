"""Supervised network: trained on the labels; an upper reference on tasks with the same labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.labels import Heads, as_tensors, pick, without_labels
from bench.encoders.parts.training import train
from bench.encoders.parts.trunk import ConvTrunk, Sizes, conv_input
from bench.errors import BenchError

REVISION = 1


class Supervised(Encoder):
    """Trunk, linear code and a linear head for each target, trained by cross-entropy (squared error for
    numbers)."""

    uses_labels = True

    def __init__(self, source: SourceInfo, target: str | None, sizes: Sizes) -> None:
        super().__init__()
        self.input, self.rate = conv_input(source), sizes.rate
        self.trunk = ConvTrunk(source.channels, sizes.width)
        self.to_code = nn.Linear(self.trunk.dim, sizes.code)
        self.dims = self.trunk.dims(sizes.code)
        # Heads for all targets: which of them are granted is only known in `fit`.
        self.heads = Heads(sizes.code, pick(source.targets, target, "supervised"))

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_code)

    def stages(self) -> nn.Sequential:
        return self.trunk.stages()

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Minimises the loss of the granted labels, summed over targets.

        Raises BenchError where no label of its targets is granted.
        """
        granted = {name: y for name, y in (labels or {}).items() if name in self.heads.targets}
        unlabelled = [without_labels(self.heads.targets[name], y) for name, y in granted.items()]
        rows = np.flatnonzero(~np.all(unlabelled, axis=0)) if granted else np.empty(0, np.int64)
        if not len(rows):
            raise BenchError("supervised needs labels, but no labels of its targets are granted")
        # Images without any label have no loss, but would count as seen.
        images = Delivery(images.images, images.input, images.rows[rows])
        tensors = as_tensors({n: y[rows] for n, y in granted.items()}, self.to_code.weight.device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            index = torch.from_numpy(rows)
            batch_labels = {name: values[index] for name, values in tensors.items()}
            return self.heads.loss(self.to_code(self.trunk(batch)), batch_labels)

        return train(self, images, loss, budget=budget, seed=seed, rate=self.rate)


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    target: str | None = None,
    code: int = 64,
    width: int = 16,
    rate: float = 1e-3,
) -> Supervised:
    """The common trunk, trained on labels.

    target: the target to train on; None: all of the data set
    code: dimension of the code, between trunk and heads
    track, width, rate: as for `autoencoder`

    Raises BenchError for an unknown target, and for code, width and rate as `autoencoder` does.
    """
    return Supervised(source, target, Sizes(code, width, rate).checked("supervised"))
