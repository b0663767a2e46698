"""Guided autoencoder: reconstructs the image and predicts the labels of a share of the images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo, Target
from bench.encoders.base import FitReport
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.autoencoder import Autoencoder, Track, squared_error
from bench.encoders.parts.labels import Heads, as_tensors, pick, without_labels
from bench.encoders.parts.training import train
from bench.encoders.parts.trunk import Sizes
from bench.errors import BenchError
from bench.seeding import generator

REVISION = 1


class Guided(Autoencoder):
    """An autoencoder with a linear head for each target on its code, trained on a share of the granted
    labels."""

    uses_labels = True

    def __init__(
        self,
        source: SourceInfo,
        track: Track,
        sizes: Sizes,
        *,
        target: str | None,
        share: float,
        weight: float,
    ) -> None:
        super().__init__(source, track, sizes)
        self.share, self.weight = share, weight
        self.heads = Heads(sizes.code, pick(source.targets, target, "guided"))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Minimises the squared error of all images + `weight` x the loss of the labels, a mean over the
        labelled rows of the batch, so that the weight means the same for every share.

        Raises BenchError where no label of its targets is granted.
        """
        targets = self.heads.targets
        granted = {name: y for name, y in (labels or {}).items() if name in targets}
        if not granted:
            raise BenchError("guided needs labels, but no labels of its targets are granted")
        selected = {
            name: share_of_labels(targets[name], y, self.share, seed) for name, y in granted.items()
        }
        tensors = as_tensors(selected, next(self.parameters()).device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            code = self.encode(batch)
            terms = {"reconstruction": squared_error(self.decode(code), batch)}
            index = torch.from_numpy(rows)
            batch_labels = {name: y[index] for name, y in tensors.items()}
            heads = self.heads.loss(code, batch_labels)
            return terms | {name: self.weight * term for name, term in heads.items()}

        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        counts = {
            name: int((~without_labels(targets[name], y)).sum()) for name, y in selected.items()
        }
        return replace(report, notes={"labels": counts})


def share_of_labels(target: Target, labels: Array, share: float, seed: int) -> Array:
    """`labels` with only a `share` of them, of each class the same (rounded up), the others missing.

    With equal seeds a smaller share is a subset of a larger one.
    """
    order = generator(seed, "share").permutation(len(labels))
    labelled = order[~without_labels(target, labels)[order]]
    by_class = [labelled]
    if target.kind == "classes":
        by_class = [labelled[labels[labelled] == c] for c in np.unique(labels[labelled])]
    fraction = Fraction(str(share))  # exact: 0.07 of 100 are 7
    selected = [rows[: math.ceil(fraction * len(rows))] for rows in by_class]
    chosen = np.concatenate(selected) if selected else labelled
    remaining = np.full_like(labels, np.nan if target.kind == "number" else -1)
    remaining[chosen] = labels[chosen]
    return remaining


def build(
    *,
    source: SourceInfo,
    track: Literal["conv", "mlp"] = "conv",
    target: str | None = None,
    share: float = 0.1,
    weight: float = 1.0,
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> Guided:
    """Squared error of every image + `weight` x the loss of linear heads on the code: semi-supervised
    (Ranzato and Szummer 2008, doi:10.1145/1390156.1390256).

    target: the target whose labels are used; None: all of the data set
    share: of the granted labels that is used, in (0, 1]
    weight: of the labels' loss, 0 or more
    track, code, width, rate: as for `autoencoder`, with the same errors

    Raises BenchError for a share outside (0, 1], a negative weight and an unknown target.
    """
    sizes = Sizes(code, width, rate).checked("guided")
    if not 0 < share <= 1:
        raise BenchError(f"guided,share={share:g}: must be above 0 and at most 1")
    require_at_least(0, "guided", weight=weight)
    return Guided(source, track, sizes, target=target, share=share, weight=weight)
