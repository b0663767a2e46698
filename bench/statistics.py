"""Intervals and paired tests: resampling test rows and replicates, counts instead of copies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.seeding import generator

__all__ = [
    "REVISION",
    "Interval",
    "bootstrap_mean",
    "bootstrap_statistic",
    "holm",
    "log_area_weights",
    "mcnemar",
    "paired_difference",
    "student_interval",
]

REVISION = 1
RESAMPLES = 10_000

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % percentile interval."""

    value: float
    low: float
    high: float


def bootstrap_mean(rows: Array, *, seed: int = 0) -> Interval:
    """Mean of rows (r, n): r replicates (such as training seeds), each scored on the same n rows.

    10,000 resamples. Replicates and rows are crossed, so both are resampled, each on its own (the
    pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122). A replicate's deviation from the mean
    is widened by sqrt(r / (r - 1)), without which few seeds would understate their spread.
    """
    draws = _draws(rows, (len(rows),), seed)[0]
    return _interval(float(rows.mean()), draws)


def bootstrap_statistic(
    statistic: Callable[[Array], float], n: int, *, seed: int = 0, resamples: int = 1_000
) -> Interval:
    """Any statistic of n rows, given the indices (n,) that were drawn."""
    rng = generator(seed, "bootstrap")
    draws = np.array([statistic(rng.integers(n, size=n)) for _ in range(resamples)])
    return _interval(statistic(np.arange(n)), draws[np.isfinite(draws)])


def paired_difference(a: Array, b: Array, *, seed: int = 0) -> tuple[Interval, float]:
    """Mean of a (r, n) minus mean of b (s, n) on the same n rows, and a two-sided p-value.

    Rows are drawn together. Equal numbers of replicates are paired by their order, others are drawn
    apart. With one replicate each and 0/1 rows, p is McNemar's exact mid-p; else twice the smaller
    tail of the bootstrap, never below 2 / 10,000.
    """
    if a.shape[1] != b.shape[1]:
        raise BenchError(f"{a.shape[1]} rows cannot be paired with {b.shape[1]}")
    if len(a) == len(b):
        draws = _draws(a - b, (len(a),), seed)[0]
    else:
        first, second = _draws(np.concatenate([a, b]), (len(a), len(b)), seed)
        draws = first - second
    interval = _interval(float(a.mean() - b.mean()), draws)
    if len(a) == len(b) == 1 and set(np.unique([a, b])) <= {0, 1}:
        return interval, mcnemar(int((a > b).sum()), int((a < b).sum()))
    tail = min(float((draws <= 0).mean()), float((draws >= 0).mean()))
    return interval, min(1.0, 2 * max(tail, 1 / RESAMPLES))


def student_interval(values: Sequence[float]) -> Interval:
    """Mean of independent replicates with Student's t interval. Raises BenchError below two."""
    if len(values) < 2:
        raise BenchError(f"an interval over replicates needs two or more; there are {len(values)}")
    from scipy.special import stdtrit

    centre, n = float(np.mean(values)), len(values)
    half = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(centre, centre - half, centre + half)


def _interval(value: float, draws: Array) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(value, min(float(low), value), max(float(high), value))


def _draws(rows: Array, groups: Sequence[int], seed: int) -> list[Array]:
    """Resampled group means: rows (r, n), the replicates in consecutive groups of these sizes.

    Rows with equal columns are drawn together, as multinomial counts: 0/1 outcomes of r replicates
    make at most 2^r kinds of rows, however many there are.
    """
    if not rows.size:
        raise BenchError("an interval needs at least one replicate and one row")
    kinds, counts = np.unique(rows, axis=1, return_counts=True)
    n, rng = rows.shape[1], generator(seed, "bootstrap")
    means = np.empty((RESAMPLES, len(rows)))
    step = max(1, 2**24 // len(counts))  # keeps the counts under 128 MiB
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        means[start : start + size] = rng.multinomial(n, counts / n, size=size) @ kinds.T / n
    found = []
    for group in np.split(means, np.cumsum(groups)[:-1], axis=1):
        r, centre = group.shape[1], group.mean(axis=1)
        if r > 1:
            pick = rng.integers(r, size=(RESAMPLES, r))
            moved = np.take_along_axis(group, pick, axis=1).mean(axis=1)
            centre = centre + (moved - centre) * math.sqrt(r / (r - 1))
        found.append(centre)
    return found


def mcnemar(only_a: int, only_b: int) -> float:
    """McNemar's exact mid-p for two classifiers: rows that only a, and only b, got right.

    Fagerland, Lydersen and Laake 2013, doi:10.1186/1471-2288-13-91.

    >>> mcnemar(0, 0), round(mcnemar(1, 9), 6)
    (1.0, 0.011719)
    """
    n, least = only_a + only_b, min(only_a, only_b)
    if n == 0 or only_a == only_b:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(least + 1)
    ]
    terms = np.exp(np.array(logs) - n * math.log(2))
    return float(min(1.0, 2 * terms.sum() - terms[-1]))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = worst
    return adjusted


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
