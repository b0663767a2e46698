"""What of the results counts on a board, and what was left out for which reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.naming.specs import resolve, share_images
from bench.results.identity import OURS, Cell, identities, stale
from bench.results.record import Record
from bench.results.store import Store
from bench.scoring.scorer import primary_rows
from bench.statistics.metrics import HIGHER_IS_BETTER
from bench.tasks.task import Task

__all__ = [
    "LEAST_SEEDS",
    "Board",
    "collect",
    "name_of",
    "seeds_of",
    "sort_value",
    "transductive",
    "unranked",
]

Array = npt.NDArray[Any]
LEAST_SEEDS = 3  # training seeds that an encoder with random training needs to be ranked


@dataclass(slots=True)
class Board:
    """What of the results counts, and what was left out for which reason."""

    store: Store
    tasks: Mapping[str, Task]
    # (owner, encoder) -> task -> record
    rows: dict[tuple[str, str], dict[str, Record]] = field(default_factory=dict)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    overall: Sequence[str] = ()  # the tasks whose mean normalised score ranks encoders
    _rows: dict[int, dict[tuple[Any, ...], Array]] = field(default_factory=dict)

    def row_scores(self, record: Record) -> dict[tuple[Any, ...], Array]:
        """Replicate -> (n,) scores whose mean is the primary, read once."""
        if id(record) not in self._rows:
            task = self.tasks[record.task["id"]]
            self._rows[id(record)] = primary_rows(record, task, self.store.predictions(record))
        return self._rows[id(record)]

    def leave(self, what: str, task: str, reason: str) -> None:
        self.left_out.append((what, task, reason))


def collect(
    store: Store,
    tasks: Mapping[str, Task],
    attempt: Callable[[Board], object],
    *,
    overall: Sequence[str] = (),
) -> Board:
    """All records, judged. `attempt` is shown each one alone: what it raises leaves that one out."""
    board = Board(store, tasks, overall=overall)
    for record in store.records():
        if isinstance(record, BenchError):
            board.leave("a broken record", "", str(record).replace(str(store.root), "results"))
            continue
        encoder, task = record.encoder["id"], record.task["id"]
        try:
            reason = record.reason or "" if record.status != "ok" else _why_not(record, tasks)
            if record.status == "ok" and not reason:
                _follows(store, record, tasks[task])
                alone = Board(store, {task: replace(tasks[task], baseline=None)})
                alone.rows[record.owner, encoder] = {task: record}
                attempt(alone)
        except Exception as error:  # a stranger's record can lack or hold anything
            text = f"{type(error).__name__}: {error}".replace(str(store.root), "results")
            board.leave(encoder, task, f"its record cannot be used ({text})")
            continue
        if reason or record.status != "ok":
            board.leave(
                encoder, task, f"{record.status}: {reason}" if record.status != "ok" else reason
            )
        else:
            board.rows.setdefault((record.owner, encoder), {})[task] = record
    return board


def _why_not(record: Record, tasks: Mapping[str, Task]) -> str:
    """Why a complete record does not count: "" if it does."""
    if record.task["id"] not in tasks:
        return "its task is not known here"
    task = tasks[record.task["id"]]
    if record.owner != OURS:  # its code is not here: what was asked must still be the same
        wanted = {**_task_identities(task), "encoder": record.encoder}
        return stale(record, wanted)
    try:
        return stale(record, identities(Cell(task, resolve("encoders", record.encoder["id"]))))
    except BenchError as error:
        return f"its encoder is not known here ({error})"


def _task_identities(task: Task) -> dict[str, dict[str, Any]]:
    """A task's own identities: those that hang on no encoder."""
    return identities(Cell(task, resolve("encoders", "pixels")))


def _follows(store: Store, record: Record, task: Task) -> None:
    """Raise BenchError unless the primary is what the stored predictions give."""
    if task.primary.interval != "rows":
        return
    told = (record.primary or {})["value"]
    found = float(np.mean(list(primary_rows(record, task, store.predictions(record)).values())))
    exact = task.primary.metric in ("accuracy", "balanced_accuracy")
    if abs(found - told) > (1e-9 if exact else 0.04 * (1 + abs(told))):
        raise BenchError(f"its score is {told:.6g}, its predictions give {found:.6g}")


def unranked(record: Record) -> str:
    """Why a record that counts is shown without a rank; "" if it has one."""
    if record.encoder.get("level") is not None:
        return "a level that was asked for by name stands beside the ranked one"
    if any(_collapsed(training) for training in record.training):
        return "a training of it has collapsed"
    few = seeds_of(record) < LEAST_SEEDS
    return f"fewer than {LEAST_SEEDS} training seeds" if few else ""


def _collapsed(training: Any) -> bool:
    """Does a fit's report say so? A stranger's can be anything."""
    notes = training.get("notes") if isinstance(training, Mapping) else None
    return isinstance(notes, Mapping) and bool(notes.get("collapsed"))


def seeds_of(record: Record) -> float:
    """Training seeds in a record; without random training any number is enough."""
    seeds = {r["coords"]["encoder_seed"] for r in record.replicates}
    return len(seeds) if record.encoder.get("seeded") else math.inf


def name_of(owner: str, encoder: str, records: Mapping[str, Record]) -> str:
    """What a line calls its encoder: owners other than us, and controls, are named as such."""
    facts = next(iter(records.values())).encoder
    control = facts.get("group") == "controls" or facts.get("budget") == 0
    who = "" if owner == OURS else f"{owner}/"
    return f"{who}{encoder}" + (" (control)" if control else "")


def sort_value(record: Record) -> float:
    """The primary's value, or minus it where lower is better."""
    primary = record.primary or {}
    return float(primary["value"]) * (1 if HIGHER_IS_BETTER[primary["metric"]] else -1)


def transductive(record: Record, task: Task) -> bool:
    """Did the encoder learn, without labels, from images of classes that the task tells as unseen?"""
    source = record.encoder.get("source")
    own = source is None or share_images(str(source), task.dataset)
    trained = (isinstance(t, Mapping) and t.get("images_seen") for t in record.training)
    return task.transductive and own and any(trained)


def knows_unseen(record: Record) -> bool:
    """Did signatures of the unseen classes shape what the method learnt, before any test image?"""
    reports = (replicate.get("report") for replicate in record.replicates)
    return any(isinstance(r, Mapping) and bool(r.get("sees_unseen")) for r in reports)
