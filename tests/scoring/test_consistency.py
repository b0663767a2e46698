"""Scores computed again from what is stored of random predictions lie in their ranges."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.samples import Target
from bench.results.predictions import counted, encode, encode_stacked, encode_truth
from bench.scoring.class_splits import score
from bench.scoring.consistency import _counted, score_ranges

CLASSES, UNSEEN = 6, frozenset({1, 4})
TARGET = Target("classes", CLASSES, tuple("abcdef"))


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) of all classes and log-probabilities (n, 6), better than chance."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(CLASSES), rng.integers(CLASSES, size=n - CLASSES)])
    logits = 3 * rng.standard_normal((n, CLASSES)) + 2 * np.eye(CLASSES)[truth]
    return truth, logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [12, 60, 299, 300, 2000])
@pytest.mark.parametrize("seed", range(5))
def test_scores_over_unseen_classes(n: int, seed: int) -> None:
    truth, logs = drawn(n, seed)
    scores = score("classes", truth, logs, probabilistic=False, unseen=UNSEEN)
    rows = encode_stacked(logs, sorted(UNSEEN)) | {"truth": truth}
    counts = {**counted(rows, truth, CLASSES), "truth": truth}
    for parts in (rows, counts):
        ranges = score_ranges(TARGET, parts, UNSEEN)
        assert {name for name, r in ranges.items() if not r.holds(scores[name])} == set()
    of_rows = score_ranges(TARGET, rows, UNSEEN)
    assert of_rows["ausuc"].high - of_rows["ausuc"].low < (0.12 if n == 12 else 0.06)


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_classes(seed: int) -> None:
    truth, logs = drawn(200, seed)
    truth[:3] = -1
    scores = score("classes", truth, logs, probabilistic=True)
    parts = encode("classes", logs, truth, probabilistic=True) | {
        "truth": encode_truth("classes", truth)
    }
    ranges = score_ranges(TARGET, parts, frozenset())
    assert {"accuracy", "balanced_accuracy", "nll", "ece"} <= set(ranges)
    assert {name for name, r in ranges.items() if not r.holds(scores[name])} == set()
    assert ranges["accuracy"].high - ranges["accuracy"].low < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_numbers_and_of_yes_or_no(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((100, 3)).astype(np.float32)
    truth[0, 1] = np.nan
    values = truth + rng.standard_normal((100, 3)).astype(np.float32) * 0.3
    values[0, 1] = 0.0
    scores = score("number", truth, values, probabilistic=False)
    parts = encode("number", values, truth, probabilistic=False) | {
        "truth": encode_truth("number", truth)
    }
    ranges = score_ranges(Target("number", 3, tuple("abc")), parts, frozenset())
    assert {name for name, r in ranges.items() if not r.holds(scores[name])} == set()
    assert set(ranges) == {"mse", "r2"}
    yes = rng.integers(2, size=(100, 3))
    yes[0, 0] = -1
    logits = rng.standard_normal((100, 3))
    scores = score("binary", yes, logits, probabilistic=False)
    parts = encode("binary", logits, yes, probabilistic=False) | {
        "truth": encode_truth("binary", yes)
    }
    ranges = score_ranges(Target("binary", 3, tuple("abc")), parts, frozenset())
    assert ranges["accuracy"].holds(scores["accuracy"])
    assert ranges["accuracy"].high - ranges["accuracy"].low < 1e-9


def test_a_constant_column_gives_numbers_no_wide_range() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((100, 2)).astype(np.float32)
    truth[:, 1] = 3.0
    values = truth + rng.standard_normal((100, 2)).astype(np.float32) * 0.3
    parts = encode("number", values, truth, probabilistic=False) | {
        "truth": encode_truth("number", truth)
    }
    ranges = score_ranges(Target("number", 2, ("a", "b")), parts, frozenset())
    assert ranges["r2"].holds(score("number", truth, values, probabilistic=False)["r2"])
    assert ranges["r2"].high - ranges["r2"].low < 0.05


@pytest.mark.parametrize(
    ("row", "change", "words"),
    [(0, 1, "stored labels"), (1, 500, "more rows are right"), (2, 500, "more rows are right")],
)
def test_counts_that_cannot_be(row: int, change: int, words: str) -> None:
    truth, logs = drawn(60, 0)
    stored = encode_stacked(logs, sorted(UNSEEN)) | {"truth": truth}
    parts = {**counted(stored, truth, CLASSES), "truth": truth}
    assert list(_counted("counts", parts)) == []
    parts["counts"] = parts["counts"].copy()
    parts["counts"][row, 2] += change
    assert words in next(_counted("counts", parts)).message
