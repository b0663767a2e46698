"""Two records of one task, compared on the same test rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.data.samples import Array
from bench.errors import BenchError, printable
from bench.files.paths import folder_path
from bench.results.frames import Predictions, Results
from bench.results.own_names import recorded_as
from bench.results.own_tasks import available_tasks
from bench.results.record import Record
from bench.results.status import identities
from bench.results.store import Store
from bench.scoring.class_splits import RECALLS, primary_classes, recalls, without_each
from bench.scoring.scorer import primary_rows, targets_of
from bench.statistics.intervals import (
    Interval,
    jackknife,
    paired_difference,
    seed_paired_difference,
)
from bench.statistics.metrics import METRICS
from bench.statistics.significance import holm
from bench.tasks.cell import OURS, Cell
from bench.tasks.task import Task

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A minus B on one task: difference with its 95 % interval, p-value, and p adjusted by Holm."""

    task: str
    metric: str
    a: float
    b: float
    difference: Interval
    p: float
    adjusted: float
    higher_is_better: bool

    @property
    def verdict(self) -> str:
        """ "A", "B", or "tie" where the adjusted p-value is 0.05 or more."""
        if self.adjusted >= 0.05:
            return "tie"
        return "A" if (self.difference.value > 0) == self.higher_is_better else "B"


def compare(
    a: object,
    b: object,
    *,
    results: str | Path = "reptransfer-runs",
    tasks: str = "*",
) -> list[Comparison]:
    """`a` minus `b` on every task that both have, from stored predictions.

    a, b: an encoder's spec; an object that was scored by `evaluate(..., results=...)`, in the state that
        it is in now; or what `evaluate` has returned, whose predictions are in memory
    results: the folder with the records of specs and objects
    tasks: a pattern of their names

    Paired over test rows; p-values adjusted by Holm over the tasks. Tasks with a record that cannot be
    used are named in the log, and left out while there are others. Raises BenchError where they have no
    task in common, for an object that has changed since it was scored, and for values of another type.
    """
    if not isinstance(tasks, str):
        raise BenchError(f"tasks={tasks!r}: must be a name or a pattern of names")
    in_memory = [side for side in (a, b) if isinstance(side, Results)]
    root = folder_path(results, "results")
    if len(in_memory) < 2 and not root.is_dir():
        raise BenchError(f"no folder {str(root)!r}; name a results folder")
    store = Store(root)
    first, second = (_side(side, store) for side in (a, b))
    definitions = available_tasks(store)
    for side in in_memory:
        definitions |= side.tasks
    common = [name for name in first.by_task if name in second.by_task and name in definitions]
    common = [name for name in common if fnmatchcase(name, tasks)]
    if not common:
        place = "" if len(in_memory) == 2 else f" in {root}"
        raise BenchError(
            f"{first.name} and {second.name} have no scored task {tasks!r} in common{place}"
        )
    pairs = [(first.by_task[name], second.by_task[name]) for name in common]
    sources = {id(r): side.source for side in (first, second) for r in side.by_task.values()}
    differences, errors = list[_Difference](), list[BenchError]()
    for one, other in pairs:
        task = definitions[one.task.id]
        try:
            differences.append(_difference(_Sources(sources), one, other, task))
        except BenchError as error:
            errors.append(error)
    if errors and not differences:
        raise errors[0]
    for reason in errors:
        log.warning("left out: %s", printable(str(reason)))
    return _adjusted(differences)


@dataclass(frozen=True, slots=True)
class _Side:
    """One encoder: its name, its ok records by task, and where their predictions are."""

    name: str
    by_task: Mapping[str, Record]
    source: Predictions


@dataclass(frozen=True, slots=True)
class _Sources:
    """Predictions of records from several places, by the records' ids."""

    by_id: Mapping[int, Predictions]

    def predictions(self, record: Record) -> dict[str, Array]:
        return self.by_id[id(record)].predictions(record)


def _side(encoder: object, store: Store) -> _Side:
    if isinstance(encoder, str):
        return _of_spec(encoder, store)
    if not isinstance(encoder, Results):
        return _of_object(encoder, store)
    everyone = sorted({record.encoder.id for record in encoder.records})
    if len(everyone) != 1:
        raise BenchError(
            f"results of {len(everyone)} encoders ({', '.join(everyone[:3])}) cannot be compared as one; "
            "give those of one `evaluate`, or a spec and results=..."
        )
    scored = {r.task.id: r for r in encoder.records if r.status == "ok"}
    return _Side(everyone[0], scored, encoder)


def _of_object(encoder: object, store: Store) -> _Side:
    """The records of an object as it is now."""
    from bench.encoders.parts.given import as_encoder, eval_mode  # here: they import PyTorch

    definitions = available_tasks(store)
    with eval_mode(encoder):
        task = next(iter(definitions.values()))
        cell = Cell(task, as_encoder(encoder))
        identity = identities(cell).encoder
    records = store.readable()
    named = [r for r in records if r.owner == cell.owner and r.encoder.id == cell.name]
    same = [r for r in named if r.encoder.digest == identity.digest]
    if not same:
        state = "has changed since it was scored" if named else "was never scored"
        raise BenchError(
            f"{cell.name} {state} in {store.root}; call evaluate(..., results={str(store.root)!r}) first"
        )
    return _Side(cell.name, {r.task.id: r for r in same if r.status == "ok"}, store)


def _of_spec(text: str, store: Store) -> _Side:
    """The records of an encoder by its name or spec. Raises BenchError where it has no record at all, or
    needs files that have changed since."""
    records = store.readable()
    name, current = recorded_as(text, store, {record.encoder.id for record in records})
    same = [r for r in records if r.encoder.id == name and current in (None, r.encoder.digest)]
    if not same:
        raise BenchError(
            f"{text} has changed since it was scored in {store.root}; run it again, or give {name!r} for "
            "the encoder that was scored"
        )
    scored = [record for record in same if record.status == "ok"]
    # Of one name, ours replace a stranger's.
    scored.sort(key=lambda record: record.owner in (OURS, "local"))
    return _Side(text, {record.task.id: record for record in scored}, store)


def paired(
    store: Predictions, a: Record, b: Record, task_a: Task, task_b: Task
) -> tuple[Interval, float]:
    """Primary of `a` minus primary of `b` over the same test rows, and its p-value.

    Replicates on the same label subset or class split are paired, and of one encoder on two tasks those
    of equal seeds. Raises BenchError where the two differ in images or metric, or are not both ok.
    """
    _comparable(a, b)
    if task_a.primary != task_b.primary:
        raise BenchError(f"{a.task.id}: the two have different metrics")
    if task_a.primary.interval == "classes":
        return _left_out(*_by_split(store, a, b, task_a, task_b, primary_classes))
    rows_a = primary_rows(a, task_a, store.predictions(a))
    rows_b = primary_rows(b, task_b, store.predictions(b))
    stacked = np.stack(list(rows_a.values())), np.stack(list(rows_b.values()))
    bounds = METRICS[task_a.primary.metric].bounds
    if a.encoder.digest == b.encoder.digest and list(rows_a) == list(rows_b):
        return seed_paired_difference(*stacked, list(rows_a), bounds)
    return paired_difference(*stacked, list(rows_a), list(rows_b), bounds)


def recall_differences(
    store: Predictions, a: Record, b: Record, task_a: Task, task_b: Task
) -> dict[str, Interval]:
    """The interval that `paired` gives of the primary, for each metric of `class_splits.RECALLS`.

    Raises BenchError where `paired` does, and where the intervals are not over classes.
    """
    _comparable(a, b)
    if {task_a.primary.interval, task_b.primary.interval} != {"classes"}:
        raise BenchError(f"{a.task.id}: its interval is not over classes")
    of_a, of_b = _by_split(store, a, b, task_a, task_b, recalls)
    return {metric: _left_out(of_a[metric], of_b[metric])[0] for metric in RECALLS}


def _comparable(a: Record, b: Record) -> None:
    """Raise BenchError unless both are ok and of the same images."""
    for record in (a, b):
        if record.status != "ok":
            raise BenchError(f"{record.name} is {record.status}")
    if a.data.digest != b.data.digest:
        raise BenchError(f"{a.task.id}: the two were scored on different images")


def _by_split(
    store: Predictions, a: Record, b: Record, task_a: Task, task_b: Task, read: Callable[..., T]
) -> tuple[T, T]:
    """What `read(task, targets, replicates, arrays)` gives of both records.

    Raises BenchError where their class splits differ.
    """
    if task_a.replicates.splits != task_b.replicates.splits:
        raise BenchError(f"{a.task.id}: the two have different class splits")
    done_a, done_b = (
        {r.coords.split for r in record.replicates if r.status == "ok"} for record in (a, b)
    )
    if done_a != done_b:
        raise BenchError(f"{a.task.id}: the two have run on different class splits")
    of_a, of_b = (
        read(task, targets_of(record), record.replicates, store.predictions(record))
        for record, task in ((a, task_a), (b, task_b))
    )
    return of_a, of_b


def _left_out(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Interval, float]:
    """The mean difference over class splits of scores in [0, 1]; its interval leaves each class out."""
    (values_a, without_a), (values_b, without_b) = a, b
    if without_a.shape != without_b.shape:
        raise BenchError("the two have different classes")
    mean, without = float((values_a - values_b).mean()), without_each(without_a - without_b)
    plain, p = jackknife(mean, without)
    return Interval(plain.value, max(plain.low, -1.0), min(plain.high, 1.0)), p


def compare_records(
    store: Predictions, pairs: Sequence[tuple[Record, Record]], tasks: Mapping[str, Task]
) -> list[Comparison]:
    """Each pair of records, with Holm's adjustment over all of them.

    Raises BenchError for a pair with different versions of the task, and where `paired` does.
    """
    return _adjusted([_difference(store, a, b, tasks[a.task.id]) for a, b in pairs])


@dataclass(frozen=True, slots=True)
class _Difference:
    """Of two records on a task, `a` minus `b`, with the p-value that it has alone."""

    a: Record
    b: Record
    task: Task
    interval: Interval
    p: float


def _difference(store: Predictions, a: Record, b: Record, task: Task) -> _Difference:
    if a.task.digest != b.task.digest:
        raise BenchError(f"{task.name}: the two were scored by different versions of the task")
    return _Difference(a, b, task, *paired(store, a, b, task, task))


def _adjusted(differences: Sequence[_Difference]) -> list[Comparison]:
    """Comparisons, with Holm's adjustment over all of them."""
    return [
        Comparison(
            task=d.task.name,
            metric=d.a.score.metric,
            a=d.a.score.value,
            b=d.b.score.value,
            difference=d.interval,
            p=d.p,
            adjusted=q,
            higher_is_better=METRICS[d.task.primary.metric].higher_is_better,
        )
        for d, q in zip(differences, holm([d.p for d in differences]), strict=True)
    ]
