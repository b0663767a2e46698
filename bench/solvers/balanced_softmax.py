"""Softmax regression on class-balanced batches: every class has equal weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import BenchError
from bench.seeding import generator
from bench.solvers._checks import Array
from bench.solvers._descent import BATCH, descend

REVISION = 1
KNOWN_AS = "solvers/balanced"  # its key in the revisions of records


@dataclass(frozen=True, slots=True, eq=False)
class LinearClassifier:
    """Logits x W + b."""

    weights: Array  # (d, C) float32
    bias: Array  # (C,) float32

    def scores(self, x: Array) -> Array:
        """(n, C), float32, of features (n, d)."""
        logits: Array = x.astype(np.float32) @ self.weights + self.bias
        return logits


def train(
    x: Array,
    y: Array,
    classes: int,
    *,
    samples: int,
    seed: int,
    penalty: float = 0.0,
    rate: float = 0.03,
) -> LinearClassifier:
    """Fit to features x (n, d), mean squared length about 1, with labels y (n,); for every row of a batch
    a class is drawn uniformly, then a row of it. Weights start at 0. Objective: mean cross-entropy in nats
    + `penalty` |W|^2, for weights W of features scaled by sqrt(d), to mean square 1 each.

    Raises BenchError where a class has no row, and for a penalty below 0.
    """
    if not penalty >= 0:
        raise BenchError(f"penalty={penalty}: must be 0 or more")
    counts = np.bincount(y, minlength=classes)
    if len(counts) > classes or not counts.all():
        raise BenchError(
            f"classes have {counts.tolist()} rows: each of {classes} needs one or more"
        )
    d = x.shape[1]
    features = torch.from_numpy(np.ascontiguousarray(x, np.float32)) * math.sqrt(d)
    labels = torch.from_numpy(np.ascontiguousarray(y, np.int64))
    W, b = torch.zeros(d, classes, requires_grad=True), torch.zeros(classes, requires_grad=True)

    def loss(rows: Tensor) -> Tensor:
        error = functional.cross_entropy(features[rows] @ W + b, labels[rows])
        return error + penalty * W.square().sum() if penalty else error

    batches = _batches(np.argsort(y, kind="stable"), counts, samples, seed)
    descend([W, b], loss, batches, samples=samples, rate=rate)
    return LinearClassifier(W.numpy() * math.sqrt(d), b.numpy())


def _batches(order: Array, counts: Array, samples: int, seed: int) -> Iterator[Array]:
    """Row numbers, by class in `order`, a batch at a time and `samples` in all."""
    rng, starts = generator(seed, "balanced"), np.cumsum(counts) - counts
    for start in range(0, samples, BATCH):
        size = min(BATCH, samples - start)
        drawn = rng.integers(len(counts), size=size)
        yield order[starts[drawn] + (rng.random(size) * counts[drawn]).astype(np.int64)]
