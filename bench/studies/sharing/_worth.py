"""Statistics of gains: their slope, their equivalence to 0, and the labels that they are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.seeding import generator
from bench.statistics.intervals import Interval, student_interval
from bench.studies.base import Array

RESAMPLES = 1000


def slope(x: Sequence[float], gains: Array) -> Interval:
    """Least-squares slope of gains (k, s) on x (k,), with Student's interval over the slopes of the s
    seeds; its value is that of all points together, since every seed has all x."""
    away = np.asarray(x, dtype=float) - np.mean(x)
    return student_interval([float(v) for v in away @ gains / (away @ away)])


def equivalence(values: Sequence[float], margin: float) -> float:
    """p-value of two one-sided t-tests that the mean lies beyond `margin` of 0, on either side
    (Schuirmann 1987, doi:10.1007/BF01068419): small where it is practically 0.

    Raises BenchError for fewer than two values.
    """
    if len(values) < 2:
        raise BenchError(f"a test of equivalence needs two or more values; there are {len(values)}")
    from scipy.special import stdtr

    off, freedom = margin - abs(float(np.mean(values))), len(values) - 1
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if error == 0:
        return 0.0 if off > 0 else 1.0
    return float(stdtr(freedom, -off / error))


def label_multiplier(
    sizes: Sequence[float], alone: Sequence[float], shared: Sequence[float], *, least: float = 1e-6
) -> Array:
    """kappa (n,) = n' / n, where the curve of `alone` reaches at n' labels the accuracy (0 to 1) of
    `shared` at n: sharing is worth kappa times the labels.

    Between `sizes`, which rise, the logarithm of n is interpolated over that of the error, monotone
    and smooth (Fritsch and Carlson 1980, doi:10.1137/0717021), exact for a power law. Points that do not
    rise above all smaller sizes count as noise and are left out. Infinite where the curve never gets
    there, 0 where it is above from the start. Errors below `least` count as `least`. Raises BenchError
    for sizes that do not rise, or of another length.
    """
    from scipy.interpolate import PchipInterpolator

    if len(sizes) != len(alone) or len(sizes) != len(shared) or list(sizes) != sorted(set(sizes)):
        raise BenchError("a label multiplier needs rising sizes, and both accuracies at each")
    logs = np.log(np.asarray(sizes, dtype=float))
    height = -np.log(np.maximum(1 - np.asarray(alone, dtype=float), least))
    level = -np.log(np.maximum(1 - np.asarray(shared, dtype=float), least))
    rising = np.append(True, height[1:] > np.maximum.accumulate(height)[:-1])
    x, y = height[rising], logs[rising]
    # A single point has no curve: everything else is beyond it.
    inside = level.clip(x[0], x[-1])
    at = PchipInterpolator(x, y)(inside) if len(x) > 1 else np.full(len(level), y[0])
    kappa: Array = np.exp(at - logs)
    kappa[level > x[-1]] = np.inf
    kappa[level < x[0]] = 0.0
    return kappa


def label_worth(
    sizes: Sequence[float], alone: Array, shared: Array, *, least: float = 1e-6
) -> tuple[Interval, ...]:
    """`label_multiplier` of mean accuracies over seeds, (n, s) each, at each size; intervals are of
    percentiles over 1,000 draws of seeds, the same for both arms (Efron 1979), and as kappa itself
    infinite or 0 beyond the curve."""
    rng, count = generator(0, "label_worth"), alone.shape[1]

    def kappa(seeds: Any) -> Array:
        means = (arm[:, seeds].mean(axis=1) for arm in (alone, shared))
        return label_multiplier(sizes, *means, least=least)

    value = kappa(slice(None))
    draws = np.stack([kappa(rng.integers(0, count, count)) for _ in range(RESAMPLES)])
    # A percentile that is a draw: between a number and infinity there is nothing.
    low, high = np.percentile(draws, [2.5, 97.5], axis=0, method="inverted_cdf")
    return tuple(
        Interval(float(v), float(min(lo, v)), float(max(hi, v)))
        for v, lo, hi in zip(value, low, high, strict=True)
    )
