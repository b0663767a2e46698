"""A metric is one entry of METRICS, a family of tasks one of FAMILIES and a section of the board."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.board import Board
from bench.results.record import Record
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.running.workspace import Workspace
from bench.scoring.scorer import rescored
from bench.statistics.metrics import METRICS, Formula, Metric, PredictedRows
from bench.tasks.cell import Cell
from bench.tasks.families import FAMILIES, Family
from bench.tasks.files import load
from bench.tasks.task import Task
from bench.testing import run_checks, task_checks
from tests.kit.boards import rendered

TASK = """
title = "Errors"
family = "{family}"
dataset = "digits"
targets = ["label"]
protocol = "knn"
chance = 0.1

[primary]
metric = "{metric}"
target = "label"
"""


def task_file(folder: Path, *, family: str = "probe", metric: str = "accuracy") -> Task:
    path = folder / "digits-errors.toml"
    path.write_text(TASK.format(family=family, metric=metric))
    return load(str(path))


def scored(task: Task, folder: Path) -> Store:
    store = Store(folder / "results")
    cells = [Cell(task, resolve("encoders", spec)) for spec in ("pca", "pca,dim=4")]
    assert run_cells(cells, DataSets(folder), store=store).count("ok") == 2
    return store


def error_rate(rows: PredictedRows) -> float:
    return float((~rows.is_right).mean())


def error_rows(stored: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float64]:
    errors = stored["class"] != stored["truth"]
    return np.where(stored["labelled"], errors / stored["labelled"].mean(), 0.0)


def test_a_metric_is_one_entry_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Task files may then name it; it is scored, computed again from what is stored, and on the board."""
    with pytest.raises(BenchError, match="no metric 'error_rate'"):
        task_file(tmp_path, metric="error_rate")
    formula = Formula(error_rate, error_rows, ("class",))
    metric = Metric(classes=formula, higher_is_better=False, scale=1000.0)
    monkeypatch.setitem(METRICS, "error_rate", metric)
    task = task_file(tmp_path, metric="error_rate")
    workspace = Workspace(DataSets(tmp_path))
    assert not any(o["finding"] for o in run_checks(task_checks(), (task, workspace)))
    store = scored(task, tmp_path)
    records = [record for record in store.records() if isinstance(record, Record)]
    for record in records:
        accuracy = record.replicates[0].score("accuracy", "label")
        assert record.score.value == pytest.approx(1 - accuracy)
        assert rescored(record, task, store.predictions(record)) == record.score
    text = rendered(store, {task.name: task}, overall=())
    assert "Metric: error_rate." in text
    best, worst = sorted(records, key=lambda record: record.score.value)
    assert (best.encoder.id, worst.encoder.id) == ("pca", "pca,dim=4")
    assert text.index(f"{1000 * best.score.value:.2f} [") < text.index(
        f"{1000 * worst.score.value:.2f} ["
    )
    path = store.path(worst.owner, worst.encoder.id, task.name)  # what is exact must be so
    value = json.loads(path.read_text())
    del value["digest"]
    value["primary"]["value"] -= 1e-6
    path.write_text(json.dumps(value))
    assert "by its predictions" in rendered(store, {task.name: task}, overall=())


def test_a_family_is_one_entry_of_a_table_and_its_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match="family = 'retrieval' is not valid; expected 'probe' or"):
        task_file(tmp_path, family="retrieval")
    family = Family(title="Retrieval", sections=("retrieval",), class_alone=True)
    monkeypatch.setitem(FAMILIES, "retrieval", family)

    def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
        return [f"{len(board.rows)} encoders on {', '.join(tasks)}"]

    module = ModuleType("bench.report.sections.retrieval")
    monkeypatch.setattr(module, "section", section, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    task = task_file(tmp_path, family="retrieval")
    store = scored(task, tmp_path)
    _, tables = rendered(store, {task.name: task}, overall=()).split("# Retrieval\n")
    assert f"2 encoders on {task.name}" in tables and "## Calibration" not in tables
    for record in store.records():
        assert isinstance(record, Record)
        assert set(store.predictions(record)) == {"truth/label", "0/label/class"}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_sections_of_a_family_are_modules(name: str) -> None:
    for section in (*FAMILIES[name].sections, *FAMILIES[name].end_sections):
        assert callable(import_module(f"bench.report.sections.{section}").section)
