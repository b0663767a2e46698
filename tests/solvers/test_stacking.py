"""Calibrated stacking and its area against every threshold tried, and against the metrics."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.errors import BenchError
from bench.solvers.stacking import (
    Candidates,
    SeenUnseenCurve,
    calibrated_scores,
    calibration_at,
    harmonic_mean,
    seen_unseen_curve,
    share_below,
    stacking_margins,
)
from tests.kit.stacking import accuracies, ausuc

Matrix = npt.NDArray[np.float64]
UNSEEN = [1, 4, 5]


def guesses(seed: int = 0, n: int = 60, *, ties: bool = False) -> tuple[Matrix, Any]:
    """Scores of 7 classes, of which some rows are right, and truths of unequal counts."""
    rng = np.random.default_rng(seed)
    truth = np.r_[np.arange(7), rng.choice(7, n - 7, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])]
    scores = rng.standard_normal((n, 7)) + 1.5 * np.eye(7)[truth]
    scores[:, [0, 2, 3, 6]] += 0.8
    return (scores.round() if ties else scores), truth


def per_class(truth: Any, right: Any, classes: Any) -> float:
    return float(np.mean([right[truth == c].mean() for c in classes if (truth == c).any()]))


def tried(scores: Matrix, truth: Any, unseen: list[int]) -> tuple[list[float], list[float]]:
    """S and U at a calibration between any two margins, by subtracting it and taking the largest."""
    seen = [c for c in range(scores.shape[1]) if c not in unseen]
    steps = sorted({float(r[seen].max() - r[unseen].max()) for r in scores})
    middles = [(a + b) / 2 for a, b in pairwise(steps)]
    s, u = [], []
    for g in [steps[0] - 1, *middles, steps[-1] + 1]:
        moved = scores.copy()
        moved[:, seen] -= g
        right = moved.argmax(axis=1) == truth
        s.append(per_class(truth, right, seen))
        u.append(per_class(truth, right, unseen))
    return s, u


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_sweep_equals_every_threshold_tried(seed: int, ties: bool) -> None:
    scores, truth = guesses(seed, ties=ties)
    curve = seen_unseen_curve(scores, truth, UNSEEN)
    s, u = tried(scores, truth, UNSEEN)
    np.testing.assert_allclose(curve.seen, s, atol=1e-12)
    np.testing.assert_allclose(curve.unseen, u, atol=1e-12)
    ends = zip(pairwise(s), pairwise(u), strict=True)
    area = sum((right - left) * (high + low) / 2 for (high, low), (left, right) in ends)
    assert abs(curve.area - area) < 1e-12 and abs(ausuc(scores, truth, UNSEEN) - area) < 1e-12
    assert (np.diff(curve.calibrations) > 0).all()
    for g, seen, unseen in zip(curve.calibrations, curve.seen, curve.unseen, strict=True):
        at = accuracies(scores, truth, UNSEEN, g)
        assert at.seen == pytest.approx(seen, abs=1e-12)
        assert at.unseen == pytest.approx(unseen, abs=1e-12)


def test_the_ends_are_the_accuracies_among_one_kind_of_class_alone() -> None:
    scores, truth = guesses()
    seen = [0, 2, 3, 6]
    curve = seen_unseen_curve(scores, truth, UNSEEN)
    for g, end, side, others in ((-np.inf, 0, seen, UNSEEN), (np.inf, -1, UNSEEN, seen)):
        right = np.array(side)[scores[:, side].argmax(axis=1)] == truth
        alone, at = per_class(truth, right, side), accuracies(scores, truth, UNSEEN, g)
        pair = (at.seen, at.unseen) if others is UNSEEN else (at.unseen, at.seen)
        assert pair == (pytest.approx(alone, abs=1e-12), 0.0)
        ends = (curve.seen[end], curve.unseen[end])
        assert (ends if others is UNSEEN else ends[::-1]) == (pytest.approx(alone, abs=1e-12), 0.0)
        assert at.harmonic_mean == 0
    assert accuracies(scores, truth, UNSEEN, 0.3).zero_shot == pytest.approx(curve.unseen[-1])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("g", [0.0, 1.0, -0.5])
def test_accuracies_are_those_of_the_largest_calibrated_score(g: float, ties: bool) -> None:
    for seed in range(5):
        scores, truth = guesses(seed, ties=ties)
        at, calibrated = accuracies(scores, truth, UNSEEN, g), calibrated_scores(scores, UNSEEN, g)
        right, seen = calibrated.argmax(axis=1) == truth, sorted(set(range(7)) - set(UNSEEN))
        assert at.seen == pytest.approx(per_class(truth, right, seen), abs=1e-12)
        assert at.unseen == pytest.approx(per_class(truth, right, UNSEEN), abs=1e-12)
        alone = np.array(UNSEEN)[calibrated[:, UNSEEN].argmax(axis=1)] == truth
        assert at.zero_shot == pytest.approx(per_class(truth, alone, UNSEEN), abs=1e-12)
        both = 2 * at.seen * at.unseen / (at.seen + at.unseen)
        assert at.harmonic_mean == pytest.approx(both, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_areas_of_many_sets_of_scores_are_those_one_by_one(ties: bool) -> None:
    truth = guesses()[1]
    sets = np.stack([guesses(seed, ties=ties)[0] for seed in range(6)])
    sets[3] = 0.0  # all tied
    expected = [ausuc(scores, truth, UNSEEN) for scores in sets]
    candidates = Candidates.of(sets, truth, UNSEEN)
    np.testing.assert_allclose(candidates.areas(), expected, atol=1e-12)
    assert candidates.score_set(2).curve().area == expected[2]
    single = sets.astype(np.float32)
    double = Candidates.of(single.astype(float), truth, UNSEEN)
    np.testing.assert_array_equal(Candidates.of(single, truth, UNSEEN).margin, double.margin)


def test_the_area_lies_between_nothing_and_one() -> None:
    truth = np.arange(7)
    right, wrong = np.eye(7), -np.eye(7)
    assert ausuc(right, truth, UNSEEN) == pytest.approx(1.0, abs=1e-15)
    assert ausuc(wrong, truth, UNSEEN) == 0.0
    for seed in range(20):
        scores, truth = guesses(seed, n=12)
        curve = seen_unseen_curve(scores, truth, UNSEEN)
        assert 0 <= curve.area <= curve.seen[0] * curve.unseen[-1] + 1e-12 <= 1 + 1e-12
        assert (np.diff(curve.seen) <= 0).all() and (np.diff(curve.unseen) >= 0).all()


def test_constants_scales_orders_and_numbers_change_nothing() -> None:
    scores, truth = guesses()
    plain, rng = ausuc(scores, truth, UNSEEN), np.random.default_rng(1)
    assert ausuc(scores + 5, truth, UNSEEN) == pytest.approx(plain, abs=1e-12)
    offsets = rng.standard_normal((len(scores), 1))  # a constant for each row
    assert ausuc(scores + offsets, truth, UNSEEN) == pytest.approx(plain, abs=1e-12)
    assert ausuc(1e3 * scores, truth, UNSEEN) == pytest.approx(plain, abs=1e-12)
    moved = scores.copy()
    moved[:, UNSEEN] -= 3.7  # a calibration is what is swept over
    assert ausuc(moved, truth, UNSEEN) == pytest.approx(plain, abs=1e-12)
    rows, numbers = rng.permutation(len(scores)), rng.permutation(7)
    assert ausuc(scores[rows], truth[rows], UNSEEN) == pytest.approx(plain, abs=1e-12)
    renamed = np.empty_like(scores)
    renamed[:, numbers] = scores
    assert ausuc(renamed, numbers[truth], numbers[UNSEEN]) == pytest.approx(plain, abs=1e-12)
    twice = np.concatenate([scores, scores]), np.concatenate([truth, truth])
    assert ausuc(*twice, UNSEEN) == pytest.approx(plain, abs=1e-12)


def test_every_class_counts_alike_however_many_rows_it_has() -> None:
    truth = np.array([0] * 9 + [1, 2, 3])
    scores = np.zeros((12, 4))
    scores[np.arange(12), [0] * 9 + [0, 2, 2]] = 1  # all right but for the lone rows of 1 and 3
    at = accuracies(scores, truth, [2, 3], 0.0)
    assert (at.seen, at.unseen, at.zero_shot) == (0.5, 0.5, 0.5)
    assert at.harmonic_mean == 0.5
    right = scores.argmax(axis=1) == truth
    assert right[truth < 2].mean() == 0.9  # by row it is another number
    absent = accuracies(np.c_[scores, np.zeros(12)], truth, [2, 3], 0.0)  # class 4 has no rows
    assert (absent.seen, absent.unseen) == (0.5, 0.5)


def test_the_harmonic_mean_of_nothing_is_nothing() -> None:
    assert harmonic_mean(0, 0) == 0
    assert harmonic_mean(0.5, 0.5) == 0.5
    np.testing.assert_allclose(harmonic_mean([1, 0, 0.6], [0.5, 1, 0.2]), [2 / 3, 0, 0.3])
    none = accuracies(-np.eye(3), np.arange(3), [2], 0.0)
    assert (none.seen, none.unseen, none.harmonic_mean) == (0, 0, 0)


def test_integers_are_scores_too() -> None:
    scores, truth = guesses(ties=True)
    whole = (scores.astype(np.int64), truth.astype(np.uint8), np.array(UNSEEN, np.uint16))
    assert ausuc(*whole) == ausuc(scores, truth, UNSEEN)
    assert accuracies(*whole, 1) == accuracies(scores, truth, UNSEEN, 1.0)


def test_the_best_calibration_has_the_largest_harmonic_mean() -> None:
    for seed in range(10):
        scores, truth = guesses(seed)
        best = accuracies(
            scores, truth, UNSEEN, seen_unseen_curve(scores, truth, UNSEEN).best_calibration
        )
        s, u = tried(scores, truth, UNSEEN)
        assert best.harmonic_mean == pytest.approx(float(harmonic_mean(s, u).max()), abs=1e-12)
    flat = SeenUnseenCurve(np.array([0.0, 1, 2]), np.array([0.5, 0.5, 0]), np.array([0.0, 0, 0.5]))
    assert flat.best_calibration == 0.0


# --- A calibration as a level of margins


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_a_level_and_its_calibration_name_one_another(n: int) -> None:
    values = np.random.default_rng(n).standard_normal(n)
    for k in range(n + 1):
        g = calibration_at(values, k / n)
        assert (values < g).sum() == k
        assert share_below(values, g) == pytest.approx(k / n)
    shares = np.linspace(0, 1, 23)
    result = [calibration_at(values, share) for share in shares]
    assert (np.diff(result) > 0).all()
    assert all(
        abs(share_below(values, g) - q) <= 1 / n + 1e-12
        for g, q in zip(result, shares, strict=True)
    )


def test_equal_margins_have_one_calibration_and_half_of_them_lie_below() -> None:
    assert share_below(np.full(5, 2.0), 2.0) == 0.5
    assert calibration_at(np.full(5, 2.0), 0.5) == 2.0
    assert calibration_at(np.full(5, 2.0), 0.0) < 2.0 < calibration_at(np.full(5, 2.0), 1.0)
    assert share_below(np.full(5, 2.0), -np.inf) == 0 and share_below(np.full(5, 2.0), np.inf) == 1


def test_a_level_transfers_between_scales_where_a_calibration_does_not() -> None:
    """Chosen on one set of scores, it is as good on others of another scale and offset."""
    (seen_scores, truth), (there, second_truth) = guesses(1, n=4000), guesses(2, n=4000)
    there = 50 * there
    there[:, UNSEEN] -= 200
    chosen = seen_unseen_curve(seen_scores, truth, UNSEEN).best_calibration
    old = ~np.isin(truth, UNSEEN)
    share = share_below(stacking_margins(seen_scores[old], UNSEEN), chosen)
    moved = calibration_at(stacking_margins(there[~np.isin(second_truth, UNSEEN)], UNSEEN), share)
    oracle = accuracies(
        there, second_truth, UNSEEN, seen_unseen_curve(there, second_truth, UNSEEN).best_calibration
    ).harmonic_mean
    assert accuracies(there, second_truth, UNSEEN, moved).harmonic_mean > oracle - 0.03
    assert accuracies(there, second_truth, UNSEEN, chosen).harmonic_mean < oracle - 0.3


def test_margins_are_where_guesses_turn() -> None:
    scores, _ = guesses()
    margins = stacking_margins(scores, UNSEEN)
    for below, g in ((True, -1e-9), (False, 1e-9)):
        turned = [
            calibrated_scores(scores[i : i + 1], UNSEEN, margins[i] + g).argmax()
            for i in range(len(margins))
        ]
        assert (np.isin(turned, UNSEEN) != below).all()


def test_inputs_are_left_alone() -> None:
    scores, truth = guesses()
    scores.flags.writeable = truth.flags.writeable = False
    seen_unseen_curve(scores, truth, UNSEEN)
    accuracies(scores, truth, UNSEEN, 0.0)
    calibrated_scores(scores, UNSEEN, 1.0)
    values = stacking_margins(scores, UNSEEN)
    values.flags.writeable = False
    calibration_at(values, 0.3)


def test_errors_say_what_to_do() -> None:
    scores, truth = guesses()
    for unseen in ([], range(7), [7], [-1]):
        with pytest.raises(BenchError, match="give some of 0 to 6, not all"):
            seen_unseen_curve(scores, truth, unseen)
    for bad in (np.where(scores > 2, np.inf, scores), scores * np.nan, scores[0]):
        with pytest.raises(BenchError, match="give finite ones"):
            ausuc(bad, truth, UNSEEN)
    with pytest.raises(BenchError, match="labels are int64"):
        seen_unseen_curve(scores, truth[:5], UNSEEN)
    with pytest.raises(BenchError, match="labels are float64"):
        seen_unseen_curve(scores, truth.astype(float), UNSEEN)
    with pytest.raises(BenchError, match="from -1 to 5: with 7 classes 0 to 6"):
        seen_unseen_curve(scores, truth - 1, UNSEEN)
    for label in (0, 1):
        with pytest.raises(BenchError, match="of one kind alone"):
            accuracies(scores, np.full(len(scores), label), UNSEEN, 0.0)
    with pytest.raises(BenchError, match="of one kind alone"):
        seen_unseen_curve(scores[:0], truth[:0], UNSEEN)
    with pytest.raises(BenchError, match="is NaN"):
        accuracies(scores, truth, UNSEEN, np.nan)
    with pytest.raises(BenchError, match="finite one"):
        calibrated_scores(scores, UNSEEN, np.inf)
    for share in (-0.1, 1.1, np.nan):
        with pytest.raises(BenchError, match="from 0 to 1"):
            calibration_at(np.ones(3), share)
    for values in (np.ones((2, 2)), np.ones(0), np.array([np.nan])):
        with pytest.raises(BenchError, match="list of finite"):
            share_below(values, 0.0)
