"""CKA without bias against its definition with whole kernel matrices, and cases with known answers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.solvers.cka import pairwise_cka

Array = Any


def by_definition(a: Array, b: Array) -> float:
    """The mean of the U-statistic's kernel over ordered quadruples of different rows (Song et al. 2012,
    eq. 3): slow, and nothing in it is shared with the fast way."""
    k, m = a @ a.T, b @ b.T
    quadruples = itertools.permutations(range(len(a)), 4)
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in quadruples]
    return float(np.mean(terms))


def cka(a: Array, b: Array) -> float:
    return float(pairwise_cka([a, b], groups=2)[0][0, 1])


def with_kernels(a: Array, b: Array) -> float:
    """CKA by whole kernel matrices, from the trace formula of HSIC_1 (Song et al. 2012, eq. 5)."""
    kernels = [
        x @ x.T - np.diag((x**2).sum(axis=1)) for x in (a - a.mean(axis=0), b - b.mean(axis=0))
    ]
    n = len(a)

    def hsic(k: Array, m: Array) -> float:
        whole = k.sum() * m.sum() / ((n - 1) * (n - 2))
        return float(np.trace(k @ m) + whole - 2 * (k @ m).sum() / (n - 2))

    k, m = kernels
    return hsic(k, m) / float(np.sqrt(hsic(k, k) * hsic(m, m)))


@pytest.mark.parametrize(("d", "e"), [(1, 1), (3, 2), (9, 14)])
def test_it_is_its_definition(d: int, e: int) -> None:
    rng = np.random.default_rng(d)
    a, b = rng.standard_normal((8, d)) + 3, rng.standard_normal((8, e)) - 5
    spread = by_definition(a, a) * by_definition(b, b)
    expected = float(np.clip(by_definition(a, b) / np.sqrt(spread), -1, 1))
    assert cka(a, b) == pytest.approx(expected, rel=1e-9)


def common(a: Array, b: Array) -> float:
    """CKA as it is mostly computed, with its bias (Kornblith et al. 2019, eq. 5)."""
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / norms)


def test_independent_features_are_like_nothing_on_average_where_the_common_estimate_says_half() -> (
    None
):
    rng = np.random.default_rng(0)
    pairs = [(rng.standard_normal((60, 60)), rng.standard_normal((60, 50))) for _ in range(200)]
    values = [cka(a, b) for a, b in pairs]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 0.005
    assert np.mean([common(a, b) for a, b in pairs[:20]]) > 0.4


def test_a_rotation_a_scale_and_a_shift_change_nothing_and_a_stretch_does() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal((50, 6)) * [5, 1, 1, 1, 1, 1]
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    assert cka(a, a) == 1
    assert cka(a, -3 * a @ turn + 7) == pytest.approx(1, abs=1e-12)
    assert cka(a, a * [0.01, 1, 1, 1, 1, 1]) < 0.6


def test_with_many_rows_it_is_the_common_estimate() -> None:
    rng = np.random.default_rng(2)
    a = rng.standard_normal((4000, 5))
    b = a[:, :2] @ rng.standard_normal((2, 4)) + 0.5 * rng.standard_normal((4000, 4))
    assert cka(a, b) == pytest.approx(common(a, b), abs=2e-3)
    assert 0.2 < cka(a, b) < 0.9


def test_all_pairs_at_once_are_each_pair_and_groups_left_out_are_left_out() -> None:
    rng = np.random.default_rng(3)
    base = rng.standard_normal((46, 4))
    bases = [base @ rng.standard_normal((4, d)) + rng.standard_normal((46, d)) for d in (3, 60, 8)]
    values, without = pairwise_cka(bases, groups=5)
    assert without.shape == (5, 3, 3)
    runs = np.array_split(np.arange(46), 5)
    for i, j in itertools.product(range(3), range(3)):
        assert values[i, j] == pytest.approx(with_kernels(bases[i], bases[j]), rel=1e-9)
        for g, run in enumerate(runs):
            remaining = np.setdiff1d(np.arange(46), run)
            assert without[g, i, j] == pytest.approx(
                with_kernels(bases[i][remaining], bases[j][remaining]), rel=1e-8
            )


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (np.ones((3, 2)), np.ones((3, 2)), "4 or more"),
        (np.zeros((5, 2)), np.zeros((6, 2)), "equally many rows"),
        (np.full((5, 2), np.nan), np.eye(5), "NaN"),
        (np.full((5, 2), 7.0), np.eye(5), "constant over rows"),
    ],
)
def test_what_has_no_answer_is_refused(a: Array, b: Array, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        cka(a, b)


def test_too_few_rows_for_the_groups_are_refused() -> None:
    rows = [np.eye(5), np.eye(5)]
    with pytest.raises(BenchError, match="outside each"):
        pairwise_cka(rows, groups=1)
    with pytest.raises(BenchError, match="outside each"):
        pairwise_cka(rows, groups=2)
