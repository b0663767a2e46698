"""The study of what labels discard: in a world where it is known, and the whole on sprites."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from bench.data.samples import Target
from bench.datasets.base import DataSets
from bench.diagnostics.factors import probe_predictions
from bench.errors import BenchError
from bench.running.cache import Cache
from bench.studies import labels_lost
from bench.studies.base import Setting
from bench.studies.labels_lost import AUTOENCODER, UNTRAINED, report, taught
from bench.studies.parts import fits


def world(correct: float) -> list[bool]:
    """Which claims hold where a taught learner reads its own factor at 95 %, others at `correct`, and both
    other learners all at 70 %."""
    rng = np.random.default_rng(0)
    factors = ["shape", "dot", "place"]

    def at(share: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return (rng.random((2, 1500)) < share).astype(float)

    scores = {
        ("code", taught(lesson), factor): at(0.95 if factor == lesson else correct)
        for lesson in factors[:2]
        for factor in factors
    }
    scores |= {
        ("code", learner, factor): at(0.7)
        for learner in (AUTOENCODER, UNTRAINED)
        for factor in factors
    }
    data = report(scores, factors[:2], {"budget": "1k", "seeds": 2, "images": 1500}).data
    return [claim["holds"] for claim in data["claims"]]


def test_claims_are_judged_by_what_is_so() -> None:
    assert world(0.4) == [True, True, True]
    assert world(0.7) == [True, False, False]
    assert world(0.9) == [True, False, False]


def test_rows_of_numbers_have_r2_as_their_mean() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = rng.standard_normal((80, 2)) * [1, 5], rng.standard_normal((80, 2))
    scores = labels_lost.row_scores(Target("number", 2, ("x", "y")), predicted, truth)
    assert scores.shape == (80,)
    assert scores.mean() == pytest.approx(r2_score(truth, predicted))


def test_what_is_read_off_is_what_scikit_learns_ridge_says_at_the_penalty_of_least_error() -> None:
    rng = np.random.default_rng(2)
    x, z = rng.standard_normal((60, 5)), rng.standard_normal((20, 5))
    y = x @ rng.standard_normal((5, 2)) + 0.1 * rng.standard_normal((60, 2))
    [predicted] = probe_predictions(
        {"at": Target("number", 2, ("a", "b"))}, x, {"at": y}, z
    ).values()
    # Little noise: the least penalty is best, and little of it is left.
    np.testing.assert_allclose(predicted, Ridge(alpha=1e-6).fit(x, y).predict(z), atol=2e-2)


@pytest.mark.slow
def test_the_study_runs_on_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fits.resolve
    monkeypatch.setattr(
        fits,
        "resolve",
        lambda kind, text: real(
            kind,
            text.replace("autoencoder", "autoencoder,width=8").replace("target", "width=8,target"),
        ),
    )
    setting = Setting(DataSets(Path("nowhere")), tmp_path, cache=Cache(tmp_path / "cache"))
    result = labels_lost.run(setting=setting, lessons="dot", budget="320", seeds=2)
    rows = {(s["learner"], s["level"], s["factor"]): s for s in result.data["scores"]}
    learners, levels, factors = (set(part) for part in zip(*rows, strict=True))
    assert len(learners) == 3 and len(levels) == 2 and {"dot", "rotation", "position"} < factors
    assert len(rows) == len(learners) * len(levels) * len(factors)
    assert all(s["low"] <= s["value"] <= s["high"] for s in rows.values())
    assert len(result.data["claims"]) == 6
    assert result.figures["factors.svg"].startswith(b"<svg")
    json.dumps(result.data, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seeds": 1}, "2 or more"),
        ({"lessons": " "}, "some of"),
        ({"lessons": "position"}, "shape"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        labels_lost.run(setting=Setting(DataSets(Path("x")), Path("x")), **arguments)  # type: ignore[arg-type]
