"""Means over class splits, and without the rows of each class, against rows that are really taken out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.samples import Meta, Target
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.board import Board
from bench.report.sections import families, zero_shot
from bench.report.text import percent_text
from bench.results.record import Record, Replicate, StoredPredictions
from bench.results.status import identities
from bench.results.store import Store
from bench.scoring.class_splits import RECALLS, primary_classes, recalls, score, without_each
from bench.scoring.comparison import paired, recall_differences
from bench.scoring.scorer import Scorer
from bench.statistics.intervals import Interval, jackknife
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Coords, Task
from tests.kit import records
from tests.kit.records import unnoted

N, CLASSES = 300, 10
HEADLINE, OTHER = load("fashion_mnist-zeroshot"), load("fashion_mnist-eszsl")
TARGETS = {"label": Target("classes", CLASSES, tuple("abcdefghij"))}
TRUTH = np.random.default_rng(0).integers(CLASSES, size=N)
Scores = dict[tuple[int, int], Any]  # by split and seed


def drawn(task: Task, *, seed: int, skill: float = 1.0, seeds: int = 1) -> Scores:
    """Scores (N, 10), better than chance, in eighths: what is stored of a margin is then exact."""
    rng = np.random.default_rng(seed)
    scores: Scores = {}
    for split in range(len(task.replicates.splits or ())):
        for number in range(seeds):
            noise = rng.integers(-8, 9, size=(N, CLASSES)) / 8
            scores[split, number] = noise + skill * np.eye(CLASSES)[TRUTH]
    return scores


def unseen_of(task: Task, split: int) -> frozenset[int]:
    return frozenset((task.replicates.splits or ())[split])


def scored(task: Task, scores: Scores) -> tuple[Scorer, list[Replicate]]:
    """As a run scores a replicate for each of `scores`."""
    scorer, replicates = Scorer(task, TARGETS, {"label": TRUTH}, before=unnoted), []
    for number, ((split, seed), values) in enumerate(scores.items()):
        unseen = dataclasses.replace(TARGETS["label"], unseen=unseen_of(task, split))
        meta, coords = Meta({"label": unseen}), Coords(head_seed=seed, split=split)
        result = scorer.score(number, meta, "score", {"label": values}, {})
        replicates.append(
            Replicate(coords=coords, status="ok", n_train=100, scores=result, report={})
        )
    return scorer, replicates


def brute(task: Task, scores: Scores, metric: str) -> tuple[Any, Any]:
    """Mean over seeds of a metric by split, and of it on the rows of all classes but one, seen class."""
    splits = sorted({split for split, _ in scores})
    whole, without = np.zeros(len(splits)), np.full((len(splits), CLASSES), np.nan)
    for split in splits:
        unseen = unseen_of(task, split)
        result = [values for (at, _), values in scores.items() if at == split]

        def mean(rows: Any, splits: Any = result, unseen: Any = unseen) -> float:
            given = {"probabilistic": False, "unseen": unseen}
            scores_of = [score("classes", TRUTH[rows], v[rows], **given)[metric] for v in splits]
            return float(np.mean(scores_of))

        whole[split] = mean(np.full(N, True))
        for c in set(range(CLASSES)) - unseen:
            without[split, c] = mean(c != TRUTH)
    return whole, without


@pytest.mark.parametrize("task", [HEADLINE, OTHER], ids=["rows are stored", "counts are"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_what_is_stored_gives_what_rows_give_without_each_class(task: Task, seeds: int) -> None:
    scores = drawn(task, seed=1, seeds=seeds)
    scorer, replicates = scored(task, scores)
    rates = recalls(task, TARGETS, replicates, scorer.arrays)
    rates["ausuc"] = primary_classes(task, TARGETS, replicates, scorer.arrays)
    assert set(rates) == {*RECALLS, "harmonic_mean", "ausuc"}
    for metric, (whole, without) in rates.items():
        expected, wanted_without = brute(task, scores, metric)
        assert whole == pytest.approx(expected)
        assert without == pytest.approx(wanted_without, abs=1e-6, nan_ok=True)
        assert np.nanstd(without) > 0


@pytest.mark.parametrize("task", [HEADLINE, OTHER], ids=["rows are stored", "counts are"])
def test_classes_that_no_split_sees_are_left_out_where_they_are_unseen(task: Task) -> None:
    """Of one split the unseen classes have no information, and T1 and U have intervals of no width."""
    plan = dataclasses.replace(task.replicates, splits=(task.replicates.splits[0],))
    derived, unseen = dataclasses.replace(task, replicates=plan), unseen_of(task, 0)
    scores = drawn(derived, seed=1)
    scorer, replicates = scored(derived, scores)
    rates = recalls(derived, TARGETS, replicates, scorer.arrays)
    rates["ausuc"] = primary_classes(derived, TARGETS, replicates, scorer.arrays)
    for metric, (whole, without) in rates.items():
        options = {"probabilistic": False, "unseen": unseen}
        for c in range(CLASSES):
            rows = c != TRUTH
            expected = score("classes", TRUTH[rows], scores[0, 0][rows], **options)[metric]
            assert without[0, c] == pytest.approx(expected, abs=1e-6)
        side = sorted(unseen if metric in ("zero_shot", "unseen") else set(range(CLASSES)) - unseen)
        assert np.std(without[0, side]) > 0
        interval, _ = jackknife(float(whole[0]), without_each(without))
        assert interval.low < whole[0] < interval.high


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def record(store: Store, task: Task, scores: Scores) -> Record:
    scorer, replicates = scored(task, scores)
    ids = identities(Cell(task, resolve("encoders", "pixels")))
    record = Record(
        owner="somebody",
        status="ok",
        reason=None,
        data=records.data(rows={"train": 1, "val": 1, "test": N}),
        task=ids.task,
        encoder=ids.encoder,
        protocol=ids.protocol,
        replicates=tuple(replicates),
        primary=scorer.primary(replicates),
        training=(),
        tuning=None,
        supervision="none",
        measured={},
        predictions=StoredPredictions(kinds={"label": ("classes", CLASSES)}),
    )
    return store.write(record, scorer.arrays)


def test_differences_are_paired_over_splits_and_leave_each_class_out(store: Store) -> None:
    first, second = drawn(OTHER, seed=2, skill=1.2), drawn(HEADLINE, seed=3)
    a, b = record(store, OTHER, first), record(store, HEADLINE, second)
    intervals: dict[str, Interval] = recall_differences(store, a, b, OTHER, HEADLINE)
    intervals["ausuc"], _ = paired(store, a, b, OTHER, HEADLINE)
    for metric, difference in intervals.items():
        (x, x_without), (y, y_without) = (
            brute(OTHER, first, metric),
            brute(HEADLINE, second, metric),
        )
        without = [np.nanmean(x_without[:, c] - y_without[:, c]) for c in range(CLASSES)]
        expected, _ = jackknife(float(np.mean(x - y)), np.array(without))
        assert dataclasses.astuple(difference) == pytest.approx(
            dataclasses.astuple(expected), abs=1e-6
        )
        assert difference.value > 0


def test_different_tasks_have_no_difference(store: Store) -> None:
    a = record(store, OTHER, drawn(OTHER, seed=2))
    named = load("fashion_mnist-zeroshot_named")
    with pytest.raises(BenchError, match="different class splits"):
        recall_differences(store, a, a, OTHER, named)
    with pytest.raises(BenchError, match="not over classes"):
        recall_differences(store, a, a, OTHER, load("digits-knn"))
    moved = dataclasses.replace(a, data=dataclasses.replace(a.data, digest="1"))
    with pytest.raises(BenchError, match="different images"):
        recall_differences(store, moved, a, OTHER, OTHER)
    fewer = dataclasses.replace(a, replicates=a.replicates[:-1])
    with pytest.raises(BenchError, match="have run on different class splits"):
        recall_differences(store, fewer, a, OTHER, OTHER)
    failed = dataclasses.replace(a, status="failed", reason="it fell")
    with pytest.raises(BenchError, match="is failed"):
        recall_differences(store, a, failed, OTHER, OTHER)


def on_board(store: Store, tasks: Mapping[str, Task], *scored: Record) -> Board:
    """A board of records that count."""
    board = Board(store, tasks)
    for each in scored:
        board.add(each, "consistent")
    return board


def test_the_board_has_gains_and_where_there_are_none_the_row_without_them(store: Store) -> None:
    tasks = {task.name: task for task in (HEADLINE, OTHER)}
    a, b = (
        record(store, OTHER, drawn(OTHER, seed=2)),
        record(store, HEADLINE, drawn(HEADLINE, seed=3)),
    )
    intervals = recall_differences(store, a, b, OTHER, HEADLINE)

    def lines() -> tuple[list[list[str]], Board]:
        board = on_board(store, tasks, a, b)
        tables = [part for part in zero_shot.section(board, tasks) if part.startswith("|")]
        rows = [[cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]] for text in tables]
        return sorted(rows, key=len), board

    (plain, gains), board = lines()
    assert gains[-3:] == [percent_text(intervals[metric], "+") for metric in RECALLS]
    assert len(gains) == len(plain) + 3 and not board.left_out
    a = dataclasses.replace(a, data=dataclasses.replace(a.data, digest="1"))
    (_, blank), board = lines()
    assert blank == [*gains[:-3], "", "", ""]
    [(who, where, why)] = board.left_out
    assert who == "pixels" and OTHER.name in where and "different images" in why


def test_scores_of_the_table_have_the_interval_of_leaving_out_each_class(store: Store) -> None:
    scores = drawn(OTHER, seed=2, skill=1.2, seeds=2)
    board = on_board(store, {OTHER.name: OTHER}, record(store, OTHER, scores))
    *_, table = zero_shot.section(board, {OTHER.name: OTHER})
    head, _, line, _ = ([c.strip() for c in row.split("|")] for row in table.splitlines())
    names = {"T1": "zero_shot", "U": "unseen", "S": "seen", "H": "harmonic_mean", "AUSUC": "ausuc"}
    for column, metric in names.items():
        whole, without = brute(OTHER, scores, metric)
        exact, _ = jackknife(whole.mean(), np.nanmean(without, axis=0))
        ends = 100 * np.clip([exact.low, exact.high], 0, 1)
        expected = f"{100 * exact.value:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"
        assert line[head.index(column)] == expected, column


@pytest.mark.parametrize(
    ("transductive", "source", "images", "marked"),
    [
        (True, None, 300, True),
        (True, "fashion_mnist", 300, True),
        (True, "multi_fashion,construction=36", 300, True),
        (True, "mnist", 300, False),
        (True, "not_here", 300, False),
        (True, None, 0, False),
        (False, None, 300, False),
    ],
)
def test_an_encoder_that_has_seen_images_of_unseen_classes_is_marked(
    transductive: bool, source: str | None, images: int, marked: bool, store: Store
) -> None:
    task = dataclasses.replace(HEADLINE, transductive=transductive)
    baseline = record(store, HEADLINE, drawn(HEADLINE, seed=3))
    baseline = dataclasses.replace(
        baseline,
        encoder=dataclasses.replace(baseline.encoder, source=source, dim=1, parameters=0),
        measured={"seconds": {"total": 1.0}},
        training=tuple(records.training(images_seen=count) for count in (0, images)),
    )
    tasks = {task.name: task}
    board = on_board(store, tasks, baseline)
    _, section, table = zero_shot.section(board, tasks)
    assert ("(transductive)" in table) is marked and not board.left_out
    assert (", transductive" in families.section(board, tasks)[-1]) is marked
    assert "Transductive: trained on images of the unseen classes" in section


def test_the_table_has_chance_and_says_what_a_method_knows_and_chose(store: Store) -> None:
    baseline = record(store, HEADLINE, drawn(HEADLINE, seed=3))
    entries = [
        dataclasses.replace(
            replicate,
            report={"at_edge": ["penalty"] if number % 4 == 0 else [], "sees_unseen": True},
        )
        for number, replicate in enumerate(baseline.replicates)
    ]
    baseline = dataclasses.replace(baseline, replicates=tuple(entries))
    tasks = {HEADLINE.name: HEADLINE}
    board = on_board(store, tasks, baseline)
    _, _, table = zero_shot.section(board, tasks)
    head, _, line, chance = ([c.strip() for c in row.split("|")] for row in table.splitlines())
    assert line[1].endswith(" (trained with unseen signatures)")
    assert line[head.index("at an edge")] == "25"
    cells = dict(zip(head, chance, strict=True))
    assert (cells["encoder"], cells["T1"], cells["AUSUC"]) == ("chance", "33.3", "2.4")
    # Half the product of what a guess has right of either kind, as the curve is a straight line.
    assert HEADLINE.chance == pytest.approx(0.5 / 3 / 7)
