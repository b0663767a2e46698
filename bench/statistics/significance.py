"""P-values: of a difference, of two classifiers' disagreements, of many comparisons together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.statistics.variance import Part, together

LEAST_P = 1e-12


def difference_p(difference: float, rows: Sequence[Part], replicates: Sequence[Part] = ()) -> float:
    """Two-sided p-value of a difference with these parts of its variance (`variance.together`)."""
    from scipy.special import stdtr

    variance, freedom = together(rows, replicates)
    if abs(difference) < 1e-12:
        return 1.0
    if variance == 0:
        return LEAST_P
    t = -abs(difference) / math.sqrt(variance)
    return float(max(LEAST_P, 2 * stdtr(min(freedom, 1e9), t)))


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
