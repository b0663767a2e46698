"""P-values: of a difference, of two classifiers' disagreements, of many comparisons together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.statistics.variance import Array, Part, together

LEAST_P = 1e-12


def difference_p(difference: float, rows: Sequence[Part], replicates: Sequence[Part] = ()) -> float:
    """Two-sided p-value of a difference with these parts of its variance (`variance.together`)."""
    variance, freedom = together(rows, replicates)
    return float(differences_p(np.array(difference), np.array(variance), np.array(freedom)))


def differences_p(differences: Array, variances: Array, freedoms: Array) -> Array:
    """Two-sided p-values of differences with these variances and degrees of freedom, arrays of one shape,
    by Student's t: from 1e-12, which stands for all below it, to 1, which is that of no difference."""
    from scipy.special import stdtr

    size = np.abs(differences)
    t = -size / np.sqrt(np.where(variances > 0, variances, 1.0))
    p = np.where(variances > 0, 2 * stdtr(np.minimum(freedoms, 1e9), t), 0.0)
    return np.where(size < 1e-12, 1.0, np.maximum(LEAST_P, p))


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
    adjusted: list[float] = holm_adjusted(np.array(p_values, dtype=np.float64)).tolist()
    return adjusted


def holm_adjusted(p_values: Array) -> Array:
    """`holm` of an array (m,)."""
    order = np.argsort(p_values, kind="stable")
    bounds = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, bounds))
    return adjusted
