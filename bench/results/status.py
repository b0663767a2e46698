"""How a cell stands: its identities, and why a record no longer answers it.

`run`, `plan` and `status` ask here alike. Nothing is computed: identities are digests of resolved
arguments and REVISIONs, and fingerprints of data sets that `known.json` has. A record of which the
interval alone is old gets a new one from its stored predictions; its encoder is not run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.data.samples import SPLITS, DataSet
from bench.datasets.base import DataSets, known_facts
from bench.digests import digest, file_digest
from bench.errors import BenchError, Declined
from bench.naming.specs import Resolved, resolve
from bench.results.record import (
    DataIdentity,
    EncoderIdentity,
    ProtocolIdentity,
    Record,
    TaskIdentity,
)
from bench.results.store import Store
from bench.statistics.intervals import REVISION as STATISTICS
from bench.statistics.metrics import REVISION as METRICS
from bench.tasks.cell import Cell
from bench.tasks.task import Task

# What counts for every score: raised whenever an edit of grants, features, scoring or the runner
# moves numbers.
REVISION = 1
KNOWN_AS = "identity"  # its key in the revisions of records

State = Literal["done", "declined", "failed", "stale", "missing"]
STATES: tuple[State, ...] = ("done", "declined", "failed", "stale", "missing")


@dataclass(frozen=True, slots=True, eq=False)
class CellStatus:
    """A cell, its state and the reason; its record, where that still answers the cell.

    `rescored`: only the interval is old, and it is made anew from the stored predictions.
    """

    cell: Cell
    state: State
    reason: str = ""
    record: Record | None = None
    rescored: bool = False

    @property
    def due(self) -> bool:
        """Is there something to do?"""
        return self.state not in ("done", "declined")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Of a cell: what its record is an answer to."""

    encoder: EncoderIdentity
    task: TaskIdentity
    data: DataIdentity
    protocol: ProtocolIdentity


def status_of(
    cell: Cell,
    store: Store | None,
    *,
    seeds: int | None = None,
    datasets: DataSets | None = None,
    data: DataIdentity | None = None,
) -> CellStatus:
    """The status of a cell in `store`; None: nothing is stored. Nothing is written or computed.

    seeds: how many runs are needed (None: as the task says). datasets: where the images of a cell that
    was declined without them are looked for, and read if the repository has no fingerprint of them;
    without `datasets` they count as unchanged. data: the identity of its images, where it is known.
    Raises BenchError for an encoder whose name cannot safely be a folder's name.
    """
    if store is None:
        return CellStatus(cell, "missing")
    store.path(cell.owner, cell.name, cell.task.name)
    try:
        record = store.find(cell.owner, cell.name, cell.task.name)
        if record is None:
            return CellStatus(cell, "missing")
        current = identities(cell, data)
        absent = data is None and record.status == "declined" and record.data.digest is None
        if absent and datasets is None:
            current = replace(current, data=record.data)
        elif datasets is not None and (absent or current.data.digest is None):
            current = replace(current, data=_present_data(cell, record, datasets))
        seeds = seeds or cell.task.replicates.seeds
        reason = why_stale(record, current, seeds=seeds) or _changed_file(record, cell, store)
        if record.status == "failed":
            return CellStatus(cell, "failed", record.reason or "")
        if record.status == "ok":
            store.predictions(record)
            older = _older_statistics(record, cell.task)
            if (
                reason
                and older
                and not why_stale(record, replace(current, task=record.task), seeds=seeds)
            ):
                reason = f"its interval is of statistics {older}: made anew from its predictions"
                return CellStatus(cell, "stale", reason, record, rescored=True)
        if reason:
            return CellStatus(cell, "stale", reason)
    except BenchError as error:
        return CellStatus(cell, "stale", str(error))
    state: State = "done" if record.status == "ok" else "declined"
    return CellStatus(cell, state, record.reason or "", record)


def run_order(due: Iterable[CellStatus], store: Store | None) -> list[CellStatus]:
    """Data sets and encoders in the order in which they are first named; cells in which a run was
    killed, perhaps for lack of memory, come last."""
    due = list(due)
    datasets = list(dict.fromkeys(status.cell.task.dataset for status in due))
    encoders = list(dict.fromkeys(status.cell.name for status in due))

    def place(status: CellStatus) -> tuple[bool, int, int]:
        cell = status.cell
        killed = store is not None and store.was_killed(cell.owner, cell.name, cell.task.name)
        return killed, datasets.index(cell.task.dataset), encoders.index(cell.name)

    return sorted(due, key=place)


def identities(cell: Cell, data: DataIdentity | None = None) -> Identities:
    """The record's four identities; `data`: that of its images, where it is known. No component is
    imported."""
    task = cell.task
    return Identities(
        encoder=_encoder_identity(cell),
        task=TaskIdentity(
            id=task.name,
            version=task.version,
            digest=_task_digest(task),
            family=task.family,
            parent=task.parent,
        ),
        data=data or data_identity(task.dataset),
        protocol=ProtocolIdentity(**task.resolved_protocol.identity),
    )


class KnownIdentities:
    """`identities` of many cells, each part of them computed once."""

    def __init__(self) -> None:
        self._specs: dict[str, Resolved | BenchError] = {}
        self._encoders: dict[str, EncoderIdentity] = {}
        self._by_task: dict[tuple[str, bool], Identities] = {}

    def encoder(self, text: str) -> Resolved:
        """As `resolve("encoders", text)`."""
        if text not in self._specs:
            try:
                self._specs[text] = resolve("encoders", text)
            except BenchError as error:
                self._specs[text] = error
        spec = self._specs[text]
        if isinstance(spec, BenchError):
            raise BenchError(str(spec))
        return spec

    def of(self, task: Task, encoder: str, data: DataIdentity | None = None) -> Identities:
        """Of an encoder's spec on a task. Tasks of one name are one task, and so are their `data`, where
        these are given. Raises BenchError as `resolve` does."""
        cell, key = Cell(task, self.encoder(encoder)), (task.name, data is None)
        if key not in self._by_task:
            self._by_task[key] = identities(cell, data)
        if encoder not in self._encoders:
            self._encoders[encoder] = _encoder_identity(cell)
        return replace(self._by_task[key], encoder=self._encoders[encoder])


def data_identity(spec: str, dataset: DataSet | None = None) -> DataIdentity:
    """Which images: from the data set itself, else from `known.json`, else without a digest."""
    resolved = resolve("datasets", spec)
    facts: Mapping[str, Any] = known_facts().get(resolved.text, {})
    if dataset is not None:
        facts = {
            "fingerprint": dataset.fingerprint,
            "rows": {name: len(dataset.split(name)) for name in SPLITS},
            "test_in_train": dataset.test_in_train,
        }
    return DataIdentity(
        id=resolved.text,
        version=resolved.entry.constants.get("REVISION", 1),
        digest=facts.get("fingerprint"),
        rows=facts.get("rows", {}),
        test_in_train=facts.get("test_in_train"),
    )


def why_stale(record: Record, current: Identities, *, seeds: int | None = None) -> str:
    """Why `record` no longer answers a cell whose identities are `current`; "" if it does.

    Images without a fingerprint in `current` count as unchanged while their data set's spec is the
    same. seeds: how many runs are needed; a record with fewer is stale, unless nothing in it draws
    random numbers.
    """
    for part in ("encoder", "task", "data", "protocol"):
        old, new = getattr(record, part), getattr(current, part)
        unknown = part == "data" and new.digest is None and old.id == new.id
        if old.digest == new.digest or unknown:
            continue
        if part == "data" and old.digest is None:
            return "its data were absent"
        changes = _changes(old, new, "revisions")
        if old.version != new.version:
            changes.append(f"version {old.version} -> {new.version}")
        changes += _changes(old, new, "arguments")
        return f"its {part} has changed" + (f" ({', '.join(changes)})" if changes else "")
    if record.status == "failed":
        return "it has failed"
    runs = record.measured.get("seeds")
    if seeds is not None and record.status == "ok" and runs is not None and runs < seeds:
        return f"it has {runs} of {seeds} seeds"
    return ""


def _changed_file(record: Record, cell: Cell, store: Store) -> str:
    """Why the files that the encoder opened while it was built are no longer those; "" if they are. A
    record from another machine tells no places: then only files beside the encoder's are compared."""
    if not record.encoder.files or cell.spec is None:
        return ""
    places = store.places(record)
    for name, content in record.encoder.files.items():
        beside = cell.spec.entry.path.parent / name
        present = [
            path for path in (places.get(name), beside) if path is not None and path.is_file()
        ]
        if not present and name in places:
            return f"{name}, which its encoder opened, is gone"
        if present and file_digest(present[0]) != content:
            return f"{name}, which its encoder opened, has changed"
    return ""


def _changes(old: Any, new: Any, name: str) -> list[str]:
    """Of two identities in a mapping that not all of them have."""
    before, now = (getattr(identity, name, None) or {} for identity in (old, new))
    return [f"{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]


def _task_digest(task: Task, statistics: int = STATISTICS) -> str:
    """Digest of a task and of the revisions of all that makes scores of predictions."""
    revisions = {"runner": REVISION, "metrics": METRICS, "statistics": statistics}
    return digest({"task": task.digest, "revisions": revisions})


def _older_statistics(record: Record, task: Task) -> int | None:
    """The revision of statistics that made the record's interval, if that alone has changed since."""
    for older in range(1, STATISTICS):
        if record.task.digest == _task_digest(task, older):
            return older
    return None


def _encoder_identity(cell: Cell) -> EncoderIdentity:
    if isinstance(cell.encoder, Resolved):
        return EncoderIdentity(**cell.encoder.identity, group=cell.encoder.entry.group)
    from bench.encoders.parts.state import object_digest  # not at the top: it imports PyTorch

    content = object_digest(cell.encoder)
    return EncoderIdentity(id=cell.name, version=1, digest=content, group="local")


def _present_data(cell: Cell, record: Record, datasets: DataSets) -> DataIdentity:
    """The identity of the images in the data root, or of the record's where there are none."""
    try:
        return data_identity(cell.task.dataset, datasets(cell.task.dataset))
    except Declined:
        return record.data
