"""The board's multi-task table: gains by hand, their control, and records of others."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.datasets.base import DataSets
from bench.naming.specs import resolve
from bench.report.sections.sharing import gains
from bench.report.sections.sharing_headline import best_on_validation
from bench.results.record import Record
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.task import Coords, Primary, Replicates, Task
from tests.kit import TOYS, records
from tests.kit.boards import rendered


def record(scores: dict[str, list[float]], *, control: dict[str, list[float]] | None = None) -> Any:
    """Accuracies by target, one a seed."""
    replicates = []
    for name, result in ((None, scores), ("shuffled_auxiliary", control or {})):
        for seed in range(len(next(iter(result.values()), []))):
            at = Coords(encoder_seed=seed % 3, head_seed=seed, control=name)
            accuracies = {target: {"accuracy": values[seed]} for target, values in result.items()}
            replicates.append(records.replicate(accuracies, at))
    return records.record(
        data=records.data(rows={"train": 1, "val": 1, "test": 100}), replicates=tuple(replicates)
    )


def test_gains_are_those_worked_out_by_hand() -> None:
    base = record({"a": [0.90, 0.80, 0.85, 0.70], "b": [0.5, 0.6, 0.7, 0.8]})
    arm = record(
        {"a": [0.95, 0.82, 0.84, 0.75], "b": [0.4, 0.5, 0.7, 0.7]},
        control={"a": [0.90, 0.81, 0.85, 0.70], "b": [0.1, 0.1, 0.1, 0.1]},
    )
    gain = gains(arm, base, ("a", "b"))
    assert gain is not None
    points = np.array([0.05, 0.02, -0.01, 0.05])
    half = stats.t.ppf(0.975, 3) * points.std(ddof=1) / 2
    a = gain.points["a"]
    assert (a.value, a.low, a.high) == pytest.approx(
        (points.mean(), points.mean() - half, points.mean() + half)
    )
    ratio = np.mean([math.log(x / y) for x, y in ((10, 5), (20, 18), (15, 16), (30, 25))])
    assert gain.ratio["a"].value == pytest.approx(ratio)
    assert gain.worst == "b"
    assert gain.negative == (4 / 8, 0)  # a loses once, b three times; no interval lies below 0
    changes = [(0.05 / 0.9 - 0.2) / 2, (0.025 - 1 / 6) / 2, -0.01 / 0.85 / 2, (1 / 14 - 0.125) / 2]
    assert gain.delta.value == pytest.approx(100 * np.mean(changes))
    assert gain.control is not None and gain.control.value == pytest.approx(0.0025)


def test_delta_m_is_that_of_the_literature() -> None:
    """Multi-(Fashion+MNIST): 98.37 and 89.63 alone, 97.42 and 88.82 together: -0.94 in accuracy."""
    base = record({"a": [0.9837] * 2, "b": [0.8963] * 2})
    arm = record({"a": [0.9742] * 2, "b": [0.8882] * 2})
    gain = gains(arm, base, ("a", "b"))
    assert gain is not None and gain.delta.value == pytest.approx(-0.935, abs=1e-3)
    assert gain.ratio["a"].value == pytest.approx(-math.log(2.58 / 1.63))
    assert gain.negative == (1.0, 2)


def test_only_equal_seeds_are_compared_and_one_is_too_few() -> None:
    base, arm = record({"a": [0.5, 0.6]}), record({"a": [0.7, 0.8, 0.1]})
    gain = gains(arm, base, ("a",))
    assert gain is not None and gain.points["a"].value == pytest.approx(0.2)
    assert gains(record({"a": [0.5]}), base, ("a",)) is None


def test_an_error_that_no_row_shows_counts_as_half_a_row() -> None:
    gain = gains(record({"a": [1.0, 1.0]}), record({"a": [0.99, 0.99]}), ("a",))
    assert gain is not None and gain.ratio["a"].value == pytest.approx(math.log(0.01 / 0.005))


def test_the_board_has_the_table_and_a_stranger_does_not_break_it(tmp_path: Path) -> None:
    plan = Replicates(seeds=3, controls=("shuffled_auxiliary",))
    single = Task(
        name="toy-single_task",
        family="multitask",
        dataset=f"{TOYS / 'quadrants'}.py",
        targets=("label", "tag"),
        protocol="single_task,pca=8,width=8,epochs=30,trials=2",
        chance=0.375,
        primary=Primary(target=None),
        replicates=plan,
    )
    hard = dataclasses.replace(
        single,
        name="toy-hard_sharing",
        protocol=single.protocol.replace("single_task", "hard_sharing"),
        baseline="toy-single_task",
    )
    soft = dataclasses.replace(
        hard,
        name="toy-soft_sharing",
        protocol=single.protocol.replace("single_task", "soft_sharing"),
    )
    store, tasks = Store(tmp_path / "results"), {t.name: t for t in (single, hard, soft)}
    cells = [Cell(task, resolve("encoders", "pixels")) for task in tasks.values()]
    done = run_cells(cells, DataSets(tmp_path), store=store).records
    assert [r.status for r in done] == ["ok"] * 3, [r.reason for r in done]
    board = rendered(store, tasks, overall=())
    assert "### toy-hard_sharing minus toy-single_task" in board
    assert "label, others shuffled" in board
    gain = gains(done[1], done[0], single.targets)
    assert gain is not None
    assert f"{100 * gain.points['tag'].value:+.2f} [" in board
    line = headline_of(board, "toy-single_task")
    mean = (gain.points["label"].value + gain.points["tag"].value) / 2
    assert line[2].startswith(f"{100 * mean:+.2f} [")
    true = [r.scores["label"]["accuracy"] for r in done[1].replicates]  # three, and a control each
    assert line[3].startswith(f"{100 * (np.mean(true[:3]) - np.mean(true[3:])):+.2f} [")
    assert line[4] == "soft_sharing"
    odd: Any = [
        dataclasses.replace(r, coords=dataclasses.replace(r.coords, head_seed="<b>"))
        for r in done[1].replicates
    ]
    store.write(
        dataclasses.replace(done[1], owner="stranger", replicates=tuple(odd)),
        store.predictions(done[1]),
    )
    again = rendered(store, tasks, overall=())
    assert "<b>" not in again and "### toy-hard_sharing minus toy-single_task" in again


def headline_of(board: str, base: str) -> list[str]:
    """The cells of the only line of a headline table."""
    lines = board.partition(f"### Hard and soft sharing against {base}")[2].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return [cell.strip() for cell in rows[2].strip("|").split("|")]


def test_the_best_soft_arm_is_that_of_the_best_trial_on_validation() -> None:
    def arm(name: str, trials: list[float], test: float) -> Record:
        note = {"trials": [[0.1, 0.0, score] for score in trials]}
        return dataclasses.replace(
            record({"a": [test] * 2}), task=records.task(id=name), tuning=note
        )

    good = arm("good on validation", [0.2, 0.9, 0.3], test=0.1)
    lucky = arm("good on test", [0.8, 0.8], test=0.99)
    assert best_on_validation([lucky, good]) is good
    assert best_on_validation([record({"a": [0.5]})]).tuning is None  # nothing to choose from
