"""Levels of trust: what of a record was computed again decides whether it has a rank."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.datasets.base import DataSets
from bench.naming.specs import resolve
from bench.report.board import Board, collect
from bench.report.notes import all_right
from bench.report.ranks import range_text, task_ranks
from bench.report.sections.families import section
from bench.results.predictions import counted, parts_of
from bench.results.record import PrimaryScore, Record
from bench.results.store import VERIFIED, Store
from bench.results.trust import Mark, write_marks
from bench.running.executor import run_cells
from bench.scoring.scorer import rescored
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Task
from tests.kit.boards import rendered

_few = load("digits-few_labels")
FEW = replace(  # the whole of it takes seconds
    _few, name="few", replicates=replace(_few.replicates, per_class=(1, 10, 0), subsets=2)
)
TASKS = {
    **{
        name: load(name)
        for name in ("digits-knn", "digits-linear", "digits-shift", "digits-zeroshot")
    },
    FEW.name: FEW,
}
KNN, ZERO = "digits-knn", "digits-zeroshot"
FIVE = "pca,dim=3"  # on all five tasks; the others on two
SPECS = (FIVE, "pixels", "pca,dim=2")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real records of five families, never changed."""
    root = tmp_path_factory.mktemp("levels") / "results"
    cells = [Cell(task, resolve("encoders", FIVE)) for task in TASKS.values()]
    cells += [Cell(TASKS[t], resolve("encoders", s)) for t in (KNN, ZERO) for s in SPECS[1:]]
    assert run_cells(cells, DataSets(root.parent), store=Store(root)).count("ok") == len(cells)
    return root


@pytest.fixture
def store(results: Path, tmp_path: Path) -> Store:
    shutil.copytree(results, tmp_path / "results")
    return Store(tmp_path / "results")


def find(store: Store, spec: str, task: str) -> Record:
    record = store.find("reptransfer", spec, task)
    assert record is not None
    return record


def predictions(store: Store, spec: str, task: str) -> Path:
    return store.path("reptransfer", spec, task).with_suffix(".npz")


def levels(board: Board) -> dict[tuple[str, str], str]:
    return {
        (encoder, task): board.level(record)
        for (_, encoder), records in board.rows.items()
        for task, record in records.items()
    }


def board(store: Store) -> Board:
    return collect(store, TASKS)


def keep_counts(store: Store, spec: str) -> Record:
    """The zero-shot record of `spec` as if its task kept counts by class; its area is as reported."""
    record = find(store, spec, ZERO)
    arrays = store.predictions(record)
    kept = {k: v for k, v in arrays.items() if k.startswith("truth/") or k.endswith("/without")}
    truth = arrays["truth/label"].astype(np.int64)
    for number, replicate in enumerate(record.replicates):
        if replicate.coords.control is None:
            counts = counted(parts_of(arrays, number, "label"), truth, 10)
            kept[f"{number}/label/counts"] = counts["counts"]
    return store.write(record, kept)


def test_honest_records_of_every_family_are_consistent_and_ranked(store: Store) -> None:
    whole = board(store)
    assert set(levels(whole).values()) == {"consistent"} and not whole.left_out
    assert len(task_ranks(whole, KNN)) == len(task_ranks(whole, ZERO)) == 3


def test_what_a_reader_should_know_stands_beside_the_score(store: Store) -> None:
    record = find(store, "pixels", KNN)
    store.write(replace(record, owner="somebody"), store.predictions(record))
    rows = re.findall(
        r"^\| (\S*(?:pixels|pca)\S*).* (\d+\.\d+ \[[^|]*?) +\|", _section(store), re.MULTILINE
    )
    cells = dict(rows)
    assert {encoder: "below pixels" in cell for encoder, cell in cells.items()} == {
        "pixels": False,
        "somebody/pixels": False,
        FIVE: True,
        "pca,dim=2": True,
    }
    assert [encoder for encoder, cell in cells.items() if "equal predictions" in cell] == [
        "somebody/pixels"
    ]


def _section(store: Store) -> str:
    """The table of the neighbours alone."""
    return "\n".join(section(board(store), {KNN: TASKS[KNN]}))


def test_all_right_needs_classes_and_every_row() -> None:
    truth = {"truth/label": np.array([0, 1, 2])}
    assert all_right({**truth, "0/label/class": np.array([0, 1, 2])})
    assert not all_right({**truth, "0/label/class": np.array([0, 1, 1])})
    assert not all_right(truth)


def test_a_record_without_predictions_is_reported_and_has_no_rank(store: Store) -> None:
    for name in TASKS:
        predictions(store, FIVE, name).unlink()
    after = board(store)
    assert {k for k, v in levels(after).items() if v == "reported"} == {(FIVE, t) for t in TASKS}
    reason = "reported: no predictions are stored"
    assert set(after.left_out) == {(FIVE, name, reason) for name in TASKS}
    for name in (KNN, ZERO):
        assert set(task_ranks(after, name)) == {("reptransfer", spec) for spec in SPECS[1:]}
    text = rendered(store, TASKS, overall=(KNN,))
    lines = [line for line in text.splitlines() if line.startswith(f"| {FIVE} ")]
    assert lines and all("| reported" in line for line in lines)
    assert not any(re.search(r"\] \(\d", line) for line in lines)
    overall = text.partition("## Overall")[2].partition("\n## ")[0]
    assert SPECS[2] in overall and FIVE not in overall
    assert str(store.root) not in text


def test_a_reported_record_of_another_task_is_left_out(store: Store) -> None:
    """Without predictions, too, a record has to be an answer to its task."""
    path = store.path("reptransfer", FIVE, KNN)
    value = json.loads(path.read_text())
    del value["digest"]
    value["primary"]["metric"] = "balanced_accuracy"
    path.write_text(json.dumps(value))
    predictions(store, FIVE, KNN).unlink()
    [(encoder, task, why)] = board(store).left_out
    assert (encoder, task) == (FIVE, KNN)
    assert "balanced_accuracy of label, where the task has accuracy" in why


@pytest.mark.parametrize("task", TASKS)
def test_a_primary_that_was_typed_in_is_left_out_with_the_finding(task: str, store: Store) -> None:
    record = find(store, FIVE, task)
    p = record.score
    raised = PrimaryScore(
        metric=p.metric, target=p.target, reduction=p.reduction,
        value=p.value + 0.002, low=p.low + 0.002, high=p.high + 0.002,
    )  # fmt: skip
    store.write(replace(record, primary=raised), store.predictions(record))
    [(encoder, where, why)] = board(store).left_out
    assert (encoder, where) == (FIVE, task)
    assert re.search(r"cannot be used \(primary.value: .* by its predictions\)", why)


def test_marks_raise_the_level_until_the_record_changes(store: Store) -> None:
    def mark(level: str) -> Mark:
        return Mark(level=level, date="2026-05-04", by="maintainers", difference=None)  # type: ignore[arg-type]

    pca, pixels = find(store, FIVE, KNN), find(store, "pixels", KNN)
    write_marks(store, {pca.digest: mark("reproduced"), pixels.digest: mark("confirmed")})
    marked = levels(board(store))
    assert marked[FIVE, KNN] == "reproduced" and marked["pixels", KNN] == "confirmed"
    assert marked[FIVE, ZERO] == "consistent"
    text = rendered(store, TASKS, overall=())
    assert re.search(rf"^\| {FIVE} .*\| reproduced 1, consistent 1 +\|", text, re.M)
    store.write(replace(pca, reason="again"), store.predictions(pca))
    assert levels(board(store))[FIVE, KNN] == "consistent"
    predictions(store, "pixels", KNN).unlink()
    assert levels(board(store))["pixels", KNN] == "reported"


def test_a_broken_file_of_marks_is_named_and_nothing_else_is_lost(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    before = board(store)
    (store.root / VERIFIED).write_text('{"schema": "reptransfer.verified/1"}')
    after = board(store)
    assert levels(after) == levels(before)
    [(what, where, why)] = after.left_out
    assert (what, where) == ("unreadable marks", VERIFIED)
    assert why.startswith(f"results/{VERIFIED}: ")
    assert [r.message for r in caplog.records if VERIFIED in r.message]


def ranks(store: Store, task: str = ZERO) -> Mapping[str, str]:
    spans = task_ranks(board(store), task).items()
    return {encoder: range_text(*span) for (_, encoder), span in spans}


def test_counts_alone_rank_below_rows_unless_they_were_run_again(store: Store) -> None:
    areas = {spec: find(store, spec, ZERO).score.value for spec in SPECS}
    best, second, _ = sorted(SPECS, key=lambda spec: -areas[spec])
    assert areas[best] > areas[second] + 0.005
    record = keep_counts(store, best)
    assert levels(board(store))[best, ZERO] == "from counts"
    after = ranks(store)
    assert after[best] == "3" and {after[s] for s in SPECS if s != best} <= {"1", "2", "1-2"}
    mark = Mark(level="confirmed", date="2026-05-04", by="its author", difference=None)
    write_marks(store, {record.digest: mark})
    assert ranks(store)[best] == "3"
    write_marks(store, {record.digest: replace(mark, level="reproduced")})
    assert ranks(store)[best].startswith("1")


def test_where_a_task_keeps_counts_all_rank_together_and_rows_are_a_finding(store: Store) -> None:
    """Else rows of a stranger's making would come before all that a run gives."""
    task = replace(TASKS[ZERO], transductive=True)
    assert task.keeps_counts
    shown: dict[str, Task] = {ZERO: task}
    for spec in SPECS:
        record = find(store, spec, ZERO)
        identity = replace(record.task, digest=digest_of(task))
        store.write(replace(record, task=identity), store.predictions(record))
    whole = collect(store, shown)
    reasons = {why for _, where, why in whole.left_out if where == ZERO}
    [why] = reasons
    assert "of rows, where records of its task keep counts by class" in why
    for spec in SPECS:
        keep_counts(store, spec)
    whole = collect(store, shown)
    assert {board_level for (_, t), board_level in levels(whole).items()} == {"from counts"}
    together = task_ranks(whole, ZERO)
    assert len(together) == 3 and min(together.values())[0] == 1


def digest_of(task: Task) -> str:
    from bench.results.status import identities

    return identities(Cell(task, resolve("encoders", "pixels"))).task.digest


@pytest.mark.parametrize(("wrong", "left_out"), [(200, True), (20, False)])
def test_seeds_with_one_set_of_predictions_are_told_where_chance_makes_none(
    wrong: int, left_out: bool, store: Store
) -> None:
    """Two trainings may be wrong on the same few rows; not on hundreds."""
    record = find(store, FIVE, KNN)
    truth = store.predictions(record)["truth/label"]
    guess = truth.copy()
    guess[:wrong] = (guess[:wrong] + 1) % 10
    arrays = {"truth/label": truth, "0/label/class": guess, "1/label/class": guess.copy()}
    arrays["2/label/class"] = np.roll(guess, 1)
    first = record.replicates[0]
    replicates = [replace(first, coords=replace(first.coords, encoder_seed=i)) for i in range(3)]
    for i, replicate in enumerate(replicates):
        right = arrays[f"{i}/label/class"] == truth
        by_class = [right[truth == c].mean() for c in range(10)]
        scores = {"accuracy": float(right.mean()), "balanced_accuracy": float(np.mean(by_class))}
        replicates[i] = replace(replicate, scores={"label": scores})
    made = replace(
        record,
        owner="somebody",
        replicates=tuple(replicates),
        encoder=replace(record.encoder, id="trained", seeded=True),
        measured={**record.measured, "seeds": 3},
    )
    made = replace(made, primary=rescored(made, TASKS[KNN], arrays))
    store.write(made, arrays)
    told = [why for encoder, _, why in board(store).left_out if encoder == "trained"]
    assert bool(told) is left_out, told
    assert all("replicates[1]: its predictions are those of replicate 0" in why for why in told)
