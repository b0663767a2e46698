"""Every metric agrees with scikit-learn or with a loop that spells out its definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from bench.errors import BenchError
from bench.solvers.neighbours import nearest, vote
from bench.statistics.metrics import METRICS, Stored, calibration_error, score

SEEDS = range(6)


def log_softmax(scores: Any) -> Any:
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def classes(seed: int, n: int = 97, k: int = 5) -> tuple[Any, Any]:
    """Truth (n,) and log-probabilities (n, k) float32 that are right about half of the time."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    scores = rng.normal(size=(n, k)) + 1.2 * np.eye(k)[truth]
    return truth, log_softmax(scores).astype(np.float32)


def plain(kind: str, truth: Any, prediction: Any, probabilistic: bool = True) -> dict[str, float]:
    return score(kind, truth, prediction, probabilistic=probabilistic)


@pytest.mark.parametrize("seed", SEEDS)
def test_class_metrics_are_scikit_learns(seed: int) -> None:
    truth, log_p = classes(seed)
    guess, p = log_p.argmax(axis=1), np.exp(log_p.astype(np.float64))
    values = plain("classes", truth, log_p)
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert values["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    expected = sk.log_loss(truth, p / p.sum(axis=1, keepdims=True), labels=range(5))
    assert values["nll"] == pytest.approx(expected, rel=1e-5)
    assert set(values) == {"accuracy", "balanced_accuracy", "nll", "ece"} <= set(METRICS)


@pytest.mark.parametrize("seed", SEEDS)
def test_top5_is_scikit_learns_from_20_classes_on(seed: int) -> None:
    truth, log_p = classes(seed, k=23)
    expected = sk.top_k_accuracy_score(truth, log_p, k=5, labels=range(23))
    assert plain("classes", truth, log_p)["top5"] == pytest.approx(expected)
    assert "top5" not in plain("classes", *classes(seed, k=19))


@pytest.mark.parametrize("certain", [False, True])
def test_equal_scores_give_no_place_among_the_top_five_for_free(certain: bool) -> None:
    k = 25
    truth = np.arange(k).repeat(4)
    log_p = np.full((len(truth), k), -np.inf if certain else -math.log(k))
    if certain:  # all of the probability on the first class, the others tie at zero
        log_p[:, 0] = 0.0
    values = plain("classes", truth, log_p)
    assert values["accuracy"] == pytest.approx(1 / k)
    assert values["top5"] == pytest.approx(1 / k if certain else 5 / k)


@pytest.mark.parametrize("k", [1, 2, 4, 5, 6, 20, 200])
def test_top5_of_neighbours_counts_only_classes_with_a_vote(k: int) -> None:
    rng = np.random.default_rng(k)
    truth, labels = rng.integers(24, size=150), rng.integers(24, size=400)
    centres = rng.normal(size=(24, 6))
    queries, bank = (centres[y] + 1.5 * rng.normal(size=(len(y), 6)) for y in (truth, labels))
    bank[:40] = 0.0  # like nothing: these vote alike, so that votes tie
    indices, similarities = nearest(queries, bank, k)
    values = plain("classes", truth, vote(indices, similarities, labels, 24, k=k, temperature=0.07))
    right = 0
    for i, label in enumerate(truth):
        votes: dict[int, float] = {}
        for j, cosine in zip(indices[i], similarities[i], strict=True):
            weight = math.exp((float(cosine) - 1) / 0.07)
            votes[int(labels[j])] = votes.get(int(labels[j]), 0.0) + weight
        right += int(label) in sorted(votes, key=lambda c: (-votes[c], c))[:5]
    assert values["top5"] == pytest.approx(right / 150)
    assert (values["top5"] == values["accuracy"]) == (k == 1)


def test_top5_of_queries_that_are_like_nothing_is_of_the_classes_that_were_voted_for() -> None:
    """All votes weigh alike: ties go to the lower class, as argmax, but not to classes without a vote."""
    labels, truth = np.arange(4, 24), np.arange(24)
    indices, similarities = nearest(np.zeros((24, 3)), np.eye(20, 3), 20)

    def scores(k: int) -> dict[str, float]:
        return plain(
            "classes", truth, vote(indices, similarities, labels, 24, k=k, temperature=0.07)
        )

    assert [scores(k)["top5"] for k in (1, 3, 5, 20)] == [1 / 24, 3 / 24, 5 / 24, 5 / 24]
    assert all(scores(k)["accuracy"] == 1 / 24 for k in (1, 3, 5, 20))


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_error_is_the_gap_bin_by_bin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = np.append(rng.uniform(size=200), [0.0, 1.0, 1.0])
    right = rng.uniform(size=203) < confidence**2
    expected = 0.0
    for low in range(15):
        inside = [
            i
            for i, c in enumerate(confidence)
            if low / 15 <= c < (low + 1) / 15 or (low == 14 and c == 1.0)
        ]
        if inside:
            gap = abs(np.mean(confidence[inside]) - np.mean(right[inside]))
            expected += gap * len(inside) / len(confidence)
    assert calibration_error(confidence, right) == pytest.approx(expected, abs=1e-9)


def test_calibration_error_is_zero_where_confidence_is_the_share_of_right_rows() -> None:
    confidence = np.array([0.5] * 4 + [0.75] * 4)
    right = np.array([1, 1, 0, 0, 1, 1, 1, 0], dtype=bool)
    assert calibration_error(confidence, right) == 0.0
    assert calibration_error(np.ones(8), right) == pytest.approx(3 / 8)


@pytest.mark.parametrize("seed", SEEDS)
def test_calibrated_columns_at_temperature_one_are_the_plain_ones(seed: int) -> None:
    truth, log_p = classes(seed)
    values = score("classes", truth, log_p, probabilistic=True, temperature=1.0)
    assert values["calibrated_nll"] == pytest.approx(values["nll"], abs=1e-6)
    assert values["calibrated_ece"] == pytest.approx(values["ece"], abs=1e-6)
    warm = score("classes", truth, log_p, probabilistic=True, temperature=2.0)
    expected = plain("classes", truth, log_softmax(log_p.astype(np.float64) / 2))
    assert warm["calibrated_nll"] == pytest.approx(expected["nll"])
    assert warm["calibrated_ece"] == pytest.approx(expected["ece"])
    assert {k: v for k, v in warm.items() if not k.startswith("calibrated")} == plain(
        "classes", truth, log_p
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_yes_no_metrics_are_scikit_learns_mean_over_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.uniform(size=(80, 4)) < [0.1, 0.3, 0.5, 0.9]).astype(np.int64)
    truth[:2] = [[0] * 4, [1] * 4]
    p = np.round(rng.uniform(0.01, 0.99, size=truth.shape), 1).clip(0.05, 0.95)  # with ties
    values = plain("binary", truth, np.log(p))
    right = [sk.accuracy_score(t, q > 0.5) for t, q in zip(truth.T, p.T, strict=True)]
    area = [sk.average_precision_score(t, q) for t, q in zip(truth.T, p.T, strict=True)]
    loss = [sk.log_loss(t, q) for t, q in zip(truth.T, p.T, strict=True)]
    assert values["accuracy"] == pytest.approx(np.mean(right), abs=1e-9)
    assert values["average_precision"] == pytest.approx(np.mean(area))
    assert values["nll"] == pytest.approx(np.mean(loss))


@pytest.mark.parametrize("seed", SEEDS)
def test_yes_no_scores_above_zero_mean_yes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=(40, 3))
    values = rng.normal(size=truth.shape)
    result = plain("binary", truth, values, probabilistic=False)
    assert result["accuracy"] == pytest.approx(((values > 0) == truth).mean())
    assert "nll" not in result


def test_a_yes_no_label_with_one_answer_alone_has_no_average_precision() -> None:
    truth = np.array([[1, 0], [1, 1], [1, 0]])
    values = np.array([[1.0, 3.0], [2.0, 2.0], [-1.0, 1.0]])
    assert plain("binary", truth, values, False)["average_precision"] == pytest.approx(0.5)
    assert "average_precision" not in plain("binary", truth[:, :1], values[:, :1], False)


@pytest.mark.parametrize("least", [-50.0, -np.inf])
def test_average_precision_takes_equal_values_together(least: float) -> None:
    truth = np.array([1, 0, 0, 0, 1, 0])
    value = np.array([-0.1, -0.2, least, least, least, least])
    expected = sk.average_precision_score(truth, np.exp(value))
    for order in ([0, 1, 2, 3, 4, 5], [0, 1, 4, 2, 3, 5], [5, 3, 2, 4, 1, 0]):
        values = plain("binary", truth[order, None], value[order, None])
        assert values["average_precision"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_number_metrics_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(50, 3)).astype(np.float32) * [1, 5, 0.2]
    guess = truth + rng.normal(size=truth.shape)
    values = plain("number", truth, guess, False)
    assert values["mse"] == pytest.approx(sk.mean_squared_error(truth, guess))
    assert values["r2"] == pytest.approx(sk.r2_score(truth, guess))
    assert plain("number", truth, truth, False) == {"mse": 0.0, "r2": 1.0}


def test_a_constant_number_has_an_error_but_no_r2() -> None:
    truth = np.array([[2.0, 0.0], [2.0, 1.0]])
    guess = np.array([[1.0, 0.0], [2.0, 1.0]])
    assert plain("number", truth, guess, False) == {"mse": 0.25, "r2": 1.0}
    assert plain("number", truth[:, :1], guess[:, :1], False) == {"mse": 0.5}


@pytest.mark.parametrize("seed", SEEDS)
def test_missing_class_labels_are_rows_left_out(seed: int) -> None:
    truth, log_p = classes(seed)
    labelled = np.random.default_rng(seed).uniform(size=len(truth)) < 0.6
    hidden = np.where(labelled, truth, -1)
    assert plain("classes", hidden, log_p) == plain("classes", truth[labelled], log_p[labelled])


@pytest.mark.parametrize("kind", ["binary", "number"])
@pytest.mark.parametrize("seed", SEEDS)
def test_missing_labels_leave_out_their_own_column_alone(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    number = kind == "number"
    truth = rng.normal(size=(60, 3)) if number else rng.integers(2, size=(60, 3))
    prediction = rng.normal(size=(60, 3)) if number else np.log(rng.uniform(size=(60, 3)))
    labelled = rng.uniform(size=(60, 3)) < 0.7
    values = plain(
        kind, np.where(labelled, truth, np.nan if number else -1), prediction, not number
    )
    columns = [
        plain(kind, truth[rows, j : j + 1], prediction[rows, j : j + 1], not number)
        for j, rows in enumerate(labelled.T)
    ]
    for metric, value in values.items():
        assert value == pytest.approx(np.mean([column[metric] for column in columns]))


@pytest.mark.parametrize(
    ("kind", "truth"),
    [
        ("classes", np.full(3, -1)),
        ("binary", np.full((3, 2), -1)),
        ("number", np.full((3, 2), np.nan)),
    ],
)
def test_a_target_without_any_label_is_refused(kind: str, truth: Any) -> None:
    with pytest.raises(BenchError, match="no test row has a label"):
        plain(kind, truth, np.full((3, 2), -0.7))


@pytest.mark.parametrize("lost", range(5))
def test_a_test_set_that_lacks_a_class_still_scores(lost: int) -> None:
    truth, log_p = classes(3)
    rows = truth != lost
    values = plain("classes", truth[rows], log_p[rows])
    recalls = [np.mean(log_p[truth == c].argmax(axis=1) == c) for c in set(truth[rows].tolist())]
    assert values["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert all(math.isfinite(value) for value in values.values())


def zero_shot_by_hand(truth: Any, scores: Any, unseen: set[int]) -> dict[str, float]:
    def per_class(among: list[int], expected: set[int]) -> float:
        shares = []
        for c in sorted(expected & set(truth.tolist())):
            rows = [i for i, t in enumerate(truth) if t == c]
            guesses = [max(among, key=lambda j: scores[i, j]) for i in rows]
            shares.append(sum(g == c for g in guesses) / len(rows))
        return sum(shares) / len(shares)

    every = list(range(scores.shape[1]))
    s, u = per_class(every, set(every) - unseen), per_class(every, unseen)
    return {
        "zero_shot": per_class(sorted(unseen), unseen),
        "seen": s,
        "unseen": u,
        "harmonic_mean": 0.0 if s == u == 0 else 2 * s * u / (s + u),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_zero_shot_scores_are_those_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.append(rng.choice([0, 1, 2, 4, 5], size=50), [1, 4, 0])  # class 3 has no row
    scores = rng.normal(size=(53, 6)) + 1.5 * np.eye(6)[truth]
    unseen = {1, 3, 4}
    values = score("classes", truth, scores, probabilistic=False, unseen=frozenset(unseen))
    assert values == pytest.approx(zero_shot_by_hand(truth, scores, unseen))


def test_the_harmonic_mean_of_nothing_right_is_zero() -> None:
    truth, scores = np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 0.0]])
    values = score("classes", truth, scores, probabilistic=False, unseen=frozenset({1}))
    assert (values["seen"], values["unseen"], values["harmonic_mean"]) == (0.0, 0.0, 0.0)
    assert values["zero_shot"] == 1.0


@pytest.mark.parametrize("truth", [[0, 0], [1, 1]])
def test_zero_shot_needs_rows_of_seen_and_of_unseen_classes(truth: list[int]) -> None:
    with pytest.raises(BenchError, match="seen and of unseen"):
        score("classes", np.array(truth), np.eye(2), probabilistic=False, unseen=frozenset({1}))


@pytest.mark.parametrize("unseen", [frozenset(), frozenset({2, 5, 20})])
@pytest.mark.parametrize("seed", SEEDS)
def test_another_order_of_the_classes_moves_no_score(seed: int, unseen: frozenset[int]) -> None:
    truth, log_p = classes(seed, n=150, k=22)
    place = np.random.default_rng(seed).permutation(22)  # class c is now called place[c]
    moved = np.empty_like(log_p)
    moved[:, place] = log_p
    probabilistic = not unseen
    before = score("classes", truth, log_p, probabilistic=probabilistic, unseen=unseen)
    after = score(
        "classes",
        place[truth],
        moved,
        probabilistic=probabilistic,
        unseen=frozenset(int(place[c]) for c in unseen),
    )
    assert before == pytest.approx(after, abs=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["classes", "binary", "number"])
def test_nan_and_infinite_predictions_are_refused(kind: str, bad: float) -> None:
    truth = np.array([0, 1]) if kind == "classes" else np.array([[0, 1], [1, 0]])
    prediction = np.full((2, 2), -0.7)
    prediction[1, 0] = bad
    with pytest.raises(BenchError, match="NaN or infinity"):
        plain(kind, truth, prediction)


def test_a_number_of_minus_infinity_is_refused() -> None:
    with pytest.raises(BenchError):
        plain("number", np.zeros((2, 1)), np.array([[0.0], [-np.inf]]), False)


@pytest.mark.parametrize("rows", [(3, 2), (1, 2), (2,)])
def test_predictions_of_another_shape_are_refused(rows: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match="predictions are"):
        plain("classes", np.array([0, 1]), np.zeros(rows))


def test_a_probability_of_zero_is_allowed_and_its_likelihood_finite() -> None:
    certain = np.array([[0.0, -np.inf], [0.0, -np.inf]])
    values = score("classes", np.array([0, 1]), certain, probabilistic=True, temperature=1.5)
    assert all(math.isfinite(value) for value in values.values())
    assert values["nll"] > 100
    assert values["accuracy"] == 0.5
    answers = np.array([[1, 0], [0, 1]])
    values = plain("binary", answers, certain)
    assert all(math.isfinite(value) for value in values.values())


def stored_rows(metric: str, kind: str, stored: Stored) -> Any:
    rows = METRICS[metric].formula(kind).rows
    assert rows is not None
    return rows(stored)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_rows_vary_as_the_metric_of_resampled_rows(metric: str) -> None:
    """Also where a third has no label: the variance of their mean is that over 4,000 bootstrap samples."""
    rng = np.random.default_rng(0)
    truth = rng.choice(3, size=400, p=[0.7, 0.2, 0.1])
    guess = np.where(rng.random(400) < 0.8 - 0.2 * truth, truth, (truth + 1) % 3)
    labelled = rng.random(400) < 2 / 3
    stored = {"truth": np.where(labelled, truth, -1), "class": guess, "labelled": labelled}
    rows = stored_rows(metric, "classes", stored)
    formula = sk.accuracy_score if metric == "accuracy" else sk.balanced_accuracy_score
    assert rows.mean() == pytest.approx(formula(truth[labelled], guess[labelled]))
    draws = []
    for _ in range(4000):
        drawn = rng.integers(400, size=400)
        drawn = drawn[labelled[drawn]]
        draws.append(formula(truth[drawn], guess[drawn]))
    assert rows.var() / 400 == pytest.approx(np.var(draws), rel=0.1)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_rows_that_are_all_right_do_not_vary(metric: str) -> None:
    truth = np.array([0, 0, 0, 1, -1, 2, 2])
    stored = {"truth": truth, "class": truth.clip(0), "labelled": truth >= 0}
    assert stored_rows(metric, "classes", stored) == pytest.approx(np.ones(7))
