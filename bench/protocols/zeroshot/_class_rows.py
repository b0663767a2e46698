"""Rows of classes as zero-shot heads take them, for one class split or for many.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Samples, Target, among
from bench.errors import BenchError
from bench.protocols.base import Job
from bench.seeding import generator

__all__ = ["Whole", "check_unseen", "features_of", "joined", "shared", "some"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """Rows to learn from and rows to choose on; labels -1 where none is granted."""

    x: Array
    y: Array
    other: Array | None
    truth: Array | None

    @classmethod
    def of(cls, samples: Samples, rows: Array, after: Array | None, name: str) -> Whole:
        x, y = features_of(samples.x), samples.y[name]
        if after is None:
            return cls(x[rows], y[rows], None, None)
        return cls(x[rows], y[rows], x[after], y[after])


def joined(train: Samples, val: Samples | None, name: str) -> Whole:
    """Of one class split."""
    if val is None:
        return Whole(features_of(train.x), train.y[name], None, None)
    return Whole(features_of(train.x), train.y[name], features_of(val.x), val.y[name])


def shared(samples: Samples, jobs: Sequence[Job], name: str) -> list[tuple[Array, Array | None]]:
    """The rows of each job, and those of all jobs where its own are all that these have of its classes."""
    y = samples.y[name]

    def together(parts: Sequence[Array]) -> Array:
        used = np.zeros(len(y), bool)
        for part in parts:
            used[part] = True
        return np.flatnonzero(used)

    def own(job: Job, rows: Array, everyone: Array) -> bool:
        seen = ~among(y[everyone], job.meta.targets[name].unseen)
        return np.array_equal(rows, everyone[seen])  # in order, as the runner grants them

    vals = [job.val for job in jobs if job.val is not None]
    train, val = together([job.train for job in jobs]), together(vals) if vals else None
    found: list[tuple[Array, Array | None]] = []
    for job in jobs:
        if job.val is None or val is None:
            found.append((job.train, None))
        elif own(job, job.train, train) and own(job, job.val, val):
            found.append((train, val))
        else:
            found.append((job.train, job.val))
    return found


def check_unseen(labels: Array, target: Target) -> None:
    """Raise BenchError where an unseen class has labels (n,) to train on."""
    if among(labels, target.unseen).any():
        odd = sorted(set(labels.tolist()) & target.unseen)
        raise BenchError(f"training rows have labels of the unseen classes {odd}; leave them out")


def some(labels: Array, count: int) -> Array:
    """Rows of at most `count` of each class, whatever others there are."""
    chosen = [
        generator(0, f"zeroshot:rows:{c}").permutation(np.flatnonzero(labels == c))[:count]
        for c in np.unique(labels[labels >= 0])
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)


def features_of(x: Any) -> Array:
    """`Samples.x` where it holds features. Raises BenchError for images."""
    if not isinstance(x, np.ndarray):
        raise BenchError("zero-shot heads read features; set input = 'features' in the task")
    return x
