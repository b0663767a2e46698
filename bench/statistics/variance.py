"""The variance of a mean over test rows and few replicates, as parts with their degrees of freedom."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

# The parts of a replicate's key, and which of these are the same draws for every encoder.
FACTORS = ("encoder_seed", "head_seed", "split", "subset")
SHARED = frozenset({"split", "subset"})

Array = npt.NDArray[Any]
Key = Sequence[Hashable]
Part = tuple[float, float]  # a variance and its degrees of freedom
Bounds = tuple[float, float]  # the least and the largest value that a row score can have

SHARE: Bounds = (0.0, 1.0)
UNBOUNDED: Bounds = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of replicates on the same rows: their mean (n,) row by row, for each factor that varies the
    mean score at each of its levels, and the bounds of a row's score."""

    rows: Array
    levels: Mapping[str, Mapping[Hashable, float]]
    bounds: Bounds = UNBOUNDED

    @classmethod
    def of(
        cls, rows: Array, keys: Sequence[Key] | None = None, bounds: Bounds | None = None
    ) -> Scored:
        """From rows (r, n) and the replicates' keys, by `FACTORS`; None: r trainings.

        bounds: None means 0 and 1 where every score is 0 or 1, else none. A factor that is nested in
        another, as heads in their encoder, is left to that one. Raises BenchError without rows.
        """
        if not rows.size:
            raise BenchError("an interval needs at least one replicate and one row")
        if bounds is None:
            bounds = SHARE if is_binary(rows) else UNBOUNDED
        keys = [(number,) for number in range(len(rows))] if keys is None else keys
        values = rows.mean(axis=1)
        columns = dict(zip(FACTORS, zip(*keys, strict=True), strict=False))
        order = sorted(columns, key=lambda name: (name not in SHARED, FACTORS.index(name)))
        levels: dict[str, dict[Hashable, float]] = {}
        for name in order:
            column = columns[name]
            others = [c for n, c in columns.items() if n != name and len(set(c)) > 1]
            coarser = any(_within(column, c) and not _within(c, column) for c in others)
            same = any(_within(column, columns[n]) and _within(columns[n], column) for n in levels)
            if len(set(column)) > 1 and not coarser and not same:
                levels[name] = {
                    level: float(values[[k == level for k in column]].mean())
                    for level in dict.fromkeys(column)
                }
        return cls(rows.mean(axis=0), levels, bounds)

    @property
    def value(self) -> float:
        return float(self.rows.mean())

    @property
    def width(self) -> float:
        """Of the bounds; infinite where there are none."""
        return self.bounds[1] - self.bounds[0]

    @property
    def parts(self) -> list[Part]:
        """What the replicates add to the variance of the mean, factor by factor."""
        return [variance_part(list(means.values())) for means in self.levels.values()]


def is_binary(rows: Array) -> bool:
    """Is every score 0 or 1?"""
    return bool(((rows == 0) | (rows == 1)).all())


def _within(fine: Sequence[Hashable], coarse: Sequence[Hashable]) -> bool:
    """Does each level of `fine` lie in one level of `coarse`?"""
    return len(set(zip(fine, coarse, strict=True))) == len(set(fine))


def variance_part(means: Sequence[float]) -> Part:
    """What a factor with these mean scores, two or more, adds to the variance of their mean."""
    return float(np.var(means, ddof=1)) / len(means), len(means) - 1


def replicate_parts(a: Scored, b: Scored) -> list[Part]:
    """The replicates' part of the variance of a - b: shared draws are paired, seeds are not."""
    parts: list[Part] = []
    for name in FACTORS:
        of_a, of_b = a.levels.get(name), b.levels.get(name)
        if of_a and of_b and name in SHARED and of_a.keys() == of_b.keys():
            parts.append(variance_part([of_a[level] - of_b[level] for level in of_a]))
        else:
            parts += [variance_part(list(means.values())) for means in (of_a, of_b) if means]
    return parts


def rows_part(rows: Array) -> Part:
    """What the choice of rows (n,) adds to the variance of their mean: that of resampling them."""
    return float(rows.var()) / len(rows), max(1, len(rows) - 1)


def difference_rows_part(rows: Array, width: float) -> Part:
    """The same of differences (n,) between scores in a range of this width: see `rare_variance`."""
    variance, freedom = rows_part(rows)
    return variance + rare_variance(len(rows), width), freedom


def rare_variance(n: int, width: float) -> float:
    """What is added to the variance of a mean of n differences between scores in a range of this width,
    for rows that differ so rarely that n have shown few or none: that of two more rows, which differ by
    the whole range in either direction (as Bonett and Price 2012, doi:10.3102/1076998611411915, whose
    interval has them in its centre too). 0 for scores without bounds.
    """
    return 2 * (width / n) ** 2 if math.isfinite(width) else 0.0


def together(rows: Sequence[Part], replicates: Sequence[Part]) -> Part:
    """The sum of the variances of rows and of replicates, and its degrees of freedom.

    Those of rows, and those of replicates, are added as by Welch (1947, doi:10.1093/biomet/34.1-2.28)
    and Satterthwaite (1946). Of the two sums 1 / freedom is the mean by their shares of the variance,
    not by the squares of these as Satterthwaite's: three replicates whose variance is by chance
    too small would count with the freedom of rows, and .89 to .93 of nominal 95 % intervals would hold
    the truth.
    """
    sums = [_satterthwaite(rows), _satterthwaite(replicates)]
    total = sum(variance for variance, _ in sums)
    below = sum(variance / freedom for variance, freedom in sums)
    return total, total / below if below else math.inf


def _satterthwaite(parts: Sequence[Part]) -> Part:
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return total, total**2 / below if below else math.inf
