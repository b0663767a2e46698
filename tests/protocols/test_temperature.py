"""The temperature against brute force, and on made logits whose true temperature is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression

from bench.protocols.parts.temperature import FOLDS, chosen_temperature

SEEDS = range(5)


def made(n: int, *, true: float, spread: float = 2.0, k: int = 6, seed: int = 0) -> tuple[Any, Any]:
    """Logits (n, k) that are `true` times those by whose probabilities classes (n,) are drawn."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.standard_normal((n, k))
    truth = (logits + rng.gumbel(size=(n, k))).argmax(axis=1)
    return (true * logits).astype(np.float32), truth


def row_losses(logits: Any, truth: Any, temperature: float) -> Any:
    scaled = logits.astype(np.float64) / temperature
    return np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(truth)), truth]


def ratio(chosen: float, logits: Any, truth: Any) -> float:
    """NLL with the chosen temperature by that with none."""
    losses = row_losses(logits, truth, chosen).mean() / row_losses(logits, truth, 1.0).mean()
    return float(losses)


def weighted_rows(logits: Any, truth: Any) -> tuple[Any, Any, Any]:
    """Every row twice: with its class, and with the likeliest other one at weight 1 / (n + 2)."""
    n = len(truth)
    other = np.array(
        [
            max(set(range(len(z))) - {y}, key=lambda c: z[c])
            for z, y in zip(logits, truth, strict=True)
        ]
    )
    weight = np.repeat([1 - 1 / (n + 2), 1 / (n + 2)], n)
    return np.concatenate([logits, logits]), np.concatenate([truth, other]), weight


def best(logits: Any, truth: Any) -> float:
    """By a bounded search for the least weighted NLL."""
    both, labels, weight = weighted_rows(logits, truth)

    def loss(log_temperature: float) -> float:
        return float(weight @ row_losses(both, labels, math.exp(log_temperature)))

    found = minimize_scalar(loss, bounds=(-6.9, 6.9), method="bounded", options={"xatol": 1e-7})
    return math.exp(found.x)


def standard_errors(logits: Any, truth: Any) -> float:
    """By how many standard errors the NLL of held-out rows falls, fold by fold."""
    margins = [
        z[y] - max(np.delete(z, y)) for z, y in zip(logits.astype(np.float64), truth, strict=True)
    ]
    order = sorted(range(len(truth)), key=lambda i: (truth[i], margins[i]))
    both, labels, weight = weighted_rows(logits, truth)
    gains = np.zeros(len(labels))
    for number in range(FOLDS):
        out = np.isin(np.arange(len(truth)), order[number::FOLDS])
        temperature, rows = best(logits[~out], truth[~out]), np.concatenate([out, out])
        before = row_losses(both[rows], labels[rows], 1.0)
        gains[rows] = before - row_losses(both[rows], labels[rows], temperature)
    mean = weight @ gains / len(truth)
    return float(mean / math.sqrt(weight @ (gains - mean) ** 2) * len(truth))


@pytest.mark.parametrize("true", [0.4, 0.9, 1.0, 1.1, 3.0])
@pytest.mark.parametrize("n", [10, 33, 120])
def test_equals_brute_force(n: int, true: float) -> None:
    for seed in SEEDS:
        logits, truth = made(n, true=true, seed=seed)
        errors = standard_errors(logits, truth)
        assert abs(errors - 1) > 1e-3  # else rounding decides
        expected = best(logits, truth) if errors > 1 else 1.0
        assert chosen_temperature(logits, truth) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("true", [2.0, 3.0, 5.0, 0.4])
@pytest.mark.parametrize("n", [200, 2000])
def test_logits_at_another_temperature_are_calibrated(n: int, true: float) -> None:
    for seed in SEEDS:
        chosen = chosen_temperature(*made(n, true=true, seed=seed))
        assert chosen == pytest.approx(true, rel=0.3 if n == 200 else 0.1)
        assert ratio(chosen, *made(4000, true=true, seed=seed + 100)) < 0.95


@pytest.mark.parametrize("true", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("n", [10, 30, 100, 1000])
def test_rows_that_are_all_right_do_not_sharpen_beyond_what_they_show(n: int, true: float) -> None:
    """Where an error in n rows is expected, and there is none."""
    separable = 0
    test = made(40_000, true=true, spread=0.75 * n, k=4, seed=1000)
    for seed in range(15):
        logits, truth = made(n, true=true, spread=0.75 * n, k=4, seed=seed)
        if (logits.argmax(axis=1) == truth).all():
            separable += 1
            assert ratio(chosen_temperature(logits, truth), *test) <= 1.1
    assert separable > 2


@pytest.mark.parametrize("penalty", [1e-2, 10.0])
def test_separable_digits_are_no_worse_for_it(penalty: float) -> None:
    images, labels = load_digits(return_X_y=True)
    x = RBFSampler(gamma=5e-4, n_components=400, random_state=0).fit_transform(images)
    for seed in range(3):
        train, val, test = np.split(np.random.default_rng(seed).permutation(len(x)), [500, 580])
        probe = LogisticRegression(C=1 / penalty, max_iter=2000).fit(x[train], labels[train])
        val_logits, test_logits = map(probe.decision_function, (x[val], x[test]))
        chosen = chosen_temperature(val_logits.astype(np.float32), labels[val])
        assert ratio(chosen, test_logits, labels[test]) <= (1.1 if penalty < 1 else 0.9)


def test_calibrated_logits_stay_about_as_they_are() -> None:
    stayed = 0
    for seed in range(30):
        chosen = chosen_temperature(*made(150, true=1.0, seed=seed))
        assert ratio(chosen, *made(4000, true=1.0, seed=seed + 100)) < 1.05
        stayed += chosen == 1.0
    assert stayed >= 23


@pytest.mark.parametrize("factor", [0.5, 2.0, 16.0])
def test_the_temperature_has_the_scale_of_the_logits(factor: float) -> None:
    logits, truth = made(300, true=8.0)
    scaled = chosen_temperature(np.float32(factor) * logits, truth)
    assert scaled == pytest.approx(factor * chosen_temperature(logits, truth), rel=1e-6)


@pytest.mark.parametrize("true", [0.8, 1.0, 1.2, 3.0])
def test_the_order_of_rows_and_what_is_added_to_a_row_do_not_matter(true: float) -> None:
    rng = np.random.default_rng(9)
    logits, truth = made(80, true=true)
    chosen = chosen_temperature(logits, truth)
    for _ in range(5):
        order = rng.permutation(80)
        assert chosen_temperature(logits[order], truth[order]) == pytest.approx(chosen, rel=1e-6)
    added = logits + rng.integers(-4, 5, (80, 1)).astype(np.float32)
    assert chosen_temperature(added, truth) == pytest.approx(chosen, rel=1e-4)


def test_the_order_of_classes_moves_no_temperature_but_by_the_folds() -> None:
    logits, truth = made(80, true=3.0)
    reverse = chosen_temperature(logits[:, ::-1], 5 - truth)
    assert reverse == pytest.approx(chosen_temperature(logits, truth), rel=1e-6)


def test_too_few_rows_and_one_class_choose_nothing() -> None:
    logits, truth = made(9, true=5.0)
    assert chosen_temperature(logits, truth) == 1.0
    assert chosen_temperature(np.zeros((40, 1), np.float32), np.zeros(40, int)) == 1.0
    assert chosen_temperature(np.zeros((0, 4), np.float32), np.zeros(0, int)) == 1.0


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_choose_nothing(odd: float) -> None:
    logits, truth = made(100, true=5.0)
    logits[3, 2] = odd
    assert chosen_temperature(logits, truth) == 1.0


def test_logits_that_tell_classes_apart_nowhere_stay_as_they_are() -> None:
    truth = np.arange(40) % 4
    assert chosen_temperature(np.zeros((40, 4), np.float32), truth) == 1.0
    assert (
        chosen_temperature(np.tile(np.array([0, 5, 1e4], np.float32), (40, 1)), np.full(40, 2))
        == 1.0
    )


def test_classes_that_no_row_has_do_no_harm() -> None:
    logits, truth = made(400, true=3.0, k=4)
    absent = np.full((400, 3), -1e4, np.float32)
    chosen = chosen_temperature(np.concatenate([logits, absent], axis=1), truth)
    assert chosen == pytest.approx(chosen_temperature(logits, truth), rel=1e-6)
    alone = truth == 0  # rows of one class
    assert chosen_temperature(logits[alone], truth[alone]) >= 1.0


def test_logits_that_say_the_contrary_are_flattened() -> None:
    logits, truth = made(400, true=3.0)
    chosen = chosen_temperature(-logits, truth)
    assert chosen > 100
    assert row_losses(-logits, truth, chosen).mean() == pytest.approx(math.log(6), abs=0.02)
