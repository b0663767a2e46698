"""How cells stand: which have a record that still answers them, which are to be run, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined
from bench.results.identity import Cell, data_identity, identities, older_statistics, stale
from bench.results.record import Record
from bench.results.store import Store

__all__ = ["STATES", "Standing", "in_order", "standing"]

State = Literal["done", "declined", "failed", "stale", "missing"]
STATES: tuple[State, ...] = ("done", "declined", "failed", "stale", "missing")


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """A cell, how it stands and why; its record, where that still answers the cell.

    `rescored`: nothing but the interval is old, and the stored predictions give it anew.
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


def standing(
    cell: Cell, store: Store | None, *, seeds: int | None = None, datasets: DataSets | None = None
) -> Standing:
    """How a cell stands in `store`; None: nothing is kept. Nothing is written, nothing computed.

    With `datasets` the images of a cell that was declined for want of them are looked for, and those
    whose fingerprint the repository does not know are read; without, they are taken for unchanged.
    Raises BenchError for an encoder whose name is no safe folder's.
    """
    if store is None:
        return Standing(cell, "missing")
    store.path(cell.owner, cell.name, cell.task.name)
    try:
        record = store.find(cell.owner, cell.name, cell.task.name)
        if record is None:
            return Standing(cell, "missing")
        wanted = identities(cell)
        absent = record.status == "declined" and record.data.get("digest") is None
        if absent and datasets is None:
            wanted["data"] = dict(record.data)
        elif datasets is not None and (absent or wanted["data"]["digest"] is None):
            wanted["data"] = _data(cell, record, datasets)
        runs = seeds or cell.task.replicates.seeds
        why = stale(record, wanted, seeds=runs)
        if record.status == "failed":
            return Standing(cell, "failed", record.reason or "")
        if record.status == "ok":
            store.predictions(record)
            older = older_statistics(record, cell.task)
            if why and older and not stale(record, {**wanted, "task": record.task}, seeds=runs):
                why = f"its interval is of statistics {older}: made anew from its predictions"
                return Standing(cell, "stale", why, record, rescored=True)
        if why:
            return Standing(cell, "stale", why)
    except BenchError as error:
        return Standing(cell, "stale", str(error))
    state: State = "done" if record.status == "ok" else "declined"
    return Standing(cell, state, record.reason or "", record)


def _data(cell: Cell, record: Record, datasets: DataSets) -> dict[str, Any]:
    """The identity of the images at hand, or of the record's where there are none."""
    try:
        return data_identity(cell.task.dataset, datasets(cell.task.dataset))
    except Declined:
        return dict(record.data)


def in_order(due: Iterable[Standing], store: Store | None) -> list[Standing]:
    """Data sets and encoders in the order in which they were first named; cells in which a run was
    killed, perhaps for want of memory, behind all others."""
    due = list(due)
    datasets = list(dict.fromkeys(each.cell.task.dataset for each in due))
    encoders = list(dict.fromkeys(each.cell.name for each in due))

    def place(each: Standing) -> tuple[bool, int, int]:
        cell = each.cell
        killed = store is not None and store.was_killed(cell.owner, cell.name, cell.task.name)
        return killed, datasets.index(cell.task.dataset), encoders.index(cell.name)

    return sorted(due, key=place)
