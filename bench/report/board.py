"""The records that count on a board, and those that are left out, with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from bench.errors import BenchError
from bench.naming.specs import resolve, share_images
from bench.report.text import interval_text, scaled
from bench.results.own_tasks import OwnTasks, own_tasks
from bench.results.record import Record
from bench.results.status import identities, why_stale
from bench.results.store import VERIFIED, Store
from bench.results.trust import Level, Mark, read_marks
from bench.scoring.consistency import from_counts
from bench.scoring.scorer import primary_rows
from bench.scoring.verification import findings, findings_without_predictions
from bench.statistics.intervals import Interval
from bench.statistics.metrics import METRICS
from bench.tasks.cell import OURS, Cell
from bench.tasks.task import Task

Array = npt.NDArray[Any]
Line = tuple[float, Sequence[str]]  # of a table: its sort key, the lowest first, and its cells
LEAST_SEEDS = 3  # training seeds that an encoder with random training needs to be ranked
REPORTED = "reported: no predictions are stored"


@dataclass(slots=True)
class Board:
    """The records that count, and what is left out: encoder, where, and the reason."""

    store: Store
    tasks: Mapping[str, Task]
    # (owner, encoder) -> task -> record
    rows: dict[tuple[str, str], dict[str, Record]] = field(default_factory=dict)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    # All records with a score, also those that are left out.
    scored: list[Record] = field(default_factory=list)
    overall: Sequence[str] = ()  # the tasks whose mean normalised score ranks encoders
    # Of each task's scores that were ranked: owner and encoder -> the first and the last rank.
    ranks: dict[str, dict[tuple[str, str], tuple[int, int]]] = field(default_factory=dict)
    # First and last ranks, and groups of ties, of the overall score, by its encoders.
    overall_known: dict[tuple[tuple[str, str], ...], tuple[list[tuple[int, int]], list[int]]] = (
        field(default_factory=dict)
    )
    _levels: dict[int, Level] = field(default_factory=dict)
    _from_counts: set[int] = field(default_factory=set)
    _row_scores: dict[int, dict[tuple[Any, ...], Array]] = field(default_factory=dict)

    def row_scores(self, record: Record) -> dict[tuple[Any, ...], Array]:
        """Replicate -> scores (n,) of the test rows, whose mean is the primary; computed once."""
        if id(record) not in self._row_scores:
            task, arrays = self.tasks[record.task.id], self.store.predictions(record)
            self._row_scores[id(record)] = primary_rows(record, task, arrays)
        return self._row_scores[id(record)]

    def add(self, record: Record, computed: Level, mark: Mark | None = None) -> None:
        """A record that counts: its level of trust by what can be computed again, and its mark."""
        self._levels[id(record)] = mark.level if mark and computed != "reported" else computed
        if computed == "from counts" and self.level(record) != "reproduced":
            self._from_counts.add(id(record))
        self.rows.setdefault((record.owner, record.encoder.id), {})[record.task.id] = record

    def level(self, record: Record) -> Level:
        """How far a record of `rows` can be trusted."""
        return self._levels[id(record)]

    def is_from_counts(self, record: Record) -> bool:
        """Has a record of `rows` counts alone, and was not run again either?"""
        return id(record) in self._from_counts

    def computed(self) -> dict[tuple[str, str], dict[str, Record]]:
        """`rows` without records whose scores cannot be computed again."""
        return {
            row: {name: r for name, r in records.items() if self.level(r) != "reported"}
            for row, records in self.rows.items()
        }

    def reason_unranked(self, record: Record) -> str:
        """Why a record of `rows` is shown without a rank; "" if it has one."""
        return REPORTED if self.level(record) == "reported" else reason_unranked(record)

    def leave_out(self, encoder: str, where: str, reason: str) -> None:
        """Name what is not shown; a path in the reason is told from the results folder on."""
        text = reason.replace(f"{self.store.root}{os.sep}", f"results{os.sep}")
        self.left_out.append((encoder, where, text))

    def lines(
        self, task: Task, line: Callable[[Task, str, Mapping[str, Record]], Line | None]
    ) -> list[Line]:
        """Lines of a task's table: those that `line` gives of encoders with a record on the task, from the
        encoder's name and its records. Where it raises BenchError the encoder is left out. Records without
        predictions have no lines."""
        lines = []
        for (owner, encoder), records in self.computed().items():
            if task.name in records:
                try:
                    lines.append(line(task, display_name(owner, encoder, records), records))
                except BenchError as error:
                    self.leave_out(encoder, f"details of {task.name}", str(error))
        return [cells for cells in lines if cells is not None]


def collect(store: Store, tasks: Mapping[str, Task], *, overall: Sequence[str] = ()) -> Board:
    """The board of all records: those that count, and those that are left out."""
    own = own_tasks(store)
    board = Board(store, tasks, overall=overall)
    for file, why in own.broken.items():
        board.leave_out("unreadable task", file, why)
    broken: list[BenchError] = []
    try:
        marks = read_marks(store)
    except BenchError as error:
        broken.append(error)
        board.leave_out("unreadable marks", VERIFIED, str(error))
        marks = {}
    for record in store.records():
        if isinstance(record, BenchError):
            broken.append(record)
            board.leave_out("unreadable record", "", str(record))
            continue
        encoder, task = record.encoder.id, record.task.id
        if any(replicate.status == "ok" for replicate in record.replicates):
            board.scored.append(record)
        try:
            if not (reason := _reason_left_out(record, tasks, own)):
                computed = _computed(store, record, tasks[task])
                board.add(record, computed, marks.get(record.digest) if marks else None)
                reason = REPORTED if computed == "reported" else ""
        except BenchError as error:
            reason = f"its record cannot be used ({error})"
        if reason:
            board.leave_out(encoder, task, reason)
    store.name_broken(broken)
    return board


def _reason_left_out(record: Record, tasks: Mapping[str, Task], own: OwnTasks) -> str:
    """Why a record does not count; "" if it does."""
    if record.status != "ok":
        return f"{record.status}: {record.reason or ''}"
    if record.task.id not in tasks:
        return "unknown task"
    task = tasks[record.task.id]
    data = own.data(task.dataset)
    if record.owner != OURS:  # its code is not here: only the task is compared
        ours = Cell(task, resolve("encoders", "pixels"))  # any: its own identity does not count
        current = replace(identities(ours, data), encoder=record.encoder)
        if current.data.rows not in ({}, record.data.rows):
            return "its data have other rows"
        return why_stale(record, current)
    try:
        cell = Cell(task, resolve("encoders", record.encoder.id))
        return why_stale(record, identities(cell, data))
    except BenchError as error:
        return f"unknown encoder ({error})"


def _computed(store: Store, record: Record, task: Task) -> Level:
    """What of a record was computed again and agrees. Raises BenchError with the first that does not."""
    arrays = store.predictions(record) if store.has_predictions(record) else None
    found = (
        findings_without_predictions(record, task)
        if arrays is None
        else findings(record, task, arrays)
    )
    for finding in found:
        raise BenchError(": ".join(filter(None, finding)))
    if arrays is None:
        return "reported"
    return "from counts" if from_counts(arrays) else "consistent"


def reason_unranked(record: Record) -> str:
    """Why a record that counts is shown without a rank; "" if it has one."""
    if record.encoder.level is not None:
        return "its spec names a level; only the default level is ranked"
    if any(training.notes.get("collapsed") for training in record.training):
        return "a training has collapsed"
    seeds = {r.coords.encoder_seed for r in record.replicates}
    enough = not record.encoder.seeded or len(seeds) >= LEAST_SEEDS
    return "" if enough else f"fewer than {LEAST_SEEDS} training seeds"


def display_name(owner: str, encoder: str, records: Mapping[str, Record]) -> str:
    """The encoder's spec, with its owner where that is not this package, and marked if it is a control."""
    control = is_control(next(iter(records.values())))
    prefix = "" if owner == OURS else f"{owner}/"
    return f"{prefix}{encoder}" + (" (control)" if control else "")


def is_control(record: Record) -> bool:
    """Is its encoder one that others have to beat, or untrained?"""
    return record.encoder.group == "controls" or record.encoder.budget == 0


def sort_value(record: Record) -> float:
    """The primary's value, or minus it where lower is better."""
    return record.score.value * (1 if METRICS[record.score.metric].higher_is_better else -1)


def score_text(record: Record) -> str:
    """The primary with its interval, in per cent where the metric is a share."""
    score = record.score
    interval = Interval(score.value, score.low, score.high)
    return interval_text(scaled(interval, METRICS[score.metric].scale))


def transductive(record: Record, task: Task) -> bool:
    """Was the encoder trained on images (without labels) of the task's unseen classes?"""
    source = record.encoder.source
    same_images = source is None or share_images(source, task.dataset)
    trained = any(training.images_seen for training in record.training)
    return task.transductive and same_images and trained


def uses_unseen_signatures(record: Record) -> bool:
    """Was the method trained with signatures of the unseen classes?"""
    return any(replicate.report.get("sees_unseen") for replicate in record.replicates)
