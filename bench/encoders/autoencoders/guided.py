"""Guided autoencoder: gives the image back, and is told the labels of some images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import SourceInfo, Target, missing
from bench.encoders.base import FitReport
from bench.encoders.parts.autoencoder import Autoencoder, Track, squared_error
from bench.encoders.parts.labels import Heads, as_tensors, pick
from bench.encoders.parts.training import train
from bench.encoders.parts.trunk import check_sizes
from bench.errors import BenchError
from bench.seeding import generator

REVISION = 1

Array = npt.NDArray[Any]


class Guided(Autoencoder):
    """An autoencoder with a linear head a target on its code, for a share of the granted labels."""

    uses_labels = True

    def __init__(
        self,
        source: SourceInfo,
        *,
        track: Track,
        target: str | None,
        share: float,
        weight: float,
        code: int,
        width: int,
        rate: float,
    ) -> None:
        super().__init__(source, track=track, code=code, width=width, rate=rate)
        self.share, self.weight = share, weight
        self.heads = Heads(code, pick(source.targets, target, "guided"))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Squared error of all images, and `weight` x the labelled ones' loss, a mean over those in
        the batch: so that the weight means the same for every share.

        Raises BenchError where no label of its targets is granted.
        """
        granted = {name: y for name, y in (labels or {}).items() if name in self.heads.targets}
        if not granted:
            raise BenchError("guided needs labels, and no label of its targets is granted")
        told = {
            name: shared(self.heads.targets[name], y, self.share, seed)
            for name, y in granted.items()
        }
        known = as_tensors(told, next(self.parameters()).device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            code = self.encode(batch)
            terms = {"reconstruction": squared_error(self.decode(code), batch)}
            index = torch.from_numpy(rows)
            wanted = {name: values[index] for name, values in known.items()}
            heads = self.heads.loss(code, wanted)
            return terms | {name: self.weight * term for name, term in heads.items()}

        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        used = {
            name: int((~_missing(self.heads.targets[name], y)).sum()) for name, y in told.items()
        }
        return FitReport(
            images_seen=report.images_seen,
            steps=report.steps,
            terms=report.terms,
            notes={"labels": used},
        )


def shared(target: Target, labels: Array, share: float, seed: int) -> Array:
    """`labels` with all but a `share` of them taken away, each class by its part (rounded up).

    A smaller share lies within a larger one.
    """
    order = generator(seed, "share").permutation(len(labels))
    known = order[~_missing(target, labels)[order]]
    by_class = [known]
    if target.kind == "classes":
        by_class = [known[labels[known] == c] for c in np.unique(labels[known])]
    part = Fraction(str(share))  # exact: 0.07 of 100 are 7
    kept = [rows[: math.ceil(part * len(rows))] for rows in by_class]
    chosen = np.concatenate(kept) if kept else known
    found = np.full_like(labels, np.nan if target.kind == "number" else -1)
    found[chosen] = labels[chosen]
    return found


def _missing(target: Target, labels: Array) -> Array:
    """Rows without any label: bool (n,)."""
    found: Array = np.all(missing(target, labels).reshape(len(labels), -1), axis=1)
    return found


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
    """Squared error of every image, and `weight` x the loss of a linear head for one `target` or all,
    on a `share` of the labels: semi-supervised (Ranzato and Szummer 2008, doi:10.1145/1390156.1390256).
    Sizes and Adam's `rate` as for `autoencoder`.

    Raises BenchError for a share outside (0, 1], a negative weight, a target that the data have not, a
    code below 1, a width that is no multiple of 8.
    """
    check_sizes("guided", code, width, rate)
    if not 0 < share <= 1:
        raise BenchError(f"guided,share={share:g}: a share above 0, up to 1, is wanted")
    if weight < 0:
        raise BenchError(f"guided,weight={weight:g}: a weight of 0 or more is wanted")
    return Guided(
        source,
        track=track,
        target=target,
        share=share,
        weight=weight,
        code=code,
        width=width,
        rate=rate,
    )
