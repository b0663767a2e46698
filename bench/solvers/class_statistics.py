"""What solvers for classes told by signatures share: statistics by class, and how inputs are checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

__all__ = [
    "REVISION",
    "ClassMoments",
    "ClassStatistics",
    "MappedMoments",
    "eigen",
    "matched",
    "penalties",
    "products",
    "rows",
    "share",
]  # fmt: skip

REVISION = 1
"""Raised whenever an edit moves numbers."""
KNOWN_AS = "solvers/_classes"  # its key in the revisions of records

Array = npt.NDArray[Any]


class ClassMoments(ABC):
    """All that closed forms read of the rows of C classes, float64."""

    __slots__ = ()

    counts: Array  # (C,)
    sums: Array  # (C, d)

    @property
    @abstractmethod
    def gram(self) -> Array:
        """X^T X (d, d) of all rows."""

    @property
    @abstractmethod
    def squares(self) -> Array:
        """Sums of squares (C, d) of each class."""

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
    def within(self) -> Array:
        """Covariance (d, d) of all rows about the means of their classes."""
        found: Array = (self.gram - self.means.T @ self.sums) / self.counts.sum()
        return found

    @property
    def variances(self) -> Array:
        """(C, d) of each class about its mean."""
        found: Array = (self.squares / self.counts[:, None] - np.square(self.means)).clip(0)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ClassStatistics(ClassMoments):
    """Moments that splits of the classes, folds of the rows and affine maps of the features are sums and
    products of: C (d^2 + d + 1) numbers.

    Made in one pass. Rounding is that of sums of squares: features whose mean is far from zero, compared
    with their spread, are better centred before `of`.
    """

    counts: Array
    sums: Array
    scatters: Sequence[Array]  # (d, d) each: sums of x x^T

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
        counts = np.bincount(y[y >= 0], minlength=classes).astype(float)
        return cls(counts, sums, list(scatters))

    def __add__(self, other: Self) -> Self:
        """Of the rows of both; the classes must be the same."""
        if self.sums.shape != other.sums.shape:
            raise BenchError(
                f"statistics of {self.sums.shape} and {other.sums.shape} (classes, features) have no "
                "sum; give both the same classes and features"
            )
        scatters = [a + b for a, b in zip(self.scatters, other.scatters, strict=True)]
        return type(self)(self.counts + other.counts, self.sums + other.sums, scatters)

    def take(self, classes: Iterable[int]) -> Self:
        """Of these classes alone, in this order; scatters are not copied."""
        chosen = np.fromiter(classes, np.int64)
        scatters = [self.scatters[c] for c in chosen]
        return type(self)(self.counts[chosen], self.sums[chosen], scatters)

    @property
    def gram(self) -> Array:
        found: Array = np.zeros(self.sums.shape[1:] * 2)
        for scatter in self.scatters:
            found += scatter
        return found

    @property
    def squares(self) -> Array:
        return np.stack([np.diagonal(scatter) for scatter in self.scatters])

    def scatter_about(self, point: Array) -> Array:
        """Sum (d, d) of (x - point) (x - point)^T over all rows, for point (d,)."""
        n, mean = self.counts.sum(), self.mean
        away, found = mean - point, self.gram
        found -= np.outer(n * mean, mean)  # the scatter about the mean, and from it about any point
        if away.any():
            found += np.outer(n * away, away)
        return found

    def mapped(self, mean: Array, basis: Array, *, scatter: Array | None = None) -> MappedMoments:
        """Of (x - mean) @ basis, for mean (d,) and basis (d, r): centring, scaling, projecting. `scatter`
        is `about(mean)`, where that is at hand."""
        scatter = self.scatter_about(mean) if scatter is None else scatter
        sums = self.sums @ basis - self.counts[:, None] * (mean @ basis)
        return MappedMoments(self.counts, sums, basis.T @ (scatter @ basis), self, mean, basis)


@dataclass(frozen=True, slots=True, eq=False)
class MappedMoments(ClassMoments):
    """Moments of features under an affine map. Squares, which cost most, are made when asked for."""

    counts: Array
    sums: Array
    _gram: Array
    _given: ClassStatistics
    _mean: Array
    _basis: Array

    @property
    def gram(self) -> Array:
        return self._gram

    @property
    def squares(self) -> Array:
        point = self._mean @ self._basis
        turned = [(self._basis * (own @ self._basis)).sum(axis=0) for own in self._given.scatters]
        # Of x' = x B and the point p: (x' - p)^2 = x'^2 - p x' - p (x' - p).
        found: Array = np.stack(turned) - point * (self._given.sums @ self._basis + self.sums)
        return found


def matched(statistics: ClassMoments, signatures: Array) -> Array:
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


def share(values: Array | float) -> Array:
    """Penalties of any shape, with two axes more, by which matrices are divided. Raises as `penalties`."""
    found = np.asarray(values, np.float64)
    return penalties(found.ravel()).reshape(*found.shape, 1, 1)


def products(x: Array, maps: Array) -> Array:
    """(..., n, C) of rows x (n, d) with those of maps (..., C, d), in one product of matrices."""
    flat = x @ maps.reshape(-1, maps.shape[-1]).T
    found: Array = np.moveaxis(flat.reshape(len(x), *maps.shape[:-1]), 0, -2)
    return found


def eigen(gram: Array) -> tuple[Array, Array]:
    """Eigenvalues (d,), none below zero, and eigenvectors (d, d) of a Gram matrix."""
    values, vectors = np.linalg.eigh(gram)
    return values.clip(0), vectors
