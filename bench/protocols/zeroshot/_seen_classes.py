"""What a zero-shot method learns from: statistics and rows of seen classes, centred and projected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.linalg

from bench.data.samples import Array, among
from bench.digests import arrays_digest, digest
from bench.errors import BenchError
from bench.solvers.class_statistics import ClassMoments, ClassStatistics

SUMS_BYTES = 2**30  # of sums by class; beyond, every set of classes is summed from its rows
CACHE_BYTES = 2**29  # of projections and their statistics
ITERATED = 1024  # dimensions from which on principal axes are found by subspace iteration


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Features (n, d) to (x - mean) @ basis (n, r): principal components of the seen classes, scaled so
    that with all of them the mean squared length is 1. The mean is 0 for methods that do not centre."""

    mean: Array  # (d,)
    basis: Array  # (d, r)

    @property
    def dimensions(self) -> int:
        return int(self.basis.shape[1])

    def __call__(self, x: Array) -> Array:
        # The mean is subtracted after the product: no second copy of the features.
        projected: Array = x @ self.basis.astype(x.dtype) - (self.mean @ self.basis).astype(x.dtype)
        return projected


@dataclass(frozen=True, slots=True, eq=False)
class SeenClasses:
    """C seen classes: statistics and rows of their projected features, and signatures."""

    classes: tuple[int, ...]  # (C,) rising
    statistics: ClassMoments  # in the order of `classes`
    all_signatures: Array  # (all classes, a), prepared by those of the seen classes
    rows: Callable[[], tuple[Array, Array]]  # features (n, r) and places in `classes` (n,)
    seed: int

    @property
    def signatures(self) -> Array:
        """(C, a) of the seen classes."""
        seen: Array = self.all_signatures[list(self.classes)]
        return seen


class ClassSums:
    """Sums of labelled rows by class, made once, from which any set of seen classes is added up.

    Where sums would be too large, each set is summed from its rows. Threads may share an instance.
    """

    def __init__(self, x: Array, y: Array, pca: int, *, centre: bool) -> None:
        self._x, self._y, self._pca, self._centred = x, y, pca, centre
        classes, d = int(y.max(initial=-1)) + 1, x.shape[1]
        if classes < 1:
            raise BenchError("no training row has a label")
        # Sums are about the mean of all rows, for less rounding.
        origin = x[y >= 0].mean(axis=0, dtype=np.float64).astype(x.dtype)
        fits_memory = classes * d * d * 8 <= SUMS_BYTES and d <= len(x)
        self._sums = ClassStatistics.of(x - origin, y, classes) if fits_memory else None
        self._origin = origin.astype(np.float64)
        self._cache: dict[tuple[int, ...], tuple[Projection, ClassMoments]] = {}
        self._cached_bytes = 0

    def seen_classes(
        self, classes: Sequence[int], signatures: Array, seed: int
    ) -> tuple[SeenClasses, Projection]:
        """These classes on their first `pca` principal axes (0: all), and the projection onto them.

        Raises BenchError where all their features are constant.
        """
        seen = tuple(sorted(classes))
        projected = self._cache.get(seen)
        if projected is None:
            projected = self._added_up(seen) if self._sums is not None else self._summed_rows(seen)
            self._cached_bytes += projected[0].basis.nbytes + projected[1].gram.nbytes
            if self._cached_bytes <= CACHE_BYTES:
                self._cache[seen] = projected
        projection, statistics = projected
        rows = partial(self._rows, seen, projection)
        return SeenClasses(seen, statistics, signatures, rows, seed), projection

    def _added_up(self, seen: Sequence[int]) -> tuple[Projection, ClassMoments]:
        assert self._sums is not None
        sums = self._sums.take(seen)
        centre = sums.mean if self._centred else -self._origin
        scatter = sums.scatter_about(centre)
        basis = self._basis(scatter, sums.counts.sum())
        projection = Projection(self._origin + centre, basis)
        return projection, sums.mapped(centre, basis, scatter=scatter)

    def _summed_rows(self, seen: Sequence[int]) -> tuple[Projection, ClassMoments]:
        rows = np.flatnonzero(among(self._y, seen))
        mean = self._x[rows].mean(axis=0, dtype=np.float64) * self._centred
        if len(rows) < len(mean):
            projection = Projection(mean, self._basis_of_few(self._x[rows] - mean))
        else:
            scatter = np.zeros((len(mean), len(mean)))
            for part in np.array_split(rows, len(rows) // 4096 + 1):
                centred = self._x[part] - mean
                scatter += centred.T @ centred
            projection = Projection(mean, self._basis(scatter, len(rows)))
        x, places = self._rows(seen, projection)
        return projection, ClassStatistics.of(x, places, len(seen))

    def _basis(self, scatter: Array, count: float) -> Array:
        """The basis (d, r) of a `Projection`, by the scatter (d, d) of `count` rows."""
        d, dimensions = len(scatter), self._pca or len(scatter)
        if d >= ITERATED and dimensions < d // 4:
            values, axes = _leading(scatter, dimensions)
        else:
            values, axes = scipy.linalg.eigh(
                scatter, subset_by_index=(max(0, d - dimensions), d - 1)
            )
        return _scaled(values, axes, np.trace(scatter) / count)

    def _basis_of_few(self, centred: Array) -> Array:
        """The same by rows (n, d), fewer than dimensions: eigenvectors of X X^T, mapped by X^T."""
        n = len(centred)
        first = max(0, n - self._pca) if self._pca else 0
        values, turn = scipy.linalg.eigh(centred @ centred.T, subset_by_index=(first, n - 1))
        axes = centred.T @ (turn / np.sqrt(values.clip(1e-300)))
        return _scaled(values, axes, np.square(centred).sum() / n)

    def _rows(self, seen: Sequence[int], projection: Projection) -> tuple[Array, Array]:
        rows = np.flatnonzero(among(self._y, seen))
        return projection(self._x[rows]), np.searchsorted(seen, self._y[rows])


def _leading(scatter: Array, count: int) -> tuple[Array, Array]:
    """The `count` largest eigenvalues, rising, and their vectors (d, count), by subspace iteration from a
    fixed random start (Halko et al. 2011, doi:10.1137/090771806)."""
    span = np.random.RandomState(0).normal(size=(len(scatter), count + 32))
    for _ in range(4):
        span, _ = np.linalg.qr(scatter @ (scatter @ span))
    span, _ = np.linalg.qr(scatter @ span)
    values, turn = np.linalg.eigh(span.T @ scatter @ span)
    return values[-count:], span @ turn[:, -count:]


def _scaled(values: Array, axes: Array, mean_square: float) -> Array:
    """axes / sqrt(mean |x|^2), (d, r), the axis of the largest eigenvalue first, without those of zero.

    The largest entry of each axis is positive: rounding must not flip a sign, which networks would learn.
    Raises BenchError where no axis is left.
    """
    nonzero = values > 1e-9 * max(float(values[-1]), 1e-30)
    if not nonzero.any() or not mean_square > 0:
        raise BenchError(
            "all features of the seen classes are constant: there is nothing to learn from"
        )
    axes = axes[:, nonzero][:, ::-1]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    basis: Array = axes * signs / np.sqrt(mean_square)
    return basis


_latest: list[tuple[str, ClassSums]] = []


def class_sums_of(x: Array, y: Array, pca: int, *, centre: bool) -> ClassSums:
    """Sums of features (n, d) and labels (n,); the latest are reused by the next method on equal rows."""
    key = digest([arrays_digest({"x": x, "y": y}), pca, centre])
    if not _latest or _latest[0][0] != key:
        _latest.clear()  # first: memory must not hold two of them
        _latest.append((key, ClassSums(x, y, pca, centre=centre)))
    return _latest[0][1]
