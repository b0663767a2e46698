"""Many cells in one run: their order, what is kept when it stops, and concurrent runs."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.status import STATISTICS, _task_digest, status_of
from bench.results.store import Store
from bench.running.cache import Cache
from bench.running.executor import Outcome, run_cells
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import TOYS

# Fits are noted in the file `fits`; `fault` is what happens in them while there is no file `mended`.
TOY = '''
"""Pixels, after a fit that is noted and may go wrong."""
import time
from pathlib import Path
from bench.encoders.base import Encoder, FitReport
from bench.data.images import Input

TRAINING = "closed_form"

class Toy(Encoder):
    seeded = False

    def __init__(self, source, number, fault):
        super().__init__()
        self.input = Input(size=(source.height, source.width), channels=source.channels)
        self.dims = {"code": source.channels * source.height * source.width}
        self.number, self.fault = number, fault

    def taps(self, images):
        return {"code": images.flatten(1)}

    def fit(self, images, *, labels, budget, seed):
        with open("fits", "a") as file:
            file.write(f"{self.number}\\n")
        if not Path("mended").exists():
            if self.fault == "slow":
                until = time.monotonic() + 20
                while time.monotonic() < until and not Path("mended").exists():
                    time.sleep(0.01)
            elif self.fault == "memory":
                raise MemoryError
            elif self.fault == "cpu":
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: "
                                   "can't allocate memory: you tried to allocate 1 bytes.\\nMore")
            elif self.fault == "gpu":
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            elif self.fault == "interrupt":
                raise KeyboardInterrupt
            elif self.fault == "error":
                raise ZeroDivisionError("by none")
        return FitReport(images_seen=len(images))

def build(*, source, number: int = 0, fault: str = ""):
    return Toy(source, number, fault)
'''


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """As in a terminal, also where the tests themselves run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def task(name: str = "toy", dataset: str = "quadrants", **changes: Any) -> Task:
    options = {
        "name": name,
        "family": "probe",
        "dataset": f"{TOYS / dataset.partition(',')[0]}.py{dataset[len('quadrants') :]}",
        "targets": ("label",),
        "protocol": f"{TOYS / 'means'}.py",
        "chance": 0.25,
        "primary": Primary(target="label"),
        "replicates": Replicates(seeds=1),
        **changes,
    }
    return Task(**options)


def toys(cwd: Path, *arguments: str) -> list[Any]:
    return [resolve("encoders", f"{cwd / 'toy.py'}{text}") for text in arguments]


def grid(encoders: Sequence[Any], *tasks: Task) -> list[Cell]:
    return [Cell(question, encoder) for question in tasks or [task()] for encoder in encoders]


def run(cells: Sequence[Cell], cwd: Path, store: Store | None, **options: Any) -> Outcome:
    return run_cells(cells, DataSets(cwd), store=store, **options)


def names(outcome: Outcome) -> list[tuple[str, str]]:
    return [(record.encoder.id, record.task.id) for record in outcome.records]


def states(outcome: Outcome) -> list[str]:
    return [record.status for record in outcome.records]


def fits(cwd: Path) -> list[int]:
    """The numbers of the encoders in the order in which they were fitted."""
    path = cwd / "fits"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def done(lines: Sequence[str]) -> list[str]:
    """The told lines that a finished cell gives."""
    return [line for line in lines if " on " in line and line.endswith(" s")]


# --- Order and count


def test_cells_of_one_data_set_and_encoder_follow_each_other_and_records_come_as_requested(
    cwd: Path, store: Store
) -> None:
    first, second = task("b"), task("a", "quadrants,partial=true", replicates=Replicates(seeds=2))
    cells = grid(toys(cwd, ",number=2", ",number=1"), first, second, task("c"))
    lines: list[str] = []
    outcome = run(cells, cwd, store, tell=lines.append)
    assert names(outcome) == [(cell.name, cell.task.name) for cell in cells]
    assert set(states(outcome)) == {"ok"}
    assert [line.partition(":")[0] for line in done(lines)] == [
        "[1/6] toy,number=2 on b",
        "[2/6] toy,number=2 on c",
        "[3/6] toy,number=1 on b",
        "[4/6] toy,number=1 on c",
        "[5/6] toy,number=2 on a",
        "[6/6] toy,number=1 on a",
    ]
    assert fits(cwd) == [2, 1, 2, 1]  # one fit serves the tasks of a data set


def test_what_is_fresh_is_not_run_again_and_is_counted(cwd: Path, store: Store) -> None:
    encoders = toys(cwd, "", ",number=1", ",number=2")
    before = run(grid(encoders[:1]), cwd, store)
    outcome = run(grid(encoders), cwd, store)
    assert (before.done_before, outcome.done_before, outcome.not_run) == (0, 1, 0)
    assert outcome.records[0] == before.records[0]
    assert fits(cwd) == [0, 1, 2]
    again = run(grid(encoders), cwd, store)
    assert (again.done_before, again.records) == (3, outcome.records)
    assert fits(cwd) == [0, 1, 2]


def test_without_a_store_all_is_run_and_kept_in_memory_alone(cwd: Path) -> None:
    cells = grid(toys(cwd, "", ",number=1"))
    outcome = run(cells, cwd, None)
    assert states(outcome) == ["ok", "ok"]
    assert sorted(path.name for path in cwd.iterdir()) == ["fits", "toy.py"]
    assert run(cells, cwd, None).done_before == 0
    assert fits(cwd) == [0, 1, 0, 1]


def test_more_seeds_run_the_cell_again_and_fewer_do_not(cwd: Path, store: Store) -> None:
    cells, lines = grid(toys(cwd, "")), list[str]()
    run(cells, cwd, store, seeds=2)
    assert run(cells, cwd, store, seeds=1).done_before == 1
    outcome = run(cells, cwd, store, seeds=3, tell=lines.append)
    assert outcome.done_before == 0 and len(outcome.records[0].replicates) == 3
    assert "is run again: it has 2 of 3 seeds" in lines[0]


def test_a_results_folder_that_cannot_be_written_is_reported_before_any_work(cwd: Path) -> None:
    (cwd / "file").write_text("mine")
    with pytest.raises(BenchError, match="cannot write"):
        run(grid(toys(cwd, "")), cwd, Store(cwd / "file"))
    assert fits(cwd) == []


def test_a_record_whose_interval_alone_is_old_is_made_anew_without_computing(
    cwd: Path, store: Store
) -> None:
    [cell] = cells = grid(toys(cwd, ""))
    [record] = run(cells, cwd, store).records
    digest = _task_digest(cell.task, STATISTICS - 1)
    older = replace(record, task=replace(record.task, digest=digest))
    old = store.write(older, store.predictions(record))
    now = status_of(cell, store)
    assert (now.state, now.rescored) == ("stale", True)
    lines: list[str] = []
    [new] = run(cells, cwd, store, tell=lines.append).records
    assert fits(cwd) == [0] and done(lines) == []
    assert "made anew from its predictions" in lines[0]
    assert new.task != old.task and new.primary == old.primary
    assert status_of(cell, store).state == "done"


# --- A run that is stopped


def test_after_an_interrupt_finished_cells_are_kept_and_the_next_run_goes_on(
    cwd: Path, store: Store
) -> None:
    cells = grid(toys(cwd, ",number=1", ",number=2,fault=interrupt", ",number=3"))
    with pytest.raises(KeyboardInterrupt):
        run(cells, cwd, store)
    assert [path.parent.name for path in store.paths()] == ["toy,number=1"]
    # Whoever stopped it meant no harm: it keeps its place.
    assert not any(store.was_killed(cell.owner, cell.name, cell.task.name) for cell in cells)
    (cwd / "mended").touch()
    outcome = run(cells, cwd, store)
    assert (states(outcome), outcome.done_before) == (["ok"] * 3, 1)
    assert fits(cwd) == [1, 2, 2, 3]


def test_when_time_is_up_finished_cells_are_kept_and_the_next_run_goes_on(
    cwd: Path, store: Store
) -> None:
    cells = grid(toys(cwd, ",number=1", ",number=2,fault=slow", ",number=3"))
    run(cells[:1], cwd, None)  # so that the next time it takes no second
    (cwd / "fits").unlink()
    outcome = run(cells, cwd, store, minutes=1.5 / 60)
    assert (states(outcome), outcome.not_run, outcome.done_before) == (["ok"], 2, 0)
    assert not any(store.was_killed(cell.owner, cell.name, cell.task.name) for cell in cells)
    (cwd / "mended").touch()
    outcome = run(cells, cwd, store, minutes=10)
    assert (states(outcome), outcome.not_run, outcome.done_before) == (["ok"] * 3, 0, 1)
    assert fits(cwd) == [1, 2, 2, 3]


@pytest.mark.parametrize("minutes", [0.0, 1e-9, 1e-6])
def test_no_time_at_all_is_time_that_is_up_and_no_interrupt(
    cwd: Path, store: Store, minutes: float
) -> None:
    try:
        outcome = run(grid(toys(cwd, ",fault=slow")), cwd, store, minutes=minutes)
    except KeyboardInterrupt:  # it would end the tests
        pytest.fail("the limit came before it was listened to")
    assert (outcome.records, outcome.not_run) == ([], 1)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name == "progress" or name.startswith("heartbeat")]


def test_time_that_is_left_interrupts_nothing_later(cwd: Path, store: Store) -> None:
    run(grid(toys(cwd, "")), cwd, store, minutes=5)
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(10)
            assert not thread.is_alive()


def test_time_is_up_also_where_interrupts_are_ignored(cwd: Path, store: Store) -> None:
    """So they are for what a script has put into the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    mended = threading.Timer(1.5, (cwd / "mended").touch)
    mended.start()
    outcome = run(grid(toys(cwd, ",fault=slow", ",number=1")), cwd, store, minutes=0.5 / 60)
    mended.join()
    assert outcome.not_run == 2


def test_time_is_up_also_while_another_run_is_waited_for(cwd: Path, store: Store) -> None:
    [held] = cells = grid(toys(cwd, ""))
    claimed, ended = threading.Event(), threading.Event()

    def other() -> None:
        with store.claimed(held.owner, held.name, held.task.name):
            claimed.set()
            ended.wait(60)

    worker = threading.Thread(target=other, daemon=True)
    worker.start()
    assert claimed.wait(60)
    outcome = run(cells, cwd, store, minutes=0.5 / 60)
    ended.set()
    worker.join(60)
    assert (outcome.not_run, fits(cwd)) == (1, [])
    assert states(run(cells, cwd, store)) == ["ok"]


# --- Cells of other runs, and of runs that were killed


def test_cells_that_another_run_is_at_come_last_and_are_waited_for(cwd: Path, store: Store) -> None:
    cells, lines = grid(toys(cwd, "", ",number=1", ",number=2")), list[str]()
    held, outcomes = cells[0], list[Outcome]()
    reported = threading.Event()

    def tell(line: str) -> None:
        lines.append(line)
        if "waiting for another run" in line:
            reported.set()

    worker = threading.Thread(
        target=lambda: outcomes.append(run(cells, cwd, store, tell=tell)), daemon=True
    )
    with store.claimed(held.owner, held.name, held.task.name) as claim:
        assert claim
        worker.start()
        assert reported.wait(60)
        assert len(done(lines)) == 2
        assert lines[-1] == "waiting for another run, which computes 1 of these cells"
        worker.join(0.3)
        assert worker.is_alive() and fits(cwd) == [1, 2]
    worker.join(60)
    assert states(outcomes[0]) == ["ok"] * 3
    assert fits(cwd) == [1, 2, 0]


def test_what_another_run_has_done_meanwhile_is_taken_and_not_computed(
    cwd: Path, store: Store
) -> None:
    cells = grid(toys(cwd, "", ",number=1"))
    held, outcomes, reported = cells[0], list[Outcome](), threading.Event()

    def tell(line: str) -> None:
        if "waiting for another run" in line:
            reported.set()

    def work() -> None:
        outcomes.append(run(cells, cwd, store, tell=tell))

    worker = threading.Thread(target=work, daemon=True)
    elsewhere = Store(cwd / "elsewhere")
    [record] = run([held], cwd, elsewhere).records
    with store.claimed(held.owner, held.name, held.task.name):
        worker.start()
        assert reported.wait(60)
        written = store.write(record, elsewhere.predictions(record))
    worker.join(60)
    assert outcomes[0].records[0] == written
    assert fits(cwd) == [0, 1]


def killed(store: Store, cell: Cell) -> None:
    """What a run leaves that dies in `cell`."""
    begun = store._begun(cell.owner, cell.name, cell.task.name)
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()


def test_cells_in_which_a_run_was_killed_come_last_and_only_once(cwd: Path, store: Store) -> None:
    cells = grid(toys(cwd, "", ",number=1", ",number=2"))
    killed(store, cells[0])
    run(cells[:2], cwd, store)
    assert fits(cwd) == [1, 0]
    assert not store.was_killed(cells[0].owner, cells[0].name, cells[0].task.name)
    killed(store, cells[0])  # done since: what lies there of an older run moves nothing
    outcome = run(cells, cwd, store)
    assert (outcome.done_before, fits(cwd)) == (2, [1, 0, 2])


# --- Cells that break


@pytest.mark.parametrize("fault", ["memory", "cpu", "gpu"])
@pytest.mark.parametrize("cached", [False, True])
def test_out_of_memory_in_one_cell_leaves_the_others_and_is_tried_again(
    cwd: Path, store: Store, fault: str, cached: bool
) -> None:
    cache = Cache(cwd / "cache") if cached else None
    cells = grid(toys(cwd, "", f",number=1,fault={fault}", ",number=2"), task("a"), task("b"))
    outcome = run(cells, cwd, store, cache=cache)
    assert states(outcome) == ["ok", "failed", "ok"] * 2
    for record in (outcome.records[1], outcome.records[4]):
        assert str(record.reason).startswith("out of memory (")
        assert str(record.reason).endswith("or use a smaller image size, dimension or data set")
        assert len(str(record.reason).splitlines()) == 1
    assert not any(store.was_killed(cell.owner, cell.name, cell.task.name) for cell in cells)
    (cwd / "mended").touch()
    lines: list[str] = []
    again = run(cells, cwd, store, cache=cache, tell=lines.append)
    assert (states(again), again.done_before) == (["ok"] * 6, 4)
    assert len(done(lines)) == 2 and "is run again: out of memory" in lines[0]
    fresh = run(cells, cwd, Store(cwd / "undisturbed"))
    assert [r.digest for r in again.records] == [r.digest for r in fresh.records]


def test_predictions_too_large_to_be_read_fail_their_cell_alone(
    cwd: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.results.archive.MOST", 100)
    outcome = run(grid(toys(cwd, ""), task("a"), task("b")), cwd, store)
    assert states(outcome) == ["failed", "failed"]
    assert "are the most that are read; let the task have fewer" in outcome.records[0].reason
    assert store.readable() == outcome.records and not list(store.root.rglob("*.npz"))


def test_a_cell_that_breaks_is_kept_with_its_reason_and_tried_again(
    cwd: Path, store: Store
) -> None:
    cells = grid(toys(cwd, ",fault=error", ",number=1"))
    outcome = run(cells, cwd, store)
    assert states(outcome) == ["failed", "ok"] and outcome.count("failed") == 1
    assert outcome.records[0].reason == "ZeroDivisionError: by none"
    stored = json.loads(store.path("local", "toy,fault=error", "toy").read_text())
    assert stored["reason"] == outcome.records[0].reason
    (cwd / "mended").touch()
    assert states(run(cells, cwd, store)) == ["ok", "ok"]
    assert fits(cwd) == [0, 1, 0]
