"""What a training of many runs at once draws and loses: batches, dropout, losses of known labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.seeding import generator, torch_generator

__all__ = ["Dropout", "Kind", "batches", "known", "loss"]

Array = NDArray[Any]
Kind = Literal["classes", "binary", "number"]


def batches(count: int, batch: int, epochs: int, seed: int) -> Iterator[Array]:
    """Row numbers (b,), whole epochs in an order of their own; the last batch of each is filled up
    from its beginning, so that all have one size."""
    rng, size = generator(seed, "batches"), min(batch, count)
    for _ in range(epochs):
        order = rng.permutation(count)
        for start in range(0, count, batch):
            yield np.take(order, np.arange(start, start + size), mode="wrap")


def known(kind: Kind, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (n, s) or (n,) with something harmless where none is known, and where one is: 1 or 0."""
    there = ~labels.isnan() if kind == "number" else labels >= 0
    filled = labels.nan_to_num() if kind == "number" else labels.clamp(min=0)
    return (filled if kind == "classes" else filled.float()), there.float()


def loss(kind: Kind, outputs: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """(r,) of outputs (r, b, s): cross-entropy in nats, or squared error."""
    if kind == "classes":
        flat = torch.nn.functional.cross_entropy(
            outputs.flatten(0, 1), labels.flatten(), reduction="none"
        )
        each = flat.view(labels.shape)
    elif kind == "binary":
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            outputs, labels, reduction="none"
        )
    else:
        each = (outputs - labels).square()
    return (each * known).flatten(1).sum(dim=1) / known.flatten(1).sum(dim=1).clamp(min=1)


class Dropout:
    """Units kept, by each run's own stream; the same in all towers of a run."""

    def __init__(self, shares: Sequence[float], seeds: Sequence[int], width: int) -> None:
        self._shares, self._width = shares, width
        self._draws = [torch_generator(seed, "dropout") for seed in seeds]

    def __call__(self, rows: int) -> Tensor | None:
        if not any(self._shares):
            return None
        kept = torch.ones(len(self._shares), 1, rows, self._width)
        for number, (share, draw) in enumerate(zip(self._shares, self._draws, strict=True)):
            if share:
                drawn = torch.rand(rows, self._width, generator=draw)
                kept[number, 0] = (drawn >= share) / (1 - share)
        return kept
