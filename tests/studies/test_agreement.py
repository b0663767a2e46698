"""The study of agreement, on a board whose ranks are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.report.board import Board
from bench.results.store import Store
from bench.studies import agreement
from bench.studies.base import Report, Setting
from bench.tasks.files import load
from tests.kit import records

LINEAR, KNN, NOTES = "fashion_mnist-linear", "fashion_mnist-knn", "fashion_mnist-diagnostics"
COUNT = 14


def setting(results: Path | None) -> Setting:
    return Setting(DataSets(Path("nowhere")), Path("nowhere"), results=results)


def told(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Report:
    """The report on encoders whose scores and diagnostics are given, one value an encoder."""
    board = Board(Store(tmp_path), {name: load(name) for name in (LINEAR, KNN, NOTES)})
    for i in range(COUNT):
        note = {f"clustering/{n}": v[i] for n, v in values.items() if n not in (LINEAR, KNN)}
        encoder = records.encoder(id=f"e{i}")
        for name in (LINEAR, KNN):
            primary, task = records.primary(value=values[name][i]), records.task(id=name)
            board.add(records.record(encoder=encoder, task=task, primary=primary), "consistent")
        task = records.task(id=NOTES)
        board.add(records.record(encoder=encoder, task=task, diagnostics=(note,)), "consistent")
    monkeypatch.setattr(agreement, "collect", lambda *_: board)
    return agreement.run(setting=setting(tmp_path), tasks=f"{LINEAR} {KNN}")


def test_ranks_are_correlated_and_what_goes_with_all_scores_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    linear = rng.random(COUNT)
    noisy = linear + 0.02 * rng.standard_normal(COUNT)
    values = {
        LINEAR: linear,
        KNN: noisy,
        "falls": -linear,
        "nothing": rng.random(COUNT),
        "lacking": [None] * 10 + list(rng.random(COUNT - 10)),
        "the same": np.ones(COUNT),
    }
    report = told(values, monkeypatch, tmp_path)
    pairs = {(p["of"], p["with"]): p for p in report.data["pairs"]}
    assert set(pairs) == {
        ("clustering: falls", LINEAR),
        ("clustering: falls", KNN),
        ("clustering: nothing", LINEAR),
        ("clustering: nothing", KNN),
        (LINEAR, agreement.NEIGHBOURS),
    }, "neither too few numbers nor equal ones have ranks"
    assert pairs["clustering: falls", LINEAR]["rho"] == pytest.approx(-1)
    expected = stats.spearmanr(values["nothing"], noisy).statistic
    assert pairs["clustering: nothing", KNN]["rho"] == pytest.approx(expected)
    assert pairs[LINEAR, agreement.NEIGHBOURS]["count"] == COUNT
    alike, existing = report.data["claims"]
    assert alike["holds"] and existing["holds"]
    assert len(existing["measured"]) == 1 and "falls" in existing["measured"][0]
    assert "(-)" in existing["measured"][0]
    assert len(report.figures) == 2
    json.dumps(report.data, allow_nan=False)


def test_without_any_relation_nothing_is_said_to_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    values = {name: rng.random(COUNT) for name in (LINEAR, KNN, "a", "b")}
    report = told(values, monkeypatch, tmp_path)
    assert [claim["holds"] for claim in report.data["claims"]] == [False, False]
    assert report.data["claims"][1]["measured"] == ["none"]


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nothing"):
        agreement.run(setting=setting(tmp_path), tasks="nothing")
    with pytest.raises(BenchError, match="no 8 encoders"):
        agreement.run(setting=setting(tmp_path))
    with pytest.raises(BenchError, match="reptransfer study"):
        agreement.run(setting=setting(None))
