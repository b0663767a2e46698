"""What the page carries is what the records say, and its ties are no narrower than the board's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.datasets.base import DataSets
from bench.naming.specs import resolve
from bench.report.board import Board, collect
from bench.report.page.data import page_data
from bench.report.page.ties import PairErrors, ties
from bench.report.ranks import overall_ranks, task_ranks
from bench.report.sections.overall import complete_rows
from bench.results.store import Store
from bench.running.executor import run_cells
from bench.statistics.intervals import paired_difference
from bench.tasks.cell import Cell
from bench.tasks.files import load

ENCODERS = ("pixels", "pca", "pca,dim=4", "autoencoder~0")
NEAREST = """
title = "Digits, nearest neighbour"
family = "probe"
dataset = "digits"
targets = ["label"]
protocol = "knn,k=1"
chance = 0.1

[primary]
metric = "accuracy"
target = "label"
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    folder = tmp_path_factory.mktemp("page")
    (folder / "digits-nearest.toml").write_text(NEAREST)
    tasks = [load("digits-knn"), load(str(folder / "digits-nearest.toml")), load("digits-shift")]
    cells = [(task, spec) for task in tasks[:2] for spec in ENCODERS[:3]]
    cells += [(tasks[2], "pca,dim=4"), (tasks[0], "autoencoder~0")]
    outcome = run_cells(
        [Cell(task, resolve("encoders", spec)) for task, spec in cells],
        DataSets(folder),
        store=(store := Store(folder / "results")),
        seeds=1,
    )
    assert outcome.count("ok") == len(cells)
    names = [task.name for task in tasks]
    return collect(store, dict(zip(names, tasks, strict=True)), overall=names[:2])


@pytest.fixture(scope="module")
def page(board: Board) -> Any:
    return json.loads(json.dumps(page_data(board), allow_nan=False))


def test_each_record_is_a_cell(board: Board, page: Any) -> None:
    assert len(page["cells"]) == sum(map(len, board.rows.values())) == 8
    for encoder, task, value, low, high, _, _, reason, *_ in page["cells"]:
        facts = page["encoders"][encoder]
        record = board.rows[facts["owner"], facts["spec"]][page["tasks"][task]["name"]]
        expected = record.score.value, record.score.low, record.score.high
        assert (value, low, high) == pytest.approx(expected, rel=1e-6)
        assert bool(reason) == (facts["spec"] == "autoencoder~0")  # one training seed
        assert reason == board.reason_unranked(record)


def test_standard_errors_are_those_of_the_paired_differences(board: Board, page: Any) -> None:
    names = [task["name"] for task in page["tasks"]]
    number = names.index("digits-knn")
    unit, pairs = page["tasks"][number]["unit"], PairErrors(page)
    encoders = pairs.ranked[number]
    codes, _ = pairs.of(number, encoders)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        specs = [page["encoders"][encoders[place]]["spec"] for place in (i, j)]
        rows = [
            np.stack(list(board.row_scores(board.rows["reptransfer", spec]["digits-knn"]).values()))
            for spec in specs
        ]
        n = rows[0].shape[1]
        exact = np.sqrt((rows[0] - rows[1])[0].var() / n + 2 / n**2) / unit
        assert exact <= page["se_steps"][codes[i, j]] < 1.05 * exact


def test_ties_of_tasks_are_no_narrower_than_the_boards(board: Board, page: Any) -> None:
    names = [task["name"] for task in page["tasks"]]
    rows = [(encoder["owner"], encoder["spec"]) for encoder in page["encoders"]]
    for number, name in enumerate(names):
        exact, wide = task_ranks(board, name), ties(page, [number])
        assert {rows[e] for e in wide.encoders} >= set(exact)
        for encoder, (low, high) in zip(wide.encoders, wide.ranges, strict=True):
            first, last = exact.get(rows[encoder], (1, 1))  # a single one has no rank on the board
            assert low <= first <= last <= high
    complete = complete_rows(board)
    ranges = dict(zip([row for row, _ in complete], overall_ranks(board, complete)[0], strict=True))
    overall = ties(page, [names.index(name) for name in board.overall])
    assert {rows[e] for e in overall.encoders} == set(ranges)
    for encoder, (low, high) in zip(overall.encoders, overall.ranges, strict=True):
        assert low <= ranges[rows[encoder]][0] <= ranges[rows[encoder]][1] <= high
    assert overall.ranges != [(1, 3)] * 3


def test_a_difference_that_a_reader_would_compute_is_significant_where_the_page_says_so(
    board: Board, page: Any
) -> None:
    number = [task["name"] for task in page["tasks"]].index("digits-knn")
    tied = ties(page, [number])
    best, worst = tied.ranges.index(min(tied.ranges)), tied.ranges.index(max(tied.ranges))
    rows = [
        np.stack(
            list(
                board.row_scores(
                    board.rows["reptransfer", page["encoders"][tied.encoders[place]]["spec"]][
                        "digits-knn"
                    ]
                ).values()
            )
        )
        for place in (best, worst)
    ]
    assert tied.ranges[best][1] < tied.ranges[worst][0]
    assert paired_difference(*rows)[1] < 0.05


def test_the_curve_of_shifts_has_a_point_for_each(page: Any) -> None:
    (curve,) = page["curves"]
    assert curve["kind"] == "shift" and curve["points"][0][:2] == ["clean", None]
    assert len({x for x, *_ in curve["points"]}) == len(curve["points"]) > 4
    assert all(low <= value <= high for _, _, value, low, high in curve["points"])


def test_what_is_left_out_is_there_with_its_reason(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    cell = Cell(load("digits-knn"), resolve("encoders", "pixels"))
    run_cells([cell], DataSets(tmp_path), store=store)
    page = page_data(collect(store, {}))
    assert page["absent"] == [["pixels", "digits-knn", "unknown task"]]
    assert page["cells"] == page["encoders"] == page["tasks"] == []
