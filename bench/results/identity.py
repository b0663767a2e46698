"""Cells and their identities, known before any work; why a record no longer answers its cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.data.samples import SPLITS, DataSet
from bench.datasets.base import known
from bench.digests import arrays_digest, digest
from bench.naming.specs import Resolved, resolve
from bench.results.record import Record
from bench.statistics.intervals import REVISION as STATISTICS
from bench.statistics.metrics import REVISION as METRICS
from bench.tasks.task import Task

if TYPE_CHECKING:
    from bench.encoders.base import Encoder

__all__ = ["Cell", "data_identity", "identities", "older_statistics", "stale"]

OURS = "reptransfer"
# What counts for every score: raised whenever an edit of grants, features, scoring or the runner
# moves numbers.
REVISION = 1
KNOWN_AS = "identity"  # its key in the revisions of records


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One encoder, by its spec or as an object, on one task."""

    task: Task
    encoder: Resolved | Encoder

    @property
    def spec(self) -> Resolved | None:
        """The encoder's spec; None for an object."""
        return self.encoder if isinstance(self.encoder, Resolved) else None

    @property
    def owner(self) -> str:
        """Whose record it is: ours, or for encoders from outside the package "local"."""
        inside = isinstance(self.encoder, Resolved) and self.encoder.entry.group != "local"
        return OURS if inside else "local"

    @property
    def name(self) -> str:
        """The encoder's canonical spec, or an object's class."""
        return (
            self.encoder.text if isinstance(self.encoder, Resolved) else _object_name(self.encoder)
        )


def _object_name(encoder: Encoder) -> str:
    name = getattr(encoder, "name", type(encoder).__name__)
    return str(name)


def identities(cell: Cell) -> dict[str, dict[str, Any]]:
    """The record's four identities. Nothing is imported for them but what the cell holds."""
    task, protocol = cell.task, cell.task.resolved_protocol.identity
    return {
        "encoder": _encoder_identity(cell),
        "task": {
            "id": task.name,
            "version": task.version,
            "digest": _question(task),
            "family": task.family,
            "parent": task.parent,
        },
        "data": data_identity(task.dataset),
        "protocol": protocol,
    }


def _question(task: Task, statistics: int = STATISTICS) -> str:
    """Digest of a task and of the revisions of all that makes scores of predictions."""
    revisions = {"runner": REVISION, "metrics": METRICS, "statistics": statistics}
    return digest({"task": task.digest, "revisions": revisions})


def older_statistics(record: Record, task: Task) -> int | None:
    """The revision of statistics that made the record's interval, if that alone has changed since."""
    for older in range(1, STATISTICS):
        if record.task.get("digest") == _question(task, older):
            return older
    return None


def _encoder_identity(cell: Cell) -> dict[str, Any]:
    if isinstance(cell.encoder, Resolved):
        return {**cell.encoder.identity, "group": cell.encoder.entry.group}
    state = {name: t.detach().cpu().numpy() for name, t in cell.encoder.state_dict().items()}
    content = digest([type(cell.encoder).__name__, arrays_digest(state)])
    return {"id": cell.name, "version": 1, "digest": content, "group": "local"}


def data_identity(spec: str, dataset: DataSet | None = None) -> dict[str, Any]:
    """Which images: from the data set itself, else what the repository knows of it, else blank."""
    found = resolve("datasets", spec)
    facts: Mapping[str, Any] = known().get(found.text, {})
    if dataset is not None:
        facts = {
            "fingerprint": dataset.fingerprint,
            "rows": {name: len(dataset.split(name)) for name in SPLITS},
            "test_in_train": dataset.test_in_train,
        }
    return {
        "id": found.text,
        "version": found.entry.constants.get("REVISION", 1),
        "digest": facts.get("fingerprint"),
        "rows": facts.get("rows", {}),
        "test_in_train": facts.get("test_in_train"),
    }


def stale(
    record: Record, wanted: Mapping[str, Mapping[str, Any]], *, seeds: int | None = None
) -> str:
    """Why `record` no longer answers a cell of these identities; "" if it does.

    Images that the repository does not know are taken for unchanged while their data set's spec is
    the same: who has them at hand puts their fingerprint into `wanted`.
    seeds: how many runs are wanted; fewer in the record is a reason, unless nothing draws numbers.
    """
    for part in ("encoder", "task", "data", "protocol"):
        old: Mapping[str, Any] = getattr(record, part)
        new = wanted[part]
        unknown = part == "data" and new["digest"] is None and old.get("id") == new["id"]
        if old.get("digest") == new["digest"] or unknown:
            continue
        if part == "data" and old.get("digest") is None:
            return "its data were absent"
        was, now = old.get("revisions", {}), new.get("revisions", {})
        moved = [f"{k} {was.get(k)} -> {now.get(k)}" for k in now if was.get(k) != now.get(k)]
        if old.get("version") != new.get("version"):
            moved.append(f"version {old.get('version')} -> {new.get('version')}")
        before, after = old.get("arguments", {}), new.get("arguments", {})
        moved += [f"{k} {before.get(k)} -> {v}" for k, v in after.items() if before.get(k) != v]
        return f"its {part} has changed" + (f" ({', '.join(moved)})" if moved else "")
    if record.status == "failed":
        return "it has failed"
    done = record.measured.get("seeds")
    if seeds is not None and record.status == "ok" and isinstance(done, int) and done < seeds:
        return f"it has {done} of {seeds} seeds"
    return ""
