"""Intervals and tests against closed forms, scipy, and small simulations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from bench.errors import BenchError
from bench.statistics.intervals import (
    Interval,
    jackknife,
    log_area_weights,
    mean_interval,
    paired_difference,
    seed_paired_difference,
    student_interval,
)
from bench.statistics.significance import holm, mcnemar
from bench.statistics.variance import SHARE, Scored, together

Z = scipy.stats.norm.ppf(0.975)


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


COUNTS = [(90, 100), (30, 300), (2700, 3000), (5, 40), (0, 40), (40, 40), (1, 1), (9990, 10_000)]


@pytest.mark.parametrize("bounds", [None, SHARE])
@pytest.mark.parametrize(("right", "n"), COUNTS)
def test_the_interval_of_0_1_rows_is_the_binomial_one(right: int, n: int, bounds: Any) -> None:
    rows = (np.arange(n) < right).astype(float)[None]
    interval = mean_interval(rows, bounds=bounds)
    assert interval.value == pytest.approx(right / n)
    exact = scipy.stats.binomtest(right, n).proportion_ci(0.95, method="exact")
    assert ends(interval) == pytest.approx((exact.low, exact.high), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_many_numbers_is_the_normal_one(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(3.0, 2.0, size=(1, 400))
    half = Z * rows.std() / math.sqrt(400)
    interval = mean_interval(rows)
    expected = (rows.mean() - half, rows.mean() + half)
    assert ends(interval) == pytest.approx(expected, abs=0.06 * half)


def test_rows_without_bounds_that_never_differ_have_an_interval_of_no_width() -> None:
    assert mean_interval(np.full((2, 9), 0.5)) == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize("replicates", [1, 2, 3])
@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_rows_with_bounds_that_never_differ_have_the_binomial_interval(
    replicates: int, value: float
) -> None:
    interval = mean_interval(np.full((replicates, 40), value), bounds=SHARE)
    exact = scipy.stats.binomtest(int(40 * value), 40).proportion_ci(0.95, method="exact")
    assert ends(interval) == pytest.approx((exact.low, exact.high), rel=1e-9)
    # The same in other units.
    moved = mean_interval(np.full((replicates, 40), 3 * value - 1), bounds=(-1.0, 2.0))
    assert ends(moved) == pytest.approx((3 * exact.low - 1, 3 * exact.high - 1), abs=1e-9)


def test_equal_replicates_are_as_one() -> None:
    rows = (np.random.default_rng(0).uniform(size=(1, 200)) < 0.7).astype(float)
    single, three = mean_interval(rows), mean_interval(rows.repeat(3, axis=0))
    assert ends(three) == pytest.approx(ends(single), abs=1e-9)
    assert three.value == pytest.approx(single.value)


def test_the_effective_number_of_rows_is_of_korn_and_graubard() -> None:
    """Rows that come in 50 groups of 4 equal ones, counted as means of the groups: the variance is that of
    50 rows, and Student's quantile has 49 degrees of freedom."""
    groups = np.random.default_rng(6).uniform(size=50).round(2)
    interval = mean_interval(groups[None], bounds=SHARE)
    mean, variance = groups.mean(), groups.var() / 50
    n = mean * (1 - mean) / variance * (Z / scipy.stats.t.ppf(0.975, 49)) ** 2
    low = scipy.stats.beta.ppf(0.025, n * mean, n * (1 - mean) + 1)
    high = scipy.stats.beta.ppf(0.975, n * mean + 1, n * (1 - mean))
    assert ends(interval) == pytest.approx((low, high), rel=1e-9)
    assert interval.high - interval.low < 4 * Z * math.sqrt(variance)


@pytest.mark.parametrize("replicates", [1, 3])
def test_intervals_stay_within_the_bounds(replicates: int) -> None:
    """Of shares, of their differences, and of scores with one bound."""
    rng = np.random.default_rng(11)
    for _ in range(100):
        n = int(rng.integers(2, 60))
        a, b = (rng.uniform(size=(replicates, n)) ** rng.choice([0.02, 1, 50]) for _ in range(2))
        a, b = (np.where(rng.random((replicates, 1)) < 0.3, x.round(), x) for x in (a, b))
        share = mean_interval(a, bounds=SHARE)
        assert 0 <= share.low <= share.value <= share.high <= 1
        assert share.low < share.high
        difference, _ = paired_difference(a, b, bounds=SHARE)
        assert -1 <= difference.low < difference.value < difference.high <= 1
        positive = mean_interval(20 * a, bounds=(0, math.inf))
        assert 0 <= positive.low <= positive.value <= positive.high
        below_one = mean_interval(1 - 20 * a, bounds=(-math.inf, 1))
        flipped = (1 - positive.high, 1 - positive.low)
        assert ends(below_one) == pytest.approx(flipped, rel=1e-9, abs=1e-9)


def test_above_a_bound_the_interval_is_students_of_the_logarithm() -> None:
    rows = np.random.default_rng(12).exponential(size=60)
    interval = mean_interval(2 + rows[None], bounds=(2, math.inf))
    half = scipy.stats.t.ppf(0.975, 59) * rows.std() / math.sqrt(60) / rows.mean()
    expected = 2 + rows.mean() * np.exp([-half, half])
    assert ends(interval) == pytest.approx(tuple(expected))


def test_95_in_100_intervals_over_rows_hold_the_truth() -> None:
    """150 data sets of 100 rows: 0.95 within three standard errors (0.018 each), less 0.01 since
    a percentile interval of 100 rows is a little short."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(150):
        interval = mean_interval((rng.uniform(size=(1, 100)) < 0.7).astype(float))
        held += interval.low <= 0.7 <= interval.high
    assert 0.88 <= held / 150 <= 1.0


def trained(rng: Any, seeds: int, spread: float, n: int, level: float = 0.7) -> Any:
    """0/1 rows (seeds, n): rows of common difficulty, seeds of their own skill, mean `level`."""
    skill = level + rng.normal(0, spread, size=(seeds, 1))
    hard = np.clip(rng.normal(0, 0.15, size=n), -0.25, 0.25)
    return (rng.random((seeds, n)) < skill + hard).astype(float)


CASES = [(3, 0.05, 2000), (3, 0.01, 200), (5, 0.03, 400), (10, 0.05, 2000), (3, 0.0, 200)]


@pytest.mark.parametrize(("seeds", "spread", "n"), CASES)
def test_95_in_100_intervals_over_few_seeds_hold_the_truth(
    seeds: int, spread: float, n: int
) -> None:
    """300 of them: a fair share is above 0.912 in 998 of 1,000 runs. Seeds dominate, balance, or do
    not matter. Resampling three seeds would reach about 0.8 in the first case."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(300):
        interval = mean_interval(trained(rng, seeds, spread, n))
        held += interval.low <= 0.7 <= interval.high
    assert held / 300 > 0.912


@pytest.mark.parametrize(("spread", "between"), [(0.05, 0.05), (0.05, 0.0), (0.02, 0.06)])
def test_95_in_100_differences_hold_the_truth_and_p_agrees_with_the_interval(
    spread: float, between: float
) -> None:
    rng, held, agree = np.random.default_rng(3), 0, 0
    for _ in range(300):
        a, b = trained(rng, 3, spread, 500), trained(rng, 3, between, 500, 0.6)
        interval, p = paired_difference(a, b)
        held += interval.low <= 0.1 <= interval.high
        agree += (p < 0.05) == (not interval.low <= 0 <= interval.high)
    assert held / 300 > 0.912
    assert agree == 300


def test_an_interval_over_seeds_is_students_where_rows_do_not_matter() -> None:
    means = np.array([0.3, 0.5, 0.7, 0.9])
    interval = mean_interval(means[:, None].repeat(50, axis=1))
    expected = scipy.stats.t.interval(0.95, 3, means.mean(), scipy.stats.sem(means))
    assert ends(interval) == pytest.approx(expected, rel=1e-6)


def test_a_difference_of_seeds_alone_has_welchs_p() -> None:
    a, b = np.array([0.1, 0.5, 0.6]), np.array([0.75, 0.9, 0.8, 0.85])
    mean_interval, p = paired_difference(a[:, None].repeat(9, axis=1), b[:, None].repeat(9, axis=1))
    expected = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert p == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval(0.95)
    assert ends(mean_interval) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_a_difference_of_rows_alone_has_the_paired_t_test() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(1, 60)), rng.normal(0.3, size=(1, 60))
    _, p = paired_difference(a, b)
    # Resampling divides by n, the t-test by n - 1.
    t = (a - b).mean() / ((a - b).std() / math.sqrt(60))
    assert p == pytest.approx(2 * scipy.stats.t.sf(abs(t), 59), rel=1e-9)
    assert p == pytest.approx(scipy.stats.ttest_rel(a[0], b[0]).pvalue, rel=0.1)


SUBSETS = [(0, 0, None, s) for s in range(4)]
SEEDS = [(s, s, None, None) for s in range(4)]


def test_label_subsets_are_paired_and_seeds_are_not() -> None:
    rng = np.random.default_rng(9)
    effect = np.array([-0.3, -0.1, 0.1, 0.3])[:, None]
    a, b = (effect + rng.normal(0, 0.02, size=(4, 1)) + np.zeros((4, 30)) for _ in range(2))
    paired, p = paired_difference(a + 0.1, b, SUBSETS, SUBSETS)
    apart, q = paired_difference(a + 0.1, b, SEEDS, SEEDS)
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)
    assert p == pytest.approx(scipy.stats.ttest_rel(a.mean(axis=1) + 0.1, b.mean(axis=1)).pvalue)
    assert p < 0.02 < 0.2 < q
    unpaired, _ = paired_difference(a, b, SUBSETS, [(0, 0, None, s + 9) for s in range(4)])
    assert unpaired.high - unpaired.low > 3 * (paired.high - paired.low)


def test_two_protocols_on_one_training_are_paired_by_its_seeds() -> None:
    """Four trainings of unequal skill, two heads on each: the sample is of their four differences."""
    rng = np.random.default_rng(14)
    skill = np.array([0.2, 0.4, 0.6, 0.8])[:, None]
    a, b = (skill + rng.normal(0, 0.01, (4, 1)) + np.zeros((4, 30)) for _ in range(2))
    paired, p = seed_paired_difference(a + 0.1, b, SEEDS)
    apart, q = paired_difference(a + 0.1, b, SEEDS, SEEDS)
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)
    assert p == pytest.approx(scipy.stats.ttest_rel(a.mean(axis=1) + 0.1, b.mean(axis=1)).pvalue)
    assert p < 0.02 < 0.2 < q
    row = rng.integers(0, 2, (2, 1, 40)).astype(float)
    assert seed_paired_difference(row[0], row[1]) == paired_difference(row[0], row[1])
    with pytest.raises(BenchError, match="cannot be paired by seed"):
        seed_paired_difference(a, b[:3])


def test_heads_on_one_training_are_no_trainings() -> None:
    """Ten heads over three trainings: the spread is that of three means, not of ten."""
    rng = np.random.default_rng(5)
    keys = [(i % 3, i, None, None) for i in range(9)]
    skill = np.array([0.2, 0.5, 0.8])
    rows = np.stack([np.full(20, skill[k[0]]) for k in keys]) + rng.normal(0, 0.01, (9, 1))
    scored = Scored.of(rows, keys)
    assert list(scored.levels) == ["encoder_seed"] and len(scored.levels["encoder_seed"]) == 3
    means = [rows[[k[0] == s for k in keys]].mean() for s in range(3)]
    assert scored.parts == [(pytest.approx(np.var(means, ddof=1) / 3), 2)]


def test_crossed_factors_each_add_their_spread() -> None:
    keys = [(e, 0, None, s) for e in range(3) for s in range(2)]
    values = np.array([0.1 * e + 0.05 * s for e, _, _, s in keys])
    scored = Scored.of(values[:, None].repeat(4, axis=1), keys)
    assert set(scored.levels) == {"encoder_seed", "subset"}
    expected = {(round(np.var([0.0, 0.1, 0.2], ddof=1) / 3, 9), 2)}
    expected |= {(round(np.var([0.0, 0.05], ddof=1) / 2, 9), 1)}
    assert {(round(v, 9), f) for v, f in scored.parts} == expected


@pytest.mark.parametrize("binary", [True, False])
def test_the_order_of_rows_and_of_replicates_does_not_matter(binary: bool) -> None:
    rng = np.random.default_rng(4)
    rows = rng.uniform(size=(3, 120))
    rows = (rows < 0.6).astype(float) if binary else rows
    interval = mean_interval(rows)
    again = mean_interval(rows[:, rng.permutation(120)])
    assert ends(again) == pytest.approx(ends(interval), abs=1e-12)
    permuted = mean_interval(rows[[2, 0, 1]])
    assert ends(permuted) == pytest.approx(ends(interval), abs=0.01)


def test_equal_input_gives_equal_intervals() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.uniform(size=(2, 50)), rng.uniform(size=(3, 50))
    assert mean_interval(a) == mean_interval(a.copy())
    assert mean_interval(a[:1]) == mean_interval(a[:1].copy())
    assert paired_difference(a, b) == paired_difference(a.copy(), b.copy())
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    mean_interval(a)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_an_interval_of_nothing_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(BenchError, match="at least one"):
        mean_interval(np.zeros(shape))


def sets(replicates: tuple[int, int], binary: bool, seed: int = 7) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(size=(r, 150)) for r in replicates)
    return ((a < 0.8) * 1.0, (b < 0.7) * 1.0) if binary else (a, b - 0.05)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("replicates", [(1, 1), (3, 3), (3, 1), (2, 3)])
def test_b_minus_a_is_minus_a_minus_b(replicates: tuple[int, int], binary: bool) -> None:
    a, b = sets(replicates, binary)
    (ab, p), (ba, q) = paired_difference(a, b), paired_difference(b, a)
    assert ab.value == pytest.approx(-ba.value) == pytest.approx(a.mean() - b.mean())
    width = ab.high - ab.low
    assert ends(ab) == pytest.approx((-ba.high, -ba.low), abs=0.05 * width)
    assert p == pytest.approx(q, abs=0.02)


def test_pairing_narrows_the_interval_of_rows_that_go_together() -> None:
    rng = np.random.default_rng(8)
    hard = rng.normal(size=(1, 200))
    a, b = hard + 0.1 * rng.normal(size=(1, 200)), hard + 0.1 * rng.normal(size=(1, 200))
    paired, _ = paired_difference(a, b)
    apart, _ = paired_difference(a, b[:, rng.permutation(200)])
    assert paired.high - paired.low < 0.3 * (apart.high - apart.low)
    repeated, _ = paired_difference(
        np.concatenate([a, a]), b
    )  # other numbers: rows are paired still
    assert repeated.high - repeated.low < 0.3 * (apart.high - apart.low)


@pytest.mark.parametrize("replicates", [1, 3])
def test_a_against_a_gives_every_p_value_about_equally_often(replicates: int) -> None:
    rng = np.random.default_rng(10)
    intervals = []
    for _ in range(60):
        a, b = (rng.normal(size=(replicates, 12)) for _ in range(2))
        intervals.append(paired_difference(a, b)[1])
    shares = np.mean(np.array(intervals)[:, None] <= [0.05, 0.25, 0.5, 0.75], axis=0)
    assert shares[0] <= 0.14
    # The replicates' own noise is counted among the rows' and between the replicates: p leans to the
    # large side.
    slack = 0.14 if replicates == 1 else 0.3
    assert shares[1:] == pytest.approx([0.25, 0.5, 0.75], abs=slack)


def test_a_p_value_is_never_zero_and_one_for_equals() -> None:
    a = np.ones((2, 50))
    assert paired_difference(2 * a, 2 * a) == (Interval(0.0, 0.0, 0.0), 1.0)
    assert paired_difference(a + 0.5, a)[1] == pytest.approx(1e-12)
    equal, p = paired_difference(a, a)  # 0/1 rows: others than these may differ
    assert p == 1.0 and -equal.low == equal.high == pytest.approx(0.055, abs=0.002)


def test_other_rows_cannot_be_paired() -> None:
    with pytest.raises(BenchError, match="cannot be paired"):
        paired_difference(np.ones((1, 4)), np.ones((1, 5)))


def test_one_replicate_of_0_1_rows_has_mcnemars_p() -> None:
    a, b = sets((1, 1), True)
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    assert paired_difference(a, b)[1] == mcnemar(only_a, only_b)


PAIRS = [(b, c) for b in range(0, 13, 2) for c in range(0, 40, 7)]
PAIRS += [(2400, 2600), (5000, 4800), (2500, 2500), (0, 5000), (5000, 5000), (1, 4999)]


@pytest.mark.parametrize(("only_a", "only_b"), PAIRS)
def test_mcnemars_mid_p_is_the_exact_p_less_half_of_the_point(only_a: int, only_b: int) -> None:
    n, least = only_a + only_b, min(only_a, only_b)
    if n == 0 or only_a == only_b:
        expected = 1.0
    else:
        exact = scipy.stats.binomtest(only_a, n, 0.5).pvalue
        expected = exact - scipy.stats.binom.pmf(least, n, 0.5)
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-6, abs=1e-300)
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.round(rng.uniform(size=rng.integers(1, 9)) ** 3, 2).tolist()  # with ties
    ranked, m = sorted(p), len(p)
    expected = [
        max(min(1.0, (m - j) * ranked[j]) for j in range(m) if ranked[j] <= value) for value in p
    ]
    assert holm(p) == pytest.approx(expected)


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_students_interval_is_scipys(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n).tolist()
    interval = student_interval(values)
    expected = scipy.stats.t.interval(0.95, n - 1, np.mean(values), scipy.stats.sem(values))
    assert ends(interval) == pytest.approx(expected)
    assert interval.value == pytest.approx(np.mean(values))


@pytest.mark.parametrize("values", [[], [0.5]])
def test_students_interval_needs_two_replicates(values: list[float]) -> None:
    with pytest.raises(BenchError, match="two or more"):
        student_interval(values)


@pytest.mark.parametrize("seed", range(20))
def test_area_weights_are_the_trapezoids_over_log2_of_the_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.choice(np.arange(1, 2000), size=rng.integers(2, 8), replace=False)
    scores = rng.uniform(size=len(sizes))
    weights = log_area_weights(sizes.tolist())
    x, y = np.log2(np.sort(sizes)), scores[np.argsort(sizes)]
    assert weights @ scores == pytest.approx(np.trapezoid(y, x) / (x[-1] - x[0]))
    assert weights.sum() == pytest.approx(1.0)
    assert (weights > 0).all()


@pytest.mark.parametrize("sizes", [[], [4], [4, 4], [1, 4, 4]])
def test_an_area_needs_different_sizes(sizes: list[float]) -> None:
    with pytest.raises(BenchError, match="different sizes"):
        log_area_weights(sizes)


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.random.default_rng(0).standard_normal(9)
    without = (values.sum() - values) / 8
    (interval, p), expected = jackknife(values.mean(), without), student_interval(values.tolist())
    assert interval.value == expected.value
    assert p == pytest.approx(scipy.stats.ttest_1samp(values, 0.0).pvalue)
    assert interval.low == pytest.approx(expected.low) and interval.high == pytest.approx(
        expected.high
    )
    with pytest.raises(BenchError, match="two or more"):
        jackknife(0.5, np.array([0.5]))
    assert jackknife(0.0, np.ones(4))[1] == 1.0


@pytest.mark.parametrize("rows", [(1.0, 99.0), (0.2, 19.0), (0.0, 9.0)])
@pytest.mark.parametrize("replicates", [[(1.0, 2.0)], [(0.5, 2.0), (2.0, 3.0)], []])
def test_degrees_of_freedom(rows: tuple[float, float], replicates: list[Any]) -> None:
    """Of replicates alone Welch's; with rows between these and the smaller of Welch's and the rows'."""
    variance, freedom = together([rows], replicates)
    assert variance == pytest.approx(rows[0] + sum(v for v, _ in replicates))
    parts = [part for part in [rows, *replicates] if part[0]]
    if not parts:
        assert freedom == math.inf
        return
    welch = variance**2 / sum(v**2 / f for v, f in parts)
    assert freedom <= welch * (1 + 1e-12)
    assert freedom >= min(f for _, f in parts) * (1 - 1e-12)
    if not rows[0] or not replicates:
        assert freedom == pytest.approx(welch)
    elif len(replicates) == 1:
        share = rows[0] / variance
        assert 1 / freedom == pytest.approx(share / rows[1] + (1 - share) / replicates[0][1])


def counted(n: int, only_a: int, only_b: int) -> tuple[Interval, float]:
    """The difference of two classifiers, of which each alone is right on so many of n rows."""
    a, b = np.zeros((2, 1, n))
    a[0, :only_a] = b[0, only_a : only_a + only_b] = 1
    return paired_difference(a, b)


def test_a_published_difference_of_paired_proportions() -> None:
    """Bentur et al.: 1 and 7 of 21 children. Tango's score interval is -.517 to -.026, Bonett and Price's
    -.508 to -.013 (Fagerland, Lydersen and Laake 2014, doi:10.1002/sim.6148)."""
    interval, _ = counted(21, 1, 7)
    assert interval.value == pytest.approx(-6 / 21)
    assert ends(interval) == pytest.approx((-0.517, -0.026), abs=0.04)
    variance = (8 / 21 - (6 / 21) ** 2) / 21 + 2 / 21**2
    expected = -6 / 21 - Z * math.sqrt(variance), -6 / 21 + Z * math.sqrt(variance)
    assert ends(interval) == pytest.approx(expected)


@pytest.mark.parametrize("n", [10, 20, 50, 200])
def test_mcnemars_p_and_the_interval_do_not_contradict_each_other(n: int) -> None:
    for only_a in range(min(n, 25) + 1):
        for only_b in range(min(only_a, n - only_a) + 1):
            interval, p = counted(n, only_a, only_b)
            assert p < 0.075 if interval.low > 0 else p > 0.03


@pytest.mark.parametrize("seeds", [1, 3])
def test_two_that_never_differ_may_differ_on_other_rows(seeds: int) -> None:
    """Of 40 rows with one difference in a hundred the two agree on all in two of three cases."""
    rows = (np.arange(40) < 30).astype(float)[None].repeat(seeds, axis=0)
    interval, p = paired_difference(rows, rows)
    assert -interval.low == interval.high == pytest.approx(0.07, abs=0.002)
    assert p == 1.0


def test_equal_replicates_have_the_interval_of_rows() -> None:
    """40 of 40 in each of three replicates, or without each of ten classes, are no certainty."""
    expected = (0.025 ** (1 / 40), 1.0)
    assert ends(student_interval([1.0] * 3, bounds=SHARE, n=40)) == pytest.approx(expected)
    assert ends(jackknife(1.0, np.ones(10), bounds=SHARE, n=40)[0]) == pytest.approx(expected)
    with pytest.raises(BenchError, match="number of test rows"):
        student_interval([1.0] * 3, bounds=SHARE)


def test_students_interval_is_cut_at_the_bounds() -> None:
    values = [0.7, 0.9, 0.99]
    plain, cut = student_interval(values), student_interval(values, bounds=SHARE, n=40)
    assert plain.high > 1 and ends(cut) == (plain.low, 1.0)
    interval, _ = jackknife(0.02, np.array([0.0, 0.03, 0.01]), bounds=SHARE, n=40)
    assert interval.low == 0 < interval.high
