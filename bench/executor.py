"""Many cells: what is still to do, done one after another, each kept as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cache import Cache
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.identity import Cell, data_identity, identities, stale
from bench.record import Record
from bench.specs import Resolved
from bench.store import Store

__all__ = ["Outcome", "run_cells"]


@dataclass(slots=True)
class Outcome:
    """What a run did: the records of all its cells, in order, and how many were fresh already."""

    records: list[Record] = field(default_factory=list)
    done_before: int = 0

    def count(self, status: str) -> int:
        return sum(record.status == status for record in self.records)


def run_cells(
    cells: Sequence[Cell],
    *,
    root: Path,
    datasets: DataSets | None = None,
    store: Store | None = None,
    cache: Cache | None = None,
    seeds: int | None = None,
    device: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run the cells that have no fresh record in `store` (None: all, kept in memory alone).

    `root` is the data root, `datasets` those of it that are read already, `cache` keeps weights and
    features, `device` is PyTorch's name of one (None: a GPU where there is one). `tell` gets a line
    whenever a cell is due or done. Cells of one data set and encoder follow each other, so that they
    share what is in memory.
    """
    outcome, found = Outcome(), dict[Cell, Record]()
    datasets = datasets or DataSets(root)

    waiting: list[Cell] = []
    for cell in cells:
        if store is not None:
            store.path(cell.owner, cell.name, cell.task.name)  # now rather than after the work
        fresh, why = _kept(cell, store, seeds, datasets)
        if fresh is not None:
            found[cell] = fresh
            outcome.done_before += 1
        else:
            waiting.append(cell)
            if why:
                tell(f"{cell.name} on {cell.task.name} is run again: {why}")
    if waiting:
        from tqdm import tqdm

        # Only now: these bring PyTorch.
        from bench.lab import Lab
        from bench.machine import chosen_device
        from bench.runner import run_cell

        if store is not None:
            store.check_writable()
            tell(
                f"{len(waiting)} of {len(cells)} cells to run: records in {store.root}, data root {root}"
            )
        levels = {c.encoder.level if isinstance(c.encoder, Resolved) else None for c in waiting}
        lab = Lab(datasets, cache=cache, levels=levels, device=chosen_device(device))
        waiting.sort(key=_order(waiting))
        with tqdm(waiting, unit="cell", disable=None, leave=False) as progress:
            for cell in progress:
                progress.set_description(f"{cell.name} on {cell.task.name}")
                record, arrays = run_cell(cell, lab, seeds=seeds)
                found[cell] = store.write(record, arrays) if store is not None else record
                tell(_line(record))
    outcome.records = [found[cell] for cell in cells]
    return outcome


def _kept(
    cell: Cell, store: Store | None, seeds: int | None, datasets: DataSets
) -> tuple[Record | None, str]:
    """The cell's record if it still answers it; else why not, "" if there is none."""
    if store is None:
        return None, ""
    try:
        record = store.find(cell.owner, cell.name, cell.task.name)
        if record is None:
            return None, ""
        wanted = identities(cell)
        if wanted["data"]["digest"] is None and record.data.get("digest") is not None:
            wanted["data"] = data_identity(cell.task.dataset, datasets(cell.task.dataset))
        why = stale(record, wanted, seeds=seeds or cell.task.replicates.seeds)
        if not why and record.status == "ok":
            store.predictions(record)
    except BenchError as error:
        return None, str(error)
    return (None, why) if why else (record, "")


def _order(cells: Iterable[Cell]) -> Callable[[Cell], tuple[int, int]]:
    """Data sets and encoders in the order in which they were first named."""
    datasets = list(dict.fromkeys(cell.task.dataset for cell in cells))
    encoders = list(dict.fromkeys(cell.name for cell in cells))
    return lambda cell: (datasets.index(cell.task.dataset), encoders.index(cell.name))


def _line(record: Record) -> str:
    what = f"{record.encoder['id']} on {record.task['id']}"
    if record.primary is None:
        return f"{what}: {record.status}: {record.reason}"
    primary, seconds = record.primary, record.measured["seconds"]["total"]
    interval = f"{primary['value']:.4f} [{primary['low']:.4f}, {primary['high']:.4f}]"
    return f"{what}: {primary['metric']} {interval} in {seconds:.1f} s"
