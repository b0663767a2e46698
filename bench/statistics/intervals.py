"""Intervals and tests: test rows are resampled, the few replicates are a small normal sample."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.seeding import generator
from bench.statistics.significance import mcnemar

REVISION = 2
KNOWN_AS = "statistics"  # its key in the revisions of records
RESAMPLES = 10_000
LEAST_P = 1e-12
# The parts of a replicate's key, and which of these are the same draws for every encoder.
FACTORS = ("encoder_seed", "head_seed", "split", "subset")
SHARED = frozenset({"split", "subset"})

Array = npt.NDArray[Any]
Key = Sequence[Hashable]
Part = tuple[float, float]  # a variance and its degrees of freedom


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of replicates on the same rows: their mean (n,) row by row, and for each factor that
    varies the mean score at each of its levels."""

    rows: Array
    levels: Mapping[str, Mapping[Hashable, float]]

    @classmethod
    def of(cls, rows: Array, keys: Sequence[Key] | None = None) -> Scored:
        """From rows (r, n) and the replicates' keys, by `FACTORS`; None: r trainings.

        A factor that is nested in another, as heads in their encoder, is left to that one.
        Raises BenchError without rows.
        """
        if not rows.size:
            raise BenchError("an interval needs at least one replicate and one row")
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
        return cls(rows.mean(axis=0), levels)

    @property
    def value(self) -> float:
        return float(self.rows.mean())

    @property
    def parts(self) -> list[Part]:
        """What the replicates add to the variance of the mean, factor by factor."""
        return [_part(list(means.values())) for means in self.levels.values()]


def _within(fine: Sequence[Hashable], coarse: Sequence[Hashable]) -> bool:
    """Does each level of `fine` lie in one level of `coarse`?"""
    return len(set(zip(fine, coarse, strict=True))) == len(set(fine))


def _part(means: Sequence[float]) -> Part:
    return float(np.var(means, ddof=1)) / len(means), len(means) - 1


def replicate_parts(a: Scored, b: Scored) -> list[Part]:
    """The replicates' part of the variance of a - b: shared draws are paired, seeds are not."""
    parts: list[Part] = []
    for name in FACTORS:
        of_a, of_b = a.levels.get(name), b.levels.get(name)
        if of_a and of_b and name in SHARED and of_a.keys() == of_b.keys():
            parts.append(_part([of_a[level] - of_b[level] for level in of_a]))
        else:
            parts += [_part(list(means.values())) for means in (of_a, of_b) if means]
    return parts


def _together(parts: Sequence[Part]) -> Part:
    """A sum of variances and its degrees of freedom (Welch 1947, doi:10.1093/biomet/34.1-2.28;
    Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return total, total**2 / below if below else math.inf


def bootstrap_mean(rows: Array, keys: Sequence[Key] | None = None, *, seed: int = 0) -> Interval:
    """Mean of rows (r, n): r replicates (such as training seeds), each scored on the same n rows.

    With one replicate rows are resampled 10,000 times (Efron 1979). More are still too few to be
    resampled themselves: with three, 8 in 10 such intervals would contain the truth. They enter as a
    normal sample, beside the variance that resampling rows has, by Student's t with Welch's degrees of
    freedom. `keys` as for `Scored.of`.
    """
    return scored_interval(Scored.of(rows, keys), seed=seed)


def scored_interval(scored: Scored, *, seed: int = 0) -> Interval:
    """As `bootstrap_mean`, of scores that are reduced already."""
    return _interval(scored.rows, scored.parts, seed)


def paired_difference(
    a: Array,
    b: Array,
    keys_a: Sequence[Key] | None = None,
    keys_b: Sequence[Key] | None = None,
    *,
    seed: int = 0,
) -> tuple[Interval, float]:
    """Mean of a (r, n) minus mean of b (s, n) on the same n rows, and a two-sided p-value.

    Rows are drawn together; replicates with the same label subset or class split are paired, training
    seeds of two encoders are not. The p-value is Welch's, rows being one more sample (its variance is
    that of resampling rows). With one replicate each and 0/1 rows it is McNemar's exact mid-p.
    """
    scored_a, scored_b = Scored.of(a, keys_a), Scored.of(b, keys_b)
    if a.shape[1] != b.shape[1]:
        raise BenchError(f"{a.shape[1]} rows cannot be paired with {b.shape[1]}")
    rows, parts = scored_a.rows - scored_b.rows, replicate_parts(scored_a, scored_b)
    interval = _interval(rows, parts, seed)
    if len(a) == len(b) == 1 and set(np.unique([a, b])) <= {0, 1}:
        return interval, mcnemar(int((a > b).sum()), int((a < b).sum()))
    return interval, difference_p(interval.value, [rows_part(rows), *parts])


def seed_paired_difference(
    a: Array, b: Array, keys: Sequence[Key] | None = None, *, seed: int = 0
) -> tuple[Interval, float]:
    """As `paired_difference`, where replicate i of a (r, n) and of b (r, n) share the training and the
    seeds, as two protocols on one encoder: the r differences are the sample."""
    if a.shape != b.shape:
        raise BenchError(f"scores {a.shape} and {b.shape} cannot be paired by seed")
    if len(a) == 1:
        return paired_difference(a, b, keys, keys, seed=seed)
    differences = Scored.of(a - b, keys)
    interval = scored_interval(differences, seed=seed)
    parts = [rows_part(differences.rows), *differences.parts]
    return interval, difference_p(interval.value, parts)


def rows_part(rows: Array) -> Part:
    """What the choice of rows (n,) adds to the variance of their mean: that of resampling them."""
    return float(rows.var()) / len(rows), max(1, len(rows) - 1)


def difference_p(difference: float, parts: Sequence[Part]) -> float:
    """Two-sided p-value of a difference with these parts of its variance."""
    from scipy.special import stdtr

    variance, freedom = _together(parts)
    if abs(difference) < 1e-12:
        return 1.0
    if variance == 0:
        return LEAST_P
    t = -abs(difference) / math.sqrt(variance)
    return float(max(LEAST_P, 2 * stdtr(min(freedom, 1e9), t)))


def student_interval(values: Sequence[float]) -> Interval:
    """Mean of independent replicates with Student's t interval. Raises BenchError below two."""
    if len(values) < 2:
        raise BenchError(f"an interval over replicates needs two or more; there are {len(values)}")
    from scipy.special import stdtrit

    centre, n = float(np.mean(values)), len(values)
    half = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(centre, centre - half, centre + half)


def _interval(rows: Array, parts: Sequence[Part], seed: int) -> Interval:
    """Of the mean of rows (n,), and of replicates with these parts."""
    value = float(rows.mean())
    if not parts:
        low, high = (float(v) for v in np.percentile(_draws(rows, seed), [2.5, 97.5]))
        return Interval(value, min(low, value), max(high, value))
    from scipy.special import stdtrit

    variance, freedom = _together([rows_part(rows), *parts])
    half = float(stdtrit(min(freedom, 1e9), 0.975)) * math.sqrt(variance) if variance else 0.0
    return Interval(value, value - half, value + half)


def _draws(rows: Array, seed: int) -> Array:
    """Means (10,000,) of resampled rows (n,).

    Equal rows are drawn together, as multinomial counts: 0/1 outcomes of r replicates make at most
    r + 1 kinds of rows, however many there are.
    """
    kinds, counts = np.unique(rows, return_counts=True)
    n, rng = len(rows), generator(seed, "bootstrap")
    if len(kinds) == 1:
        return np.full(RESAMPLES, kinds[0])
    means = np.empty(RESAMPLES)
    step = max(1, 2**24 // len(counts))  # keeps the counts under 128 MiB
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        means[start : start + size] = rng.multinomial(n, counts / n, size=size) @ kinds / n
    return means


def log_area_weights(sizes: Sequence[float]) -> Array:
    """Weights (m,) of scores at m training sizes: the area over log2 of the size by trapezoids,
    divided by its width, so that they sum to 1.

    >>> log_area_weights([8, 1, 2]).round(3).tolist()
    [0.333, 0.167, 0.5]
    """
    if len(sizes) < 2 or len(set(sizes)) != len(sizes):
        raise BenchError(f"an area needs two or more different sizes; there are {sorted(sizes)}")
    order = np.argsort(sizes)
    x = np.log2(np.asarray(sizes, dtype=float)[order])
    steps = np.diff(x) / (x[-1] - x[0])
    weights = np.empty(len(sizes))
    weights[order] = np.append(steps, 0) / 2 + np.insert(steps, 0, 0) / 2
    return weights


def jackknife(value: float, without: Array) -> tuple[Interval, float]:
    """A value with its 95 % interval, and the p-value of its being 0, from what it is without each of k
    groups (k,).

    Student's t with k - 1 degrees of freedom on the jackknife's variance, (k - 1) / k times the sum of
    squares about their mean (Tukey 1958; Efron and Stein 1981, doi:10.1214/aos/1176345462). Raises
    BenchError for fewer than two groups.
    """
    k = len(without)
    if k < 2:
        raise BenchError(f"a jackknife over {k} groups has no interval; give two or more")
    from scipy.special import stdtr, stdtrit

    error = math.sqrt((k - 1) / k * float(np.square(without - without.mean()).sum()))
    half = float(stdtrit(k - 1, 0.975)) * error
    p = 2 * float(stdtr(k - 1, -abs(value) / error)) if error else float(value == 0)
    return Interval(value, value - half, value + half), max(p, LEAST_P)
