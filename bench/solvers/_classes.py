"""What solvers for classes told by signatures share: statistics by class, and how inputs are checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

__all__ = ["REVISION", "Statistics", "eigen", "matched", "penalties", "rows"]

REVISION = 1
"""Raised whenever an edit moves numbers."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """All that a closed form needs to know of the rows of C classes, float64: C (d^2 + d + 1) numbers.

    Made in one pass; splits of the classes, folds of the rows and affine maps of the features are then
    sums and products of these matrices. Rounding is that of sums of squares: features whose mean is far
    from zero, compared with their spread, are better centred before `of`.
    """

    counts: Array  # (C,)
    sums: Array  # (C, d)
    scatters: Array  # (C, d, d): sums of x x^T

    @classmethod
    def of(cls, x: Array, y: Array, classes: int) -> Self:
        """Of features x (n, d) with labels y (n,) in 0 .. classes - 1; -1 is no label.

        Raises BenchError for features that are not finite, and other labels.
        """
        x, y = rows(x), np.asarray(y)
        if y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise BenchError(
                f"labels are {y.dtype} {y.shape} for {len(x)} rows: give an integer a row"
            )
        if len(y) and (y.min() < -1 or y.max() >= classes):
            raise BenchError(
                f"labels run from {y.min()} to {y.max()}: with {classes} classes 0 to {classes - 1}, "
                "and -1 for a missing one, are allowed; renumber them or raise classes"
            )
        d = x.shape[1]
        sums, scatters = np.zeros((classes, d)), np.zeros((classes, d, d))
        for c in np.unique(y[y >= 0]):
            own = x[y == c].astype(np.float64)
            sums[c], scatters[c] = own.sum(axis=0), own.T @ own
        return cls(np.bincount(y[y >= 0], minlength=classes).astype(float), sums, scatters)

    def __add__(self, other: Self) -> Self:
        """Of the rows of both; the classes must be the same."""
        if self.sums.shape != other.sums.shape:
            raise BenchError(
                f"statistics of {self.sums.shape} and {other.sums.shape} (classes, features) have no "
                "sum; give both the same classes and features"
            )
        return type(self)(
            self.counts + other.counts, self.sums + other.sums, self.scatters + other.scatters
        )

    def take(self, classes: Iterable[int]) -> Self:
        """Of these classes alone, in this order."""
        chosen = np.fromiter(classes, np.int64)
        return type(self)(self.counts[chosen], self.sums[chosen], self.scatters[chosen])

    def mapped(self, mean: Array, basis: Array) -> Self:
        """Of (x - mean) @ basis, for mean (d,) and basis (d, r): centring, scaling, projecting."""
        # Projected first: what is then taken off is small.
        point, sums = mean @ basis, self.sums @ basis
        moved = sums - self.counts[:, None] * point
        scatters = basis.T @ (self.scatters @ basis)
        scatters -= sums[:, :, None] * point + point[:, None] * moved[:, None, :]
        return type(self)(self.counts, moved, scatters)

    @property
    def mean(self) -> Array:
        """(d,) over all rows."""
        found: Array = self.sums.sum(axis=0) / self.counts.sum()
        return found

    @property
    def deviation(self) -> Array:
        """Standard deviation (d,) over all rows."""
        squares = np.diagonal(self.gram) / self.counts.sum()
        found: Array = np.sqrt((squares - np.square(self.mean)).clip(0))
        return found

    @property
    def means(self) -> Array:
        """(C, d) of the classes."""
        found: Array = self.sums / self.counts[:, None]
        return found

    @property
    def gram(self) -> Array:
        """X^T X (d, d) of all rows."""
        found: Array = self.scatters.sum(axis=0)
        return found

    @property
    def within(self) -> Array:
        """Covariance (d, d) of all rows about the means of their classes."""
        found: Array = (self.gram - self.means.T @ self.sums) / self.counts.sum()
        return found

    @property
    def variances(self) -> Array:
        """(C, d) of each class about its mean."""
        squares = np.diagonal(self.scatters, axis1=1, axis2=2) / self.counts[:, None]
        found: Array = (squares - np.square(self.means)).clip(0)
        return found


def matched(statistics: Statistics, signatures: Array) -> Array:
    """Signatures (C, a) as float64. Raises BenchError unless they are finite, one a class with rows."""
    found = rows(signatures, "signatures").astype(np.float64)
    if len(found) != len(statistics.counts):
        raise BenchError(
            f"{len(found)} signatures for {len(statistics.counts)} classes: give one a class, in the "
            "same order"
        )
    if not statistics.counts.all():
        empty = np.flatnonzero(statistics.counts == 0)[:5].tolist()
        raise BenchError(
            f"classes {empty} have no rows: `take` those that have, also of signatures"
        )
    if not found.any() or not statistics.gram.any():
        raise BenchError("signatures or features are all zero: there is nothing to learn from")
    return found


def rows(values: Array, what: str = "features") -> Array:
    """A matrix (n, d), d at least 1. Raises BenchError for other shapes and values that are not finite."""
    found = np.asarray(values)
    if found.ndim != 2 or not found.shape[1]:
        raise BenchError(f"{what} have shape {found.shape}: give a matrix, one row an example")
    if not np.isfinite(found.sum(dtype=np.float64)):
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise BenchError(
            f"{what}: column {column} of row {row} is {found[row, column]}; only finite ones are "
            "allowed: mend them first"
        )
    return found


def penalties(values: Array) -> Array:
    """Penalties (l,) as float64. Raises BenchError unless all are finite and above 0."""
    grid = np.asarray(values, np.float64)
    if grid.ndim != 1 or not grid.size or not (np.isfinite(grid) & (grid > 0)).all():
        raise BenchError(f"penalties {values} are not allowed: give a list of finite values > 0")
    return grid


def eigen(gram: Array) -> tuple[Array, Array]:
    """Eigenvalues (d,), none below zero, and eigenvectors (d, d) of a Gram matrix."""
    values, vectors = np.linalg.eigh(gram)
    return values.clip(0), vectors
