"""What closed forms need of the rows of each class: counts, sums and second moments, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array, penalty_grid, require_finite, require_labels

REVISION = 1
KNOWN_AS = "solvers/_classes"  # its key in the revisions of records


class ClassMoments(ABC):
    """First and second moments of the rows X (n, d) of C classes, float64."""

    __slots__ = ()

    counts: Array  # (C,) rows of each class
    sums: Array  # (C, d) of the rows of each class

    @property
    @abstractmethod
    def gram(self) -> Array:
        """X^T X (d, d) over all rows."""

    @property
    @abstractmethod
    def squares(self) -> Array:
        """Sums of squares (C, d) over the rows of each class."""

    @property
    def mean(self) -> Array:
        """Mean (d,) over all rows."""
        mean: Array = self.sums.sum(axis=0) / self.counts.sum()
        return mean

    @property
    def means(self) -> Array:
        """Class means (C, d)."""
        means: Array = self.sums / self.counts[:, None]
        return means

    @property
    def within(self) -> Array:
        """Within-class covariance (d, d): of all rows about the means of their classes."""
        covariance: Array = (self.gram - self.means.T @ self.sums) / self.counts.sum()
        return covariance

    @property
    def variances(self) -> Array:
        """Variances (C, d) of each class about its mean."""
        variances: Array = (self.squares / self.counts[:, None] - np.square(self.means)).clip(0)
        return variances


@dataclass(frozen=True, slots=True, eq=False)
class ClassStatistics(ClassMoments):
    """Moments of each class apart, C (d^2 + d + 1) numbers made in one pass over the rows.

    Those of a subset of classes (`take`) and of an affine map of the features (`mapped`) follow without
    another pass. Sums of squares lose digits where a mean is far from zero compared with the spread:
    centre such features before `of`.
    """

    counts: Array
    sums: Array
    scatters: Sequence[Array]  # C times (d, d): sum of x x^T

    @classmethod
    def of(cls, x: Array, y: Array, classes: int) -> Self:
        """From features x (n, d) and labels y (n,) in 0 .. classes - 1; -1 is a missing label.

        Raises BenchError for features that are not finite, and for other labels.
        """
        x, y = finite_matrix(x), np.asarray(y)
        if y.shape != (len(x),) or y.dtype.kind not in "iu":
            raise BenchError(
                f"labels are {y.dtype} {y.shape} for {len(x)} rows: give an integer a row"
            )
        require_labels(y, classes, missing=True)
        d = x.shape[1]
        sums, scatters = np.zeros((classes, d)), np.zeros((classes, d, d))
        for c in np.unique(y[y >= 0]):
            class_rows = x[y == c].astype(np.float64)
            sums[c], scatters[c] = class_rows.sum(axis=0), class_rows.T @ class_rows
        counts = np.bincount(y[y >= 0], minlength=classes).astype(float)
        return cls(counts, sums, list(scatters))

    def take(self, classes: Iterable[int]) -> Self:
        """Of these classes alone, in this order; scatters are not copied."""
        chosen = np.fromiter(classes, np.int64)
        scatters = [self.scatters[c] for c in chosen]
        return type(self)(self.counts[chosen], self.sums[chosen], scatters)

    @property
    def gram(self) -> Array:
        total: Array = np.zeros(self.sums.shape[1:] * 2)
        for scatter in self.scatters:
            total += scatter
        return total

    @property
    def squares(self) -> Array:
        return np.stack([np.diagonal(scatter) for scatter in self.scatters])

    def scatter_about(self, point: Array) -> Array:
        """Sum (d, d) of (x - point) (x - point)^T over all rows, for point (d,)."""
        n, mean = self.counts.sum(), self.mean
        offset, scatter = mean - point, self.gram
        scatter -= np.outer(n * mean, mean)  # about the mean; from there about any point
        if offset.any():
            scatter += np.outer(n * offset, offset)
        return scatter

    def mapped(self, mean: Array, basis: Array, *, scatter: Array | None = None) -> MappedMoments:
        """Of (x - mean) @ basis, mean (d,) and basis (d, r): centring, scaling, projection. `scatter` is
        `scatter_about(mean)`, where the caller has it."""
        scatter = self.scatter_about(mean) if scatter is None else scatter
        sums = self.sums @ basis - self.counts[:, None] * (mean @ basis)
        return MappedMoments(self.counts, sums, basis.T @ (scatter @ basis), self, mean, basis)


@dataclass(frozen=True, slots=True, eq=False)
class MappedMoments(ClassMoments):
    """Moments of features under an affine map. Squares, which cost most, are computed on access."""

    counts: Array
    sums: Array
    _gram: Array
    _source: ClassStatistics
    _mean: Array
    _basis: Array

    @property
    def gram(self) -> Array:
        return self._gram

    @property
    def squares(self) -> Array:
        point, basis = self._mean @ self._basis, self._basis
        mapped = [(basis * (scatter @ basis)).sum(axis=0) for scatter in self._source.scatters]
        # With x' = x B and p = mean B: (x' - p)^2 = x'^2 - p x' - p (x' - p).
        squares: Array = np.stack(mapped) - point * (self._source.sums @ basis + self.sums)
        return squares


def checked_signatures(statistics: ClassMoments, signatures: Array) -> Array:
    """Signatures (C, a) as float64.

    Raises BenchError unless they are finite, one for each class of the statistics, each class has rows,
    and neither signatures nor features are all zero.
    """
    table = finite_matrix(signatures, "signatures").astype(np.float64)
    if len(table) != len(statistics.counts):
        raise BenchError(
            f"{len(table)} signatures for {len(statistics.counts)} classes: give one a class, in the "
            "same order"
        )
    if not statistics.counts.all():
        empty = np.flatnonzero(statistics.counts == 0)[:5].tolist()
        raise BenchError(
            f"classes {empty} have no rows: `take` the classes with rows, and their signatures"
        )
    if not table.any() or not statistics.gram.any():
        raise BenchError("signatures or features are all zero: there is nothing to learn from")
    return table


def finite_matrix(values: Array, name: str = "features") -> Array:
    """A matrix (n, d), d at least 1. Raises BenchError for other shapes and values that are not finite."""
    matrix = np.asarray(values)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise BenchError(f"{name} have shape {matrix.shape}: give a matrix, one row an example")
    require_finite(matrix, f"{name}: column")
    return matrix


def unit_rows(values: Array) -> Array:
    """Rows (..., d) scaled to length 1, float64; rows of zeros stay."""
    values = values.astype(np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    scaled: Array = values / np.where(lengths > 0, lengths, 1)
    return scaled


def broadcast_penalties(penalties: Array | float) -> Array:
    """Penalties of any shape (...) as (..., 1, 1), to broadcast against matrices (..., p, q).

    Raises BenchError unless all are finite and above 0.
    """
    grid = np.asarray(penalties, np.float64)
    return penalty_grid(grid.ravel()).reshape(*grid.shape, 1, 1)


def products(x: Array, maps: Array) -> Array:
    """x M^T (..., n, C) of rows x (n, d) and maps M (..., C, d), in one matrix product."""
    flat = x @ maps.reshape(-1, maps.shape[-1]).T
    by_map: Array = np.moveaxis(flat.reshape(len(x), *maps.shape[:-1]), 0, -2)
    return by_map


def eigh_psd(gram: Array) -> tuple[Array, Array]:
    """Eigenvalues (d,), rising, with negative ones (rounding) set to 0, and eigenvectors (d, d) in columns
    of a Gram matrix."""
    values, vectors = np.linalg.eigh(gram)
    return values.clip(0), vectors
