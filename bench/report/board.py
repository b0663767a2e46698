"""The records that count on a board, and those that are left out, with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from bench.errors import BenchError
from bench.naming.specs import share_images
from bench.report.recall import Recall
from bench.report.text import interval_text, scaled
from bench.results.own_tasks import OwnTasks, own_tasks
from bench.results.record import Record
from bench.results.status import KnownIdentities, why_stale
from bench.results.store import VERIFIED, Store
from bench.results.trust import Level, Mark, read_marks
from bench.scoring.consistency import from_counts
from bench.scoring.scorer import primary_rows
from bench.scoring.verification import (
    findings_without_predictions,
    identity_findings,
    prediction_findings,
)
from bench.statistics.intervals import Interval
from bench.statistics.metrics import METRICS
from bench.tasks.cell import OURS
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
    recall: Recall = field(default_factory=Recall)
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
    _computed: dict[tuple[str, str], dict[str, Record]] | None = None

    def row_scores(self, record: Record) -> dict[tuple[Any, ...], Array]:
        """Replicate -> scores (n,) of the test rows, whose mean is the primary."""
        return primary_rows(record, self.tasks[record.task.id], self.store.predictions(record))

    def add(self, record: Record, computed: Level, mark: Mark | None = None) -> None:
        """A record that counts: its level of trust by what can be computed again, and its mark."""
        self._levels[id(record)] = mark.level if mark and computed != "reported" else computed
        if computed == "from counts" and self.level(record) != "reproduced":
            self._from_counts.add(id(record))
        self._computed = None
        self.rows.setdefault((record.owner, record.encoder.id), {})[record.task.id] = record

    def level(self, record: Record) -> Level:
        """How far a record of `rows` can be trusted."""
        return self._levels[id(record)]

    def is_from_counts(self, record: Record) -> bool:
        """Has a record of `rows` counts alone, and was not run again either?"""
        return id(record) in self._from_counts

    def computed(self) -> dict[tuple[str, str], dict[str, Record]]:
        """`rows` without records whose scores cannot be computed again."""
        if self._computed is None:
            self._computed = {
                row: {name: r for name, r in records.items() if self.level(r) != "reported"}
                for row, records in self.rows.items()
            }
        return self._computed

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


def collect(
    store: Store,
    tasks: Mapping[str, Task],
    *,
    overall: Sequence[str] = (),
    recall: Recall | None = None,
) -> Board:
    """The board of all records: those that count, and those that are left out. `recall` gives what was
    computed before."""
    own, identities = own_tasks(store), KnownIdentities()
    board = Board(store, tasks, recall or Recall(), overall=overall)
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
            if not (reason := _reason_left_out(record, tasks, own, identities)):
                computed = _computed(board, record, tasks[task], identities)
                board.add(record, computed, _mark(board, record, marks))
                reason = REPORTED if computed == "reported" else ""
        except BenchError as error:
            reason = f"its record cannot be used ({error})"
        if reason:
            board.leave_out(encoder, task, reason)
    store.name_broken(broken)
    return board


def _mark(board: Board, record: Record, marks: Mapping[str, Mark]) -> Mark | None:
    return marks.get(board.recall("digest", [record], lambda: record.digest)) if marks else None


def _reason_left_out(
    record: Record, tasks: Mapping[str, Task], own: OwnTasks, identities: KnownIdentities
) -> str:
    """Why a record does not count; "" if it does."""
    if record.status != "ok":
        return f"{record.status}: {record.reason or ''}"
    if record.task.id not in tasks:
        return "unknown task"
    task = tasks[record.task.id]
    data = own.data(task.dataset)
    if record.owner != OURS:  # its code is not here: only the task is compared
        # Of any encoder: its own identity does not count.
        current = replace(identities.of(task, "pixels", data), encoder=record.encoder)
        if current.data.rows not in ({}, record.data.rows):
            return "its data have other rows"
        return why_stale(record, current)
    try:
        return why_stale(record, identities.of(task, record.encoder.id, data))
    except BenchError as error:
        return f"unknown encoder ({error})"


def _computed(board: Board, record: Record, task: Task, identities: KnownIdentities) -> Level:
    """What of a record was computed again and agrees. Raises BenchError with the first that does not."""
    present = board.store.has_predictions(record)
    level: Level = "reported"
    if present:
        level = board.recall("level", [record], lambda: _level(board.store, record, task))
    found = (
        identity_findings(record, task, identities)
        if present
        else findings_without_predictions(record, task, identities)
    )
    _raise_first(found)
    return level


def _level(store: Store, record: Record, task: Task) -> Level:
    """What follows from the predictions. Raises BenchError with the first contradiction."""
    arrays = store.predictions(record)
    _raise_first(prediction_findings(record, task, arrays))
    return "from counts" if from_counts(arrays) else "consistent"


def _raise_first(findings: Iterable[tuple[str, str]]) -> None:
    for finding in findings:
        raise BenchError(": ".join(filter(None, finding)))


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
