"""Many cells, one after another; each record is written as soon as it is finished.

Runs side by side take a lock for each cell (`.locks` in the results folder), which the system frees when
its owner dies.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from bench.datasets.base import DataSets
from bench.errors import Declined, printable
from bench.naming.specs import Resolved
from bench.progress import Reporter, Tell, progress
from bench.results.archive import TooLarge
from bench.results.ledger import check_ledger
from bench.results.predictions import pack, unpack
from bench.results.record import Record
from bench.results.status import CellStatus, identities, run_order, status_of
from bench.results.store import Store
from bench.running.cache import Cache
from bench.running.forecast import Cost, Forecast, estimate_text
from bench.scoring.scorer import rescored
from bench.tasks.cell import Cell

if TYPE_CHECKING:
    from bench.running.workspace import Workspace

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(slots=True)
class Outcome:
    """What a run did: the records of its cells, in order, and which of them are new; how many were fresh
    already; how many have none because time was up; predictions by cell where no store has them."""

    records: list[Record] = field(default_factory=list)
    new: list[Record] = field(default_factory=list)
    done_before: int = 0
    not_run: int = 0
    predictions: Mapping[Cell, Arrays] = field(default_factory=dict)

    def count(self, status: str) -> int:
        return sum(record.status == status for record in self.records)


def run_cells(
    cells: Sequence[Cell],
    datasets: DataSets,
    *,
    store: Store | None = None,
    cache: Cache | None = None,
    seeds: int | None = None,
    device: str | None = None,
    minutes: float | None = None,
    tell: Tell = lambda line: None,
    forecast: Callable[[], Forecast] | None = None,
) -> Outcome:
    """Run the cells that have no fresh record in `store` (None: all, kept in memory alone).

    `datasets` reads each data set once, `cache` keeps weights and features, `device` is PyTorch's name of
    one (None: a GPU where there is one). After `minutes` the
    cell at work is given up; trained weights are kept. `tell` gets a line whenever a cell is done, and
    every ten seconds one that says what is being done, how far it is, and how long it still takes: by
    `forecast`, which is asked for only where something is due. Cells of one data set and encoder follow
    each other, so that they share what is in memory; those in which an earlier run was killed come
    last, since memory may have been short; those that another run computes are waited for.

    Raises BenchError for a spec that names a missing file.
    """
    records = dict[Cell, Record]()
    specs = {id(cell.spec): cell.spec for cell in cells if cell.spec is not None}
    for spec in specs.values():
        _ = spec.identity  # raises for a file that is missing, before the first cell is run
    standing = _Standing(store, datasets, seeds)
    statuses = [standing.of(cell) for cell in cells]
    due = [status for status in statuses if status.due]
    for status in statuses:
        if not status.due and status.record is not None:
            records[status.cell] = status.record
    done_before, predictions = len(records), dict[Cell, Arrays]()
    if due:
        for reason, repeated in _again(due).items():
            first = f"{repeated[0].cell.name} on {repeated[0].cell.task.name}"
            others = f" (and {len(repeated) - 1} more)" if len(repeated) > 1 else ""
            tell(f"{first}{others} is run again: {printable(reason)[:300]}")
        if store is not None:
            store.check_writable()
            check_ledger(store)
            places = f"records in {store.root}, data root {datasets.root}"
            tell(f"{len(due)} of {len(cells)} cells to run: {places}")
        due = run_order(due, store)
        costs = (forecast() if forecast else Forecast((), ())).costs(due, seeds=seeds)
        if forecast:
            tell(f"{len(due)} cells: {estimate_text(costs)}")
        work = _Work(standing, store, datasets, cache, device, seeds, tell, predictions)
        time_is_up = threading.Event()
        with Reporter(tell) as reporter:  # outside of the limit, which could cut off its end
            try:  # around the limit: it may come before, and after, the work
                with _time_limit(minutes, time_is_up):
                    for record, cell in work.all(due, costs, reporter):
                        records[cell] = record
            except KeyboardInterrupt:
                if not time_is_up.is_set():
                    raise
    ordered = [records[cell] for cell in cells if cell in records]
    was_due = {status.cell for status in due}
    new = [records[cell] for cell in cells if cell in records and cell in was_due]
    return Outcome(ordered, new, done_before, len(cells) - len(ordered), predictions)


def _again(due: Sequence[CellStatus]) -> dict[str, list[CellStatus]]:
    """Cells that have a record already, by the reason for which it does not count."""
    by_reason: dict[str, list[CellStatus]] = {}
    for status in due:
        if status.state != "missing":
            by_reason.setdefault(status.reason, []).append(status)
    return by_reason


class _Standing:
    """How cells stand in a store. Other than `status_of` alone it builds encoders in files of the user's
    own, to see whether they still give what they gave."""

    def __init__(self, store: Store | None, datasets: DataSets, seeds: int | None) -> None:
        self.store, self.datasets, self.seeds = store, datasets, seeds
        self._built: dict[tuple[str, str], str | None] = {}

    def of(self, cell: Cell) -> CellStatus:
        status = status_of(cell, self.store, seeds=self.seeds, datasets=self.datasets)
        built = status.record.encoder.built if status.record is not None else None
        if (
            built is None
            or cell.spec is None
            or self._now(cell.spec, cell.task.dataset) in (built, "")
        ):
            return status
        return CellStatus(cell, "stale", "what its encoder's file builds has changed")

    def _now(self, spec: Resolved, dataset: str) -> str | None:
        """What the encoder builds for a data set; None where that fails, "" where the data are absent."""
        from bench.running.features import source_info
        from bench.running.trunks import built_digest

        key = (spec.training_digest, dataset)
        if key not in self._built:
            try:
                self._built[key] = built_digest(spec, source_info(self.datasets(dataset)))
            except Declined:
                self._built[key] = ""
            except Exception:  # of the user's code: the run says why
                self._built[key] = None
        return self._built[key]


@dataclass(slots=True)
class _Work:
    """The cells of one run; PyTorch comes with the first that computes something."""

    standing: _Standing
    store: Store | None
    datasets: DataSets
    cache: Cache | None
    device: str | None
    seeds: int | None
    tell: Tell
    predictions: dict[Cell, Arrays]  # of records that no store has
    _levels: set[str | None] = field(default_factory=set)  # that are read out
    _workspace: Workspace | None = None

    def all(
        self, due: Sequence[CellStatus], costs: Sequence[Cost], reporter: Reporter
    ) -> Iterator[tuple[Record, Cell]]:
        """Records as they come; first those that no other run is at."""
        self._levels = {
            status.cell.encoder.level if isinstance(status.cell.encoder, Resolved) else None
            for status in due
        }
        first = list(zip(due, costs, strict=True))
        waiting: list[tuple[CellStatus, Cost]] = []
        pace, finished = _Pace(costs), 0
        for last, group in ((False, first), (True, waiting)):
            if last and group:
                self.tell(f"waiting for another run, which computes {len(group)} of these cells")
            for status, cost in group:
                cell = status.cell
                number = f"[{finished + 1}/{len(due)}]"
                expected, rest = pace.ahead(cost)
                reporter.begin(
                    f"{number} {cell.name} on {cell.task.name}", expected=expected, rest=rest
                )
                found = self._one(status, wait=last)
                if found is None:
                    waiting.append((status, cost))
                    continue
                record, how = found
                finished += 1
                pace.finish(cost)
                self.tell(f"{number} {_line(record)}{how}")
                yield record, cell

    def _one(self, due: CellStatus, *, wait: bool) -> tuple[Record, str] | None:
        """The cell's record, and how it was made; None where another run is at it and `wait` is False."""
        cell, store = due.cell, self.store
        if store is None:
            return self._run(cell)
        with ExitStack() as claim:
            with progress("waiting for another run") if wait else nullcontext():
                claimed = claim.enter_context(
                    store.claimed(cell.owner, cell.name, cell.task.name, wait=wait)
                )
            if not claimed:
                return None
            # Meanwhile another run may have done it.
            now = self.standing.of(cell)
            if now.record is not None and not now.due:
                return now.record, ", by another run"
            if now.record is not None and now.rescored:
                return _rescored(store, cell, now.record), ": only its interval was made anew"
            return self._run(cell)

    def _run(self, cell: Cell) -> tuple[Record, str]:
        from bench.running.machine import chosen_device
        from bench.running.runner import run_cell
        from bench.running.workspace import Workspace

        if self._workspace is None:
            device = chosen_device(self.device)
            self._workspace = Workspace(
                self.datasets, cache=self.cache, levels=self._levels, device=device
            )
        record, arrays = run_cell(cell, self._workspace, seeds=self.seeds, store=self.store)
        if self.store is None:
            self.predictions[cell] = unpack(pack(arrays))  # as a store would have them
        else:
            if cell.spec is not None and cell.spec.entry.group == "local":
                places = {name: path for name, (path, _) in cell.spec.opened.items()}
                self.store.note_places(record, places)
            try:
                record = self.store.write(record, arrays)
            except TooLarge as error:
                failed = replace(record, status="failed", primary=None, reason=str(error))
                record = self.store.write(replace(failed, replicates=(), predictions=None), {})
        took = "" if record.primary is None else f" in {record.seconds['total']:.1f} s"
        return record, took


def _rescored(store: Store, cell: Cell, old: Record) -> Record:
    """The record with today's interval, as the cell run again would give it."""
    arrays = store.predictions(old)
    task = identities(cell).task
    return store.write(replace(old, task=task, primary=rescored(old, cell.task, arrays)), arrays)


class _Pace:
    """How long the cells of a run still take: their forecasts, scaled by how long those took that are
    finished."""

    def __init__(self, costs: Sequence[Cost]) -> None:
        self._ahead = sum(cost.seconds or 0.0 for cost in costs)
        self._start, self._forecast = time.perf_counter(), 0.0

    def ahead(self, cost: Cost) -> tuple[float | None, float]:
        """Seconds of the next cell, if they are known, and of all after it."""
        spent = time.perf_counter() - self._start
        # The forecast counts as much as half a minute of measured work.
        scale = (30 + spent) / (30 + self._forecast)
        expected = None if cost.seconds is None else scale * cost.seconds
        return expected, scale * max(0.0, self._ahead - (cost.seconds or 0.0))

    def finish(self, cost: Cost) -> None:
        self._ahead -= cost.seconds or 0.0
        self._forecast += cost.seconds or 0.0


@contextmanager
def _time_limit(minutes: float | None, time_is_up: threading.Event) -> Iterator[None]:
    """After `minutes` the main thread gets a KeyboardInterrupt, and `time_is_up` says why."""
    if minutes is None:
        yield
        return
    # Not by SIGINT where there is another: what a script has put into the background ignores it.
    number = getattr(signal, "SIGALRM", signal.SIGINT)  # Windows has none
    before = signal.signal(number, signal.default_int_handler)

    def stop() -> None:
        time_is_up.set()
        _thread.interrupt_main(number)

    timer = threading.Timer(60 * minutes, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(number, before)


def _line(record: Record) -> str:
    if record.primary is None:
        return f"{record.name}: {record.status}: {record.reason}"
    primary = record.primary
    interval = f"{primary.value:.4f} [{primary.low:.4f}, {primary.high:.4f}]"
    return f"{record.name}: {primary.metric} {interval}"
