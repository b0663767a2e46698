"""Rank correlation with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rho in [-1, 1] of `count` pairs, its 95 % interval, the p-value of its being 0."""

    rho: float
    low: float
    high: float
    p: float
    count: int


def rank_correlation(a: Array, b: Array) -> Correlation:
    """Spearman's rho of a (n,) and b (n,), ties by mean rank; interval and p by Fisher's transform with
    the standard error sqrt((1 + rho^2 / 2) / (n - 3)) of Bonett and Wright 2000
    (doi:10.1007/BF02294183).

    Raises BenchError for fewer than 5 pairs, values that are not finite, and those that are all equal.
    """
    from scipy.stats import norm, spearmanr

    if a.shape != b.shape or a.ndim != 1 or len(a) < 5:
        raise BenchError(f"{a.shape} and {b.shape}: give 5 or more pairs")
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or not np.ptp(a) or not np.ptp(b):
        raise BenchError("ranks need finite values that are not all equal")
    rho = float(spearmanr(a, b).statistic)
    middle = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, rho)))
    error = math.sqrt((1 + rho**2 / 2) / (len(a) - 3))
    reach = float(norm.ppf(0.975)) * error
    # Under independence the error has no rho in it.
    p = 2 * float(norm.sf(abs(middle) * math.sqrt(len(a) - 3)))
    return Correlation(rho, math.tanh(middle - reach), math.tanh(middle + reach), p, len(a))
