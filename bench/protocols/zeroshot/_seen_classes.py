"""What a zero-shot method is taught: some classes' rows, centred and projected by these alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from bench.data.samples import among
from bench.digests import arrays_digest, digest
from bench.errors import BenchError
from bench.solvers.class_statistics import Moments, Statistics

__all__ = ["Lesson", "Material", "Reading", "material_of"]

Array = npt.NDArray[Any]
MOST = 2**30  # bytes of sums by class; beyond that the rows are gone through for every lesson
KEPT = 2**29  # bytes of lessons' axes and statistics
WIDE = 1024  # dimensions from which on principal axes are found by subspace iteration


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Features (n, d) as a lesson reads them: (x - mean) @ basis, of mean squared length 1 less what the
    axes that are left out had of it. The mean is 0 for a method that takes them as they come."""

    mean: Array  # (d,)
    basis: Array  # (d, r)

    @property
    def dimensions(self) -> int:
        return int(self.basis.shape[1])

    def __call__(self, x: Array) -> Array:
        # The mean is taken off afterwards: no second copy of the features.
        found: Array = x @ self.basis.astype(x.dtype) - (self.mean @ self.basis).astype(x.dtype)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Seen classes, told by `statistics` in their order or row by row, and all classes' signatures."""

    classes: tuple[int, ...]
    statistics: Moments  # of features as read
    signatures: Array  # (all classes, a), prepared by the seen ones
    rows: Callable[[], tuple[Array, Array]]  # features (n, r) as read, and places in `classes` (n,)
    seed: int

    @property
    def own(self) -> Array:
        """Signatures (C, a) of the seen classes."""
        found: Array = self.signatures[list(self.classes)]
        return found


class Material:
    """Labelled rows from which lessons are made, for whatever classes; what they are made of is kept.

    Statistics of each class are made once, and a lesson's are sums of them; where they are too large, each
    lesson goes through its rows. Threads may share it, as they may a `Course`.
    """

    def __init__(self, x: Array, y: Array, pca: int, *, about_mean: bool) -> None:
        self._x, self._y, self._pca, self._about = x, y, pca, about_mean
        classes, d = int(y.max(initial=-1)) + 1, x.shape[1]
        if classes < 1:
            raise BenchError("no training row has a label")
        centre = (
            x[y >= 0].mean(axis=0, dtype=np.float64).astype(x.dtype)
        )  # for rounding's sake alone
        small = classes * d * d * 8 <= MOST and d <= len(x)
        self._whole = Statistics.of(x - centre, y, classes) if small else None
        self._centre = centre.astype(np.float64)
        self._kept: dict[tuple[int, ...], tuple[Reading, Moments]] = {}
        self._bytes = 0

    def lesson(
        self, classes: Sequence[int], signatures: Array, seed: int
    ) -> tuple[Lesson, Reading]:
        """What these classes teach; axes are the first `pca` principal ones of their rows (0: all)."""
        chosen = tuple(sorted(classes))
        found = self._kept.get(chosen)
        if found is None:
            found = self._summed(chosen) if self._whole is not None else self._gone_through(chosen)
            self._bytes += found[0].basis.nbytes + found[1].gram.nbytes
            if self._bytes <= KEPT:
                self._kept[chosen] = found
        reading, statistics = found
        return Lesson(
            chosen, statistics, signatures, partial(self._rows, chosen, reading), seed
        ), reading

    def _summed(self, chosen: Sequence[int]) -> tuple[Reading, Moments]:
        assert self._whole is not None
        own = self._whole.take(chosen)
        moved = own.mean if self._about else -self._centre
        scatter = own.about(moved)
        basis = self._basis(scatter, own.counts.sum())
        return Reading(self._centre + moved, basis), own.mapped(moved, basis, scatter=scatter)

    def _gone_through(self, chosen: Sequence[int]) -> tuple[Reading, Moments]:
        rows = np.flatnonzero(among(self._y, chosen))
        mean = self._x[rows].mean(axis=0, dtype=np.float64) * self._about
        if len(rows) < len(mean):
            reading = Reading(mean, self._few_basis(self._x[rows] - mean))
        else:
            scatter = np.zeros((len(mean), len(mean)))
            for part in np.array_split(rows, len(rows) // 4096 + 1):
                centred = self._x[part] - mean
                scatter += centred.T @ centred
            reading = Reading(mean, self._basis(scatter, len(rows)))
        read, places = self._rows(chosen, reading)
        return reading, Statistics.of(read, places, len(chosen))

    def _basis(self, scatter: Array, count: float) -> Array:
        """(d, r): principal axes, over the root of the mean squared length of the rows, all of one sign: a
        last bit of the sums shall turn no axis over, which a network would feel."""
        d, most = len(scatter), self._pca or len(scatter)
        if d >= WIDE and most < d // 4:
            values, axes = _leading(scatter, most)
        else:
            values, axes = scipy.linalg.eigh(scatter, subset_by_index=(max(0, d - most), d - 1))
        return _scaled(values, axes, np.trace(scatter) / count)

    def _few_basis(self, centred: Array) -> Array:
        """The same, of fewer rows (n, d) than dimensions."""
        n = len(centred)
        first = max(0, n - self._pca) if self._pca else 0
        values, turn = scipy.linalg.eigh(centred @ centred.T, subset_by_index=(first, n - 1))
        axes = centred.T @ (turn / np.sqrt(values.clip(1e-300)))
        return _scaled(values, axes, np.square(centred).sum() / n)

    def _rows(self, chosen: Sequence[int], reading: Reading) -> tuple[Array, Array]:
        rows = np.flatnonzero(among(self._y, chosen))
        return reading(self._x[rows]), np.searchsorted(chosen, self._y[rows])


def _leading(scatter: Array, count: int) -> tuple[Array, Array]:
    """The `count` largest eigenvalues, rising, and their vectors (d, count), by subspace iteration from a
    random start (Halko et al. 2011, doi:10.1137/090771806), the same each time."""
    span = np.random.RandomState(0).normal(size=(len(scatter), count + 32))
    for _ in range(4):
        span, _ = np.linalg.qr(scatter @ (scatter @ span))
    span, _ = np.linalg.qr(scatter @ span)
    values, turn = np.linalg.eigh(span.T @ scatter @ span)
    return values[-count:], span @ turn[:, -count:]


def _scaled(values: Array, axes: Array, length: float) -> Array:
    """Axes (d, r), the first the largest, over the root of a mean squared length; those of nothing are
    left out, and the largest number of each is positive."""
    kept = values > 1e-9 * max(float(values[-1]), 1e-30)
    if not kept.any() or not length > 0:
        raise BenchError(
            "all features of the seen classes are constant: there is nothing to learn from"
        )
    axes = axes[:, kept][:, ::-1]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found: Array = axes * signs / np.sqrt(length)
    return found


_last: list[tuple[str, Material]] = []


def material_of(x: Array, y: Array, pca: int, *, about_mean: bool) -> Material:
    """The material of these rows; the same again where the next method asks for the same encoder's."""
    key = digest([arrays_digest({"x": x, "y": y}), pca, about_mean])
    if not _last or _last[0][0] != key:
        _last.clear()  # first: there shall not be two of them in memory
        _last.append((key, Material(x, y, pca, about_mean=about_mean)))
    return _last[0][1]
