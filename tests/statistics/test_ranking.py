"""Pairs, ranges of ranks and ties against brute force and the paired difference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from bench.statistics.intervals import paired_difference
from bench.statistics.ranking import pair_variances, pairwise_p, rank_ranges, tie_groups
from bench.statistics.significance import difference_p, differences_p, holm
from bench.statistics.variance import (
    SHARE,
    UNBOUNDED,
    Scored,
    difference_rows_part,
    replicate_parts,
    together,
)

SEEDS = [(s, s, None, None) for s in range(3)]


def encoders(count: int, n: int, *, seed: int = 0, seeds: int = 3) -> list[Any]:
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n)
    return [
        hard + 0.2 * k + 0.1 * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, n))
        for k in range(count)
    ]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("seeds", [1, 3])
def test_all_pairs_at_once_are_the_pairs_one_by_one(seeds: int, binary: bool) -> None:
    rows = encoders(5, 80, seeds=seeds)
    if binary:
        rows = [np.concatenate([row, row[:1]]) > 0.3 for row in rows]  # two replicates or more
    p = pairwise_p([[Scored.of(row) for row in rows]], [1.0])
    for i, j in itertools.permutations(range(5), 2):
        assert p[i, j] == pytest.approx(paired_difference(rows[i], rows[j])[1], rel=1e-6)
    assert (np.diag(p) == 1).all()


# Replicates that vary in seeds, in draws that encoders share, in both; equal and other keys; one alone.
KEYS: list[list[tuple[Any, ...]]] = [
    [(s, s, None, None) for s in range(3)],
    [(s, s, None, None) for s in range(5)],
    [(0, h, None, None) for h in range(4)],
    [(None, None, split, None) for split in "abc"],
    [(None, None, split, None) for split in "bca"],
    [(None, None, split, None) for split in "abcd"],
    [(s, s, split, None) for s in range(2) for split in "abc"],
    [(0, 0, None, subset) for subset in range(5)],
    [(s, 0, split, subset) for s in range(2) for split in "ab" for subset in range(3)],
    [(0, 0, None, None)],
]
BOUNDS = (SHARE, (-1.0, 3.0), UNBOUNDED)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("groups", [1, 3])
def test_variances_of_all_pairs_are_those_of_their_parts(groups: int, seed: int) -> None:
    """Pair by pair: the differences of rows, what rare rows add, and paired or separate replicates."""
    rng = np.random.default_rng([seed, groups])
    count, scored = 8, list[list[Scored]]()
    for n in rng.integers(1, 60, size=groups):
        keys = [KEYS[k] for k in rng.integers(len(KEYS), size=count)]
        bounds = [BOUNDS[k] for k in rng.integers(len(BOUNDS), size=count)]
        scored.append([Scored.of(rng.normal(size=(len(k), n)), k, b)
                       for k, b in zip(keys, bounds, strict=True)])  # fmt: skip
    weights = rng.uniform(0.1, 1.0, size=groups).tolist()
    variances, freedoms = pair_variances(scored, weights)
    p = pairwise_p(scored, weights)
    for i, j in itertools.permutations(range(count), 2):
        of_rows, of_replicates, difference = [], [], 0.0
        for group, weight in zip(scored, weights, strict=True):
            a, b = group[i], group[j]
            variance, freedom = difference_rows_part(a.rows - b.rows, max(a.width, b.width))
            of_rows.append((weight**2 * variance, freedom))
            of_replicates += [(weight**2 * v, f) for v, f in replicate_parts(a, b)]
            difference += weight * (a.value - b.value)
        expected = together(of_rows, of_replicates)
        assert (variances[i, j], freedoms[i, j]) == pytest.approx(expected, rel=1e-12)
        assert p[i, j] == pytest.approx(difference_p(difference, of_rows, of_replicates), rel=1e-9)


def test_the_wider_bounds_of_a_pair_count_and_none_add_nothing() -> None:
    rows = np.zeros((1, 4))
    scored = [Scored.of(rows, [("one",)], bounds) for bounds in BOUNDS]
    variances, _ = pair_variances([scored], [1.0])
    assert variances[0, 1] == pytest.approx(2 * (4 / 4) ** 2)
    assert variances[0, 2] == variances[1, 2] == 0.0


def test_p_of_no_difference_no_variance_and_a_normal_deviate() -> None:
    p = differences_p(np.array([0.0, 0.5, 1.959964]), np.array([1.0, 0.0, 1.0]), np.full(3, np.inf))
    assert p == pytest.approx([1.0, 1e-12, 0.05], abs=1e-7)


def test_two_data_sets_are_as_their_weighted_sum_where_only_rows_vary() -> None:
    """Independent rows: the variances of the parts add up, by the squares of their weights."""
    first, two = encoders(2, 50, seed=1, seeds=1), encoders(2, 70, seed=2, seeds=1)
    groups = [[Scored.of(row) for row in rows] for rows in (first, two)]
    p = pairwise_p(groups, [0.25, 0.75])[0, 1]
    gaps = [w * (rows[0] - rows[1])[0] for w, rows in ((0.25, first), (0.75, two))]
    total = sum(gap.mean() for gap in gaps)
    variance = sum(gap.var() / len(gap) for gap in gaps)
    rng = np.random.default_rng(0)
    draws = sum(gap[rng.integers(len(gap), size=(40_000, len(gap)))].mean(axis=1) for gap in gaps)
    assert variance == pytest.approx(draws.var(), rel=0.05)
    tail = 2 * min((draws <= 0).mean(), (draws >= 0).mean())
    assert p == pytest.approx(tail, abs=0.02)
    assert total == pytest.approx(sum(w * (g[0].value - g[1].value)
                                      for w, g in zip((0.25, 0.75), groups, strict=True)))  # fmt: skip


def test_ranges_and_groups_of_a_hand_made_table() -> None:
    """a > b = c > d, and a cannot be told from b."""
    values, close = [0.9, 0.8, 0.79, 0.5], {(0, 1), (1, 2)}
    p = np.ones((4, 4))
    for i, j in itertools.combinations(range(4), 2):
        p[i, j] = p[j, i] = 0.5 if (i, j) in close else 1e-6
    assert rank_ranges(values, p) == [(1, 2), (1, 3), (2, 3), (4, 4)]
    assert tie_groups(values, p) == [1, 1, 2, 3]
    order = [2, 0, 3, 1]
    moved = p[np.ix_(order, order)]
    assert rank_ranges([values[i] for i in order], moved) == [(2, 3), (1, 2), (4, 4), (1, 3)]
    assert tie_groups([values[i] for i in order], moved) == [2, 1, 3, 1]


def test_all_pairs_are_adjusted_together() -> None:
    values = [0.3, 0.2, 0.1]
    p = np.ones((3, 3))
    for (i, j), value in zip([(0, 1), (0, 2), (1, 2)], [0.03, 0.001, 0.04], strict=True):
        p[i, j] = p[j, i] = value
    assert holm([0.03, 0.001, 0.04]) == pytest.approx([0.06, 0.003, 0.06])
    assert rank_ranges(values, p) == [(1, 2), (1, 3), (2, 3)]
    assert tie_groups(values, p) == [1, 1, 2]
    assert rank_ranges(values, p, level=0.1) == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("count", [1, 2])
def test_one_encoder_is_first_and_equals_tie(count: int) -> None:
    rows = encoders(1, 30)[0]
    scored = [Scored.of(rows)] * count
    p = pairwise_p([scored], [1.0])
    assert rank_ranges([encoder.value for encoder in scored], p) == [(1, count)] * count
    assert tie_groups([encoder.value for encoder in scored], p) == [1] * count
