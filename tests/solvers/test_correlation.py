"""Rank correlation against its definition, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.errors import BenchError
from bench.solvers.correlation import rank_correlation


def test_rho_is_the_correlation_of_ranks_ties_too() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 30).astype(float), rng.standard_normal(30)
    expected = np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1]
    correlation = rank_correlation(a, b)
    assert correlation.rho == pytest.approx(expected)
    assert correlation.low < correlation.rho < correlation.high and correlation.count == 30
    assert rank_correlation(-a, np.exp(b)).rho == pytest.approx(-expected)


def test_the_interval_holds_the_truth_19_times_of_20() -> None:
    """Of normal pairs with correlation r, Spearman's is 6 / pi asin(r / 2)."""
    rng = np.random.default_rng(1)
    for r in (0.0, 0.6, 0.9):
        truth = 6 / np.pi * np.arcsin(r / 2)
        held = 0
        for _ in range(600):
            x, y = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], 22).T
            correlation = rank_correlation(x, y)
            held += correlation.low <= truth <= correlation.high
        assert 0.925 < held / 600 < 0.985


def test_without_any_relation_5_in_100_are_below_5_per_cent() -> None:
    rng = np.random.default_rng(2)
    p = [rank_correlation(*rng.standard_normal((2, 15))).p for _ in range(1500)]
    assert 0.035 < np.mean(np.array(p) < 0.05) < 0.075


def test_a_perfect_order_has_an_interval_too() -> None:
    correlation = rank_correlation(np.arange(9.0), np.arange(9.0) ** 3)
    assert (
        correlation.rho == 1
        and correlation.p < 1e-6
        and correlation.low > 0.9
        and correlation.high <= 1
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.arange(4.0), np.arange(4.0)),
        (np.arange(6.0), np.arange(5.0)),
        (np.ones(6), np.arange(6.0)),
        (np.array([1, 2, 3, 4, np.nan, 6]), np.arange(6.0)),
    ],
)
def test_what_has_no_ranks_is_refused(a: np.ndarray, b: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(BenchError):
        rank_correlation(a, b)
