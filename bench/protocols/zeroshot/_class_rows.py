"""Rows of classes as zero-shot heads read them, for one class split or for many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.samples import Array, Samples, Target, among
from bench.errors import BenchError, Declined
from bench.protocols.base import Job, features_of
from bench.seeding import generator

READER = "a zero-shot head"
NEEDS_VALIDATION = "zero-shot heads choose on validation rows, and this task grants none"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Training rows, and validation rows to choose on; labels are -1 where none is granted."""

    x: Array  # (n, d)
    y: Array  # (n,)
    val_x: Array  # (m, d)
    val_y: Array  # (m,)

    @classmethod
    def of(cls, train: Samples, val: Samples | None, name: str) -> LabelledRows:
        """Of one class split. Raises Declined without validation rows, BenchError for images."""
        if val is None:
            raise Declined(NEEDS_VALIDATION)
        x, val_x = features_of(train.x, READER), features_of(val.x, READER)
        return cls(x, train.y[name], val_x, val.y[name])

    @classmethod
    def picked(
        cls, samples: Samples, train_rows: Array, val_rows: Array | None, name: str
    ) -> LabelledRows:
        """The rows of one job of a sweep; raises as `of`."""
        if val_rows is None:
            raise Declined(NEEDS_VALIDATION)
        x, y = features_of(samples.x, READER), samples.y[name]
        return cls(x[train_rows], y[train_rows], x[val_rows], y[val_rows])


def common_rows(
    samples: Samples, jobs: Sequence[Job], name: str
) -> list[tuple[Array, Array | None]]:
    """Training and validation rows of each job: those of all jobs together, which they can share, where
    its own are all that these have of the classes that it sees."""
    y = samples.y[name]

    def union(rows_by_job: Sequence[Array]) -> Array:
        in_any = np.zeros(len(y), bool)
        for rows in rows_by_job:
            in_any[rows] = True
        return np.flatnonzero(in_any)

    def has_all_seen(job: Job, rows: Array, all_rows: Array) -> bool:
        seen = ~among(y[all_rows], job.meta.targets[name].unseen)
        return np.array_equal(rows, all_rows[seen])  # in order, as the runner grants them

    vals = [job.val for job in jobs if job.val is not None]
    train, val = union([job.train for job in jobs]), union(vals) if vals else None
    rows_by_job: list[tuple[Array, Array | None]] = []
    for job in jobs:
        if job.val is None or val is None:
            rows_by_job.append((job.train, None))
        elif has_all_seen(job, job.train, train) and has_all_seen(job, job.val, val):
            rows_by_job.append((train, val))
        else:
            rows_by_job.append((job.train, job.val))
    return rows_by_job


def check_unseen(labels: Array, target: Target) -> None:
    """Raise BenchError where training labels (n,) are of an unseen class."""
    if among(labels, target.unseen).any():
        labelled = sorted(set(labels.tolist()) & target.unseen)
        raise BenchError(
            f"training rows have labels of the unseen classes {labelled}; leave them out"
        )


def rows_per_class(labels: Array, count: int) -> Array:
    """Up to `count` rows of each class of labels (n,), rising, drawn class by class with a fixed seed."""
    chosen = [
        generator(0, f"zeroshot:rows:{c}").permutation(np.flatnonzero(labels == c))[:count]
        for c in np.unique(labels[labels >= 0])
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)
