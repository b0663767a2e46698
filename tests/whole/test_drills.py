"""Drills: a run is killed, stopped, without space, memory or a true clock, beside another run, over
broken files. Nothing is lost, nothing wrong, nothing silent.

Runs are processes. `serve` forks them, so that what they import is paid for once; a run is killed at
moments that are spread evenly over an undisturbed one.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.results.ledger import read_ledger
from bench.results.record import Record
from bench.results.store import LEDGER, Store
from tests.kit import ROOT
from tests.kit.boards import board_text, written

ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
}
TASKS = ("digits-knn", "digits-linear")
SMALL = ("pixels", "random_fourier,dim=32")
TRAINED = tuple(f"autoencoder,width=8~{budget}" for budget in ("250", "500", "1k"))
LARGE = (*SMALL, "pca,dim=4", "pca,dim=8", "hog,size=16", *TRAINED)
PATIENCE = 120.0  # seconds that a run may take before it counts as stuck
YEAR = 365 * 86_400
NOBODY = 65_534

# It notes its fits, and a fit lasts as long as there is a file `hold`.
HELD = '''
"""Pixels, after a fit that lasts as long as it is held."""
import time
from pathlib import Path
import torch
from bench.encoders.base import Encoder, FitReport
from bench.data.images import Input

TRAINING = "closed_form"

class Held(Encoder):
    seeded = False

    def __init__(self, huge):
        super().__init__()
        self.input, self.dims, self.huge = Input(size=(8, 8), channels=1), {"code": 64}, huge

    def taps(self, images):
        return {"code": images.flatten(1)}

    def fit(self, images, *, labels, budget, seed):
        with open("fits", "a") as file:
            file.write("fit\\n")
        while Path("hold").exists():
            time.sleep(0.01)
        if self.huge:
            torch.empty(2**38)
        return FitReport(images_seen=len(images))

def build(*, source, huge: bool = False):
    return Held(huge)
'''


# --- Runs as processes


def serve(*warm: str) -> None:
    """Fork a process for every order on standard input, and tell how it has ended where asked.

    What the encoders `warm` need is imported before.
    """
    import torch

    import bench.running.calibration
    import bench.running.workspace
    from bench.cli.main import main

    torch.set_num_threads(1)
    bench.running.workspace._WORTH = 0.0  # features are kept, however quickly they came
    bench.running.calibration.LIMIT = 0.01
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests ignore it
    with contextlib.redirect_stdout(sys.stderr):
        main(words(warm))
        for command in ("plan", "status"):
            main(others(command, warm))
        for reading in (["leaderboard", "--check", *WHERE[:2]], ["cache", "ls", *WHERE[2:]]):
            main(reading)
    gc.collect()
    gc.freeze()  # a child then copies less
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        process = os.fork()
        if process == 0:
            _obey(main, **order)
        print(process, flush=True)


def _obey(
    main: Callable[[Sequence[str]], int],
    *,
    words: Sequence[str],
    at: str,
    name: str,
    file_size: int | None = None,
    memory: int | None = None,
    nobody: bool = False,
    clock: bool = False,
    dies: tuple[int, str] | None = None,
) -> None:
    """Be that process: no file larger than `file_size`, `memory` bytes more than now, without
    rights, with a clock that jumps by a year, or one that `dies` at its nth renaming of a file,
    before or after it."""
    import resource

    status = 70
    try:
        os.chdir(at)
        for number, suffix in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}.{suffix}", os.O_WRONLY), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        if memory is not None:
            limit = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if nobody and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        if clock:
            true, jumps = time.time, itertools.cycle((0, YEAR, -YEAR))
            time.time = lambda: true() + next(jumps)
        if dies is not None:
            os.replace = _killing(os.replace, *dies)
        status = main(words)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 71
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def _killing(rename: Callable[..., None], number: int, moment: str) -> Callable[..., None]:
    """`rename`, but the nth call is the last of the process."""
    calls = itertools.count(1)

    def renamed(source: Any, target: Any) -> None:
        last = next(calls) == number
        if not last or moment == "after":
            rename(source, target)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    return renamed


@dataclass(slots=True)
class Run:
    """A process of `reptransfer`, and what it has said."""

    process: int
    server: Server
    path: Path

    def wait(self) -> int:
        """Its exit status, below 0 for a signal."""
        return int(self.server.ask({"wait": self.process}, stuck=self.process))

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.process, number)

    @property
    def out(self) -> str:
        return self.path.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self.path.with_suffix(".err").read_text()

    @property
    def finished(self) -> list[str]:
        """Encoder and task of the cells that it has run, in order."""
        return re.findall(
            r"^\[\d+/\d+\] (\S+ on \S+): \S+ .* in [0-9.]+ s$", self.err, re.MULTILINE
        )


class Server:
    """The other side of `serve`."""

    def __init__(self, folder: Path, *warm: str) -> None:
        code = f"from tests.whole.test_drills import serve; serve(*{warm!r})"
        variables = {
            k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REPTRANSFER"))
        }
        self._numbers = itertools.count()
        with (folder / "server.err").open("w") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                env={**variables, **ENVIRONMENT},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        if self._read() != "ready":
            self.close()
            pytest.fail((folder / "server.err").read_text())

    def ask(self, order: Any, *, stuck: int | None = None) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read(stuck)

    def _read(self, stuck: int | None = None) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        if not ready and stuck is not None:
            os.kill(stuck, signal.SIGKILL)
            self._process.stdout.readline()
        assert ready, "a run is stuck"
        return self._process.stdout.readline().strip()

    def start(self, words: Sequence[str], at: Path, **limits: Any) -> Run:
        at.mkdir(parents=True, exist_ok=True)
        name = f"run-{next(self._numbers)}"
        for suffix in ("out", "err"):
            (at / f"{name}.{suffix}").touch()
        process = self.ask({"words": list(words), "at": str(at), "name": name, **limits})
        return Run(int(process), self, at / name)

    def run(self, words: Sequence[str], at: Path, status: int = 0, **limits: Any) -> Run:
        """A run from its beginning to its end, which has this exit status."""
        run = self.start(words, at, **limits)
        assert run.wait() == status, run.err
        assert "Traceback" not in run.err
        return run

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


@contextlib.contextmanager
def serving(folder: Path, *warm: str) -> Iterator[Server]:
    process = Server(folder, *warm)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), *SMALL, "pca,dim=4") as process:
        yield process


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """The current folder of runs, with the encoder `held.py`."""
    folder = tmp_path / "at"
    folder.mkdir()
    (folder / "held.py").write_text(HELD)
    return folder


WHERE = ["--results", "runs", "--cache", "cache"]


def words(encoders: Sequence[str], *options: str, tasks: Sequence[str] = TASKS) -> list[str]:
    """The command that runs these encoders on these tasks."""
    named = [word for encoder in encoders for word in ("--encoder", encoder)]
    params = [word for task in tasks for word in ("--task", task)]
    return ["run", *params, *named, "--seeds", "1", *WHERE, *options]


def others(command: str, encoders: Sequence[str], *options: str) -> list[str]:
    """`plan` or `status` about the same cells."""
    return [command, *words(encoders, *options)[1:]]


def until(true: Callable[[], object]) -> None:
    """Wait for a fact."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def fits(at: Path) -> int:
    path = at / "fits"
    return len(path.read_text().splitlines()) if path.exists() else 0


# --- What is to be true afterwards


def digests(at: Path) -> dict[str, str]:
    """The digest of each record, by its place. Every record and its predictions must be whole."""
    store, arrays = Store(at / "runs"), {}
    for record in store.records():
        assert isinstance(record, Record), record
        assert record.status != "ok" or store.predictions(record)
        path = store.path(record.owner, record.encoder.id, record.task.id)
        arrays[path.relative_to(store.root).as_posix()] = record.digest
    return arrays


def board_of(at: Path) -> str:
    """The board of these records, without what was measured."""
    store = Store(at / "runs")
    with tempfile.TemporaryDirectory() as folder:
        fresh_store = Store(Path(folder))
        for record in store.records():
            assert isinstance(record, Record), record
            plain = replace(record, measured={"seconds": {"total": 1.0}})
            fresh_store.write(plain, store.predictions(record))
        return board_text(fresh_store)


def temporaries(at: Path) -> list[Path]:
    return sorted(at.rglob(".*.tmp"))


def assert_complete(server: Server, at: Path, encoders: Sequence[str]) -> None:
    """One whole record a cell, nothing more to do, the board theirs, no sign of killed runs."""
    files = {path.relative_to(at / "runs").as_posix() for path in (at / "runs").rglob("*.*")}
    records = set(digests(at))
    plain = {name for name in files if not any(p.startswith(".") for p in name.split("/"))}
    expected = {
        "leaderboard.md",
        "boards/probe.md",
        "boards/records.md",
        "page.html",
        LEDGER,
        *records,
        *(name.replace(".json", ".npz") for name in records),
    }
    pictures = {
        "plots/probe.svg",
        "plots/probe-cost.svg",
    }  # the second where all have a linear probe
    assert {n for n in plain if not (at / "runs" / n).is_dir()} - pictures == expected
    assert len(records) == len(encoders) * len(TASKS)
    assert not list(at.rglob("*.begun"))
    assert "nothing to do" in server.run(words(encoders), at).err
    assert server.run(others("status", encoders), at).out.startswith(f"{len(records)} cells: ")
    server.run(["leaderboard", "--check", "--results", "runs"], at)


def assert_looks(at: Path, cells: int, kills: int) -> None:
    """Each cell has looked; a run that was killed while it scored has looked as well, and no other."""
    ledger = read_ledger(at / "runs" / LEDGER)
    assert ledger.problems == []
    assert len({(look.encoder, look.task) for look in ledger.looks}) == cells
    assert cells <= len(ledger.looks) <= cells + kills


def assert_tidy(server: Server, at: Path) -> None:
    """The cache is whole, and what killed runs have left there goes once it is old."""
    for path in temporaries(at):
        os.utime(path, (0, 0))
    server.run(["cache", "gc", *WHERE[2:]], at)
    assert temporaries(at / "cache") == []
    entries = json.loads(server.run(["cache", "verify", *WHERE[2:], "--json"], at).out)
    assert entries and all(entry["broken"] == "" for entry in entries)


# --- Killed


@dataclass(slots=True)
class Figures:
    kills: int = 0
    grids: int = 0
    cells: int = 0  # that were finished by runs that were killed later
    temporaries: int = 0


def drill(server: Server, folder: Path, encoders: Sequence[str], kills: int) -> Figures:
    """Kill runs at random moments, each time go on, and compare what there is at the end."""
    start = time.perf_counter()
    server.run(words(encoders), folder / "undisturbed")
    seconds = time.perf_counter() - start
    expected, wanted_board = digests(folder / "undisturbed"), board_of(folder / "undisturbed")
    rng, figures = random.Random(0), Figures()
    while figures.kills < kills:
        at, ended, before = folder / f"grid{figures.grids}", False, figures.kills
        while not ended and figures.kills < kills:
            run = server.start(words(encoders), at)
            time.sleep(rng.uniform(0, seconds))
            run.kill()
            status = run.wait()
            ended = status == 0
            assert ended or status == -signal.SIGKILL, run.err
            figures.kills += not ended
            figures.cells += len(run.finished) * (not ended)
            assert digests(at).items() <= expected.items()  # what there is, is whole and right
        server.run(words(encoders), at)
        assert digests(at) == expected
        assert board_of(at) == wanted_board
        assert_looks(at, len(expected), figures.kills - before)
        figures.grids += 1
        figures.temporaries += len(temporaries(at))
    assert_complete(server, at, encoders)
    assert_tidy(server, at)
    return figures


def test_runs_that_are_killed_and_go_on_give_the_records_of_an_undisturbed_one(
    server: Server, tmp_path: Path
) -> None:
    assert drill(server, tmp_path, SMALL, kills=5).kills == 5


@pytest.mark.slow
def test_fifty_kills_lose_double_and_spoil_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server").mkdir()
    with serving(tmp_path / "server", *LARGE) as server:
        figures = drill(server, tmp_path, LARGE, kills=50)
    with capsys.disabled():
        print(f"\n{figures}")
    assert figures.kills == 50 and figures.cells >= 50


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_runs_that_are_killed_at_each_step_of_writing_go_on(
    server: Server, tmp_path: Path, moment: str
) -> None:
    """Each file that takes its name: weights, features, predictions, record, board, and the sign of
    who is at what."""
    command, steps = words(("pca,dim=4",), tasks=TASKS[:1]), 0
    server.run(command, tmp_path / "undisturbed")
    expected, text = digests(tmp_path / "undisturbed"), board_of(tmp_path / "undisturbed")
    while True:
        at = tmp_path / f"killed{steps}"
        if server.start(command, at, dies=(steps + 1, moment)).wait() == 0:
            break
        steps += 1
        assert digests(at).items() <= expected.items()
        server.run(command, at)
        assert digests(at) == expected
        assert len(temporaries(at)) <= (moment == "before")
    assert steps >= 8 and board_of(at) == text
    assert_tidy(server, at)


@pytest.mark.parametrize("waiting", [False, True], ids=["before the next", "beside the next"])
def test_the_lock_of_a_dead_owner_is_free_at_once_and_its_cell_comes_last(
    server: Server, at: Path, waiting: bool
) -> None:
    encoders = ("held.py", "pixels")
    (at / "hold").touch()
    first = server.start(words(encoders), at)
    until(lambda: fits(at))
    second = server.start(words(("pixels", "held.py")), at) if waiting else None
    if second is not None:
        until(lambda: "pixels on digits-linear" in second.err)
    (at / "hold").unlink()  # what follows is quick
    first_end = (first.kill(), first.wait())
    start = time.monotonic()
    if second is None:
        second = server.start(words(encoders), at)
    assert first_end[1] == -signal.SIGKILL and second.wait() == 0
    assert time.monotonic() - start < PATIENCE / 4
    assert second.finished[-1] == "held on digits-knn"
    assert len(second.finished) == 4
    assert_complete(server, at, encoders)


def test_a_cell_whose_run_was_killed_in_it_shows_and_is_run_last(server: Server, at: Path) -> None:
    encoders = ("held.py", "pixels", "pca,dim=4")
    (at / "hold").touch()
    first = server.start(words(encoders), at)
    until(lambda: fits(at))
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert digests(at) == {}
    planned = json.loads(server.run(others("plan", encoders, "--json"), at).out)
    assert [line["task"] for line in planned if line["encoder"] == "held"][-1] == "digits-knn"
    assert (planned[-1]["encoder"], planned[-1]["task"]) == ("held", "digits-knn")
    (at / "hold").unlink()
    assert server.run(words(encoders), at).finished[-1] == "held on digits-knn"


def test_what_a_killed_run_left_half_written_of_a_cell_goes_with_the_next(tmp_path: Path) -> None:
    """At once: only who has the lock of a cell writes there, so that nothing of it is alive."""
    store, cell = Store(tmp_path), ("reptransfer", "pixels", "digits-knn")
    folder = store.path(*cell).parent
    folder.mkdir(parents=True)
    old, new, anothers = (
        folder / f".{name}.tmp"
        for name in ("digits-knn.json.a1", "digits-knn.npz.b2", "digits-linear.json.c3")
    )
    for path in (old, new, anothers):
        path.write_bytes(b"half")
    for path in (old, anothers):
        os.utime(path, (0, 0))
    with store.claimed(*cell) as claim:
        assert claim
    assert not old.exists() and not new.exists() and anothers.exists()


# --- Two at once


def test_two_runs_at_once_share_the_work_and_lose_and_double_nothing(
    server: Server, at: Path, tmp_path: Path
) -> None:
    encoders = ("held.py", *SMALL)
    (at / "hold").touch()
    runs = [server.start(words(encoders), at) for _ in range(2)]
    # One is in the held fit, the other in another cell, perhaps in one that waits for that fit.
    until(lambda: len(list(at.rglob("*.begun"))) == 2 and fits(at))
    (at / "hold").unlink()
    assert [run.wait() for run in runs] == [0, 0]
    cells = [f"{name.removesuffix('.py')} on {task}" for name in encoders for task in TASKS]
    assert sorted(runs[0].finished + runs[1].finished) == sorted(cells)
    assert all(run.finished for run in runs)
    assert fits(at) == 1  # also the one training is shared, by two cells in two processes
    (tmp_path / "alone").mkdir()
    shutil.copy(at / "held.py", tmp_path / "alone")
    server.run(words(encoders), tmp_path / "alone")
    assert digests(at) == digests(tmp_path / "alone")
    assert board_of(at) == board_of(tmp_path / "alone")
    assert temporaries(at) == []
    assert_complete(server, at, encoders)


def test_two_runs_with_different_cells_leave_a_board_of_all(server: Server, at: Path) -> None:
    halves = (("pixels",), ("random_fourier,dim=32",))
    runs = [server.start(words(half), at) for half in halves]
    assert [run.wait() for run in runs] == [0, 0]
    assert_complete(server, at, sum(halves, ()))


# --- Stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_stopped_run_keeps_what_is_done_says_how_to_go_on_and_goes_on(
    server: Server, at: Path, number: int
) -> None:
    encoders = ("pixels", "held.py")
    (at / "hold").touch()
    run = server.start(words(encoders), at)
    until(lambda: fits(at))
    run.kill(number)
    assert run.wait() == 130
    assert run.err.splitlines()[-1] == (
        "reptransfer: stopped; finished cells are kept; the same command continues from there"
    )
    assert "Traceback" not in run.err
    assert list(digests(at)) == [f"reptransfer/pixels/{task}.json" for task in TASKS]
    assert "| pixels (control) " in (at / "runs" / "leaderboard.md").read_text()
    assert temporaries(at) == [] and not list(at.rglob("*.begun"))
    (at / "hold").unlink()
    again = server.run(words(encoders), at)
    assert again.finished == [f"held on {task}" for task in TASKS]
    assert_complete(server, at, encoders)


@pytest.mark.slow
def test_ctrl_c_stops_the_command_as_it_is_started_in_a_shell(server: Server, at: Path) -> None:
    (at / "hold").touch()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *words(("held.py",))],
            cwd=at,
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    until(lambda: fits(at))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].endswith("the same command continues from there")
    assert "Traceback" not in err


def test_when_time_is_up_the_run_ends_well_and_the_same_command_goes_on(
    server: Server, at: Path
) -> None:
    encoders = ("pixels", "held.py")
    (at / "hold").touch()
    run = server.run(words(encoders, "--max-minutes", "0.03"), at)
    remaining = 4 - len(run.finished)
    assert remaining >= 2
    assert run.err.splitlines()[-1] == (
        f"time is up: {remaining} of 4 cells are left; "
        "finished cells are kept; the same command continues from there"
    )
    assert len(digests(at)) == 4 - remaining and (at / "runs" / "leaderboard.md").exists()
    (at / "hold").unlink()
    again = server.run(words(encoders, "--max-minutes", "10"), at)
    assert len(again.finished) == remaining and "time is up" not in again.err
    assert_complete(server, at, encoders)


# --- Without space, rights or memory


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    folder = tmp_path / "tight"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_reported_in_one_line_and_after_it_the_run_goes_on(
    server: Server, at: Path, tight: Path
) -> None:
    encoders = ("pixels", "pca,dim=4")
    first = [*words(encoders[:1]), "--results", str(tight / "runs")]
    both = [*words(encoders), "--results", str(tight / "runs")]
    server.run(first, at)
    before = digests(tight)
    fill(tight / "filler")
    run = server.run(both, at, status=2)
    messages = [line for line in run.err.splitlines() if line.startswith("reptransfer: ")]
    assert messages == [run.err.splitlines()[-1]]
    # Where the disk is full to the last block, not even the lock of the cell can be made.
    assert re.match(
        r"reptransfer: cannot (write|lock) .*No space left on device; free ", messages[0]
    )
    place = "runs/.locks" if "cannot lock" in messages[0] else "runs/reptransfer/pca,dim=4"
    assert str(tight / place) in messages[0]
    assert digests(tight) == before and temporaries(tight) == []
    (tight / "filler").unlink()
    again = server.run(both, at)
    assert again.finished == [f"pca,dim=4 on {task}" for task in TASKS]
    assert len(digests(tight)) == 4


@pytest.mark.parametrize("event", ["predictions", "record"])
def test_a_file_that_cannot_be_written_whole_is_not_written_at_all(
    server: Server, at: Path, event: str
) -> None:
    encoders = ("pixels", "pca,dim=4")
    server.run(words(encoders[:1]), at)
    before, name = digests(at), f"runs/reptransfer/pixels/{TASKS[0]}"
    sizes = {
        "predictions": (at / f"{name}.npz").stat().st_size,
        "record": (at / f"{name}.json").stat().st_size,
    }
    run = server.run(words(encoders), at, status=2, file_size=sizes[event] - 300)
    assert run.err.splitlines()[-1].startswith("reptransfer: cannot write ")
    assert digests(at) == before
    assert temporaries(at) == [] and not list(at.rglob("*.begun"))
    again = server.run(words(encoders), at)
    assert again.finished == [f"pca,dim=4 on {task}" for task in TASKS]
    assert_complete(server, at, encoders)


def test_a_cache_that_is_full_is_reported_and_stops_nothing(
    server: Server, at: Path, tight: Path
) -> None:
    fill(tight / "filler")
    run = server.run([*words(("pca,dim=4",)), "--cache", str(tight)], at)
    assert "of this run are not kept" in run.err and "No space left" in run.err
    server.run(words(("pca,dim=4",)), at.parent / "fresh")
    assert digests(at) == digests(at.parent / "fresh")
    assert temporaries(tight) == []


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A folder in which everybody can write: those of pytest are its user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@contextlib.contextmanager
def only_read(folder: Path) -> Iterator[None]:
    """Meanwhile nobody but root can write there."""
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_results_folder_that_can_only_be_read_is_reported_before_any_work(
    server: Server, public: Path
) -> None:
    server.run(words(("pixels",)), public)
    before, both = digests(public), ("pixels", "pca,dim=4")
    with only_read(public / "runs"):
        run = server.run([*words(both), "--cache", "new"], public, status=2, nobody=True)
        assert len(run.err.splitlines()) == 1
        assert re.match(r"reptransfer: cannot write runs/\S+: Permission denied; free ", run.err)
        assert not (public / "new").exists() and digests(public) == before
        # What only reads goes on.
        server.run(others("status", ("pixels",)), public, nobody=True)
        server.run(others("plan", both), public, nobody=True)
        server.run(["leaderboard", "--check", "--results", "runs"], public, nobody=True)
        run = server.run(words(("pixels",)), public, nobody=True)
        assert "nothing to do" in run.err


def test_a_cache_that_can_only_be_read_is_used_and_what_it_does_not_keep_is_reported(
    server: Server, public: Path
) -> None:
    server.run(words(("pca,dim=4",)), public)
    before = digests(public)
    shutil.rmtree(public / "runs")
    with only_read(public / "cache"):
        run = server.run(words(("pca,dim=4", "pca,dim=8")), public, nobody=True)
    assert run.err.count("weights of this run are not kept") == 1
    assert before.items() < digests(public).items() and len(digests(public)) == 4


def test_a_cell_that_needs_too_much_memory_fails_alone_and_is_tried_again(
    server: Server, at: Path
) -> None:
    encoders = ("held.py,huge=true", "pixels")
    run = server.run(words(encoders), at, status=1, memory=2**31)
    assert run.finished == [f"pixels on {task}" for task in TASKS]
    stood = json.loads(server.run(others("status", encoders, "--json"), at, status=1).out)
    for cell in stood:
        assert cell["state"] == ("failed" if cell["encoder"].startswith("held") else "done")
        assert cell["state"] == "done" or "out of memory" in cell["reason"]
    assert fits(at) == 2
    again = server.run(words(encoders), at, status=1, memory=2**31)
    assert again.finished == [] and fits(at) == 4


# --- Over broken files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def flip(path: Path) -> None:
    """One bit among the numbers."""
    content = bytearray(path.read_bytes())
    content[-5 if path.suffix == ".safetensors" else 120] ^= 1
    path.write_bytes(content)


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no JSON": (".json", cut, "is no JSON"),
    "empty": (".json", lambda path: path.write_bytes(b""), "is no JSON"),
    "a later schema": (".json", edit("record/1", "record/2"), "schema 'reptransfer.record/2'"),
    "an edited score": (".json", edit('"high": 0.', '"high": 0.9'), "does not match its digest"),
    "cut predictions": (".npz", cut, "run the cell again"),
    "flipped predictions": (".npz", flip, "run the cell again"),
    "no predictions": (".npz", Path.unlink, "run the cell again"),
}


@pytest.fixture(scope="module")
def done(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended."""
    folder = tmp_path_factory.mktemp("done")
    server.run(words(("pixels", "pca,dim=4")), folder)
    return folder


@pytest.mark.parametrize(("suffix", "spoil", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_stale_left_out_and_alone_run_again(
    done: Path,
    at: Path,
    suffix: str,
    spoil: Callable[[Path], object],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from bench.cli.main import main

    def told(words: Sequence[str], status: int = 0) -> str:
        assert main(words) == status
        return capsys.readouterr().out

    encoders, where = ("pixels", "pca,dim=4"), ["--results", "runs"]
    shutil.copytree(done, at, dirs_exist_ok=True)
    monkeypatch.chdir(at)
    before, text = digests(at), board_of(at)
    spoil((at / "runs" / "reptransfer" / "pca,dim=4" / TASKS[0]).with_suffix(suffix))
    stood = json.loads(told(others("status", encoders, "--json"), status=1))
    [broken] = [cell for cell in stood if cell["state"] != "done"]
    assert (broken["encoder"], broken["task"]) == ("pca,dim=4", TASKS[0])
    assert broken["state"] == "stale" and why in broken["reason"]
    [planned] = json.loads(told(others("plan", encoders, "--json")))
    assert why in planned["why"]
    told(["leaderboard", "--check", *where], status=1)
    told(["leaderboard", *where])
    left_out = written(at / "runs").rpartition("## Left out")[2]
    # For the board a record without predictions is one that reports its scores.
    assert ("no predictions are stored" if spoil is Path.unlink else why) in left_out
    assert str(at) not in left_out
    told(["leaderboard", "--check", *where])
    capsys.readouterr()
    assert main(words(encoders)) == 0
    err = capsys.readouterr().err
    assert re.findall(r"^\[\d+/\d+\] (\S+ on \S+): \S+ .* in [0-9.]+ s$", err, re.MULTILINE) == [
        f"pca,dim=4 on {TASKS[0]}"
    ]
    assert "is run again: " in err and why in err
    assert digests(at) == before and board_of(at) == text
    told(others("status", encoders))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["weights", "features"])
def test_a_flipped_bit_in_the_cache_is_reported_and_what_it_held_made_anew(
    server: Server, at: Path, kind: str
) -> None:
    encoders = ("pca,dim=4", "random_fourier,dim=32")
    server.run(words(encoders), at)
    before, files = digests(at), sorted((at / "cache" / kind).glob("*.safetensors"))
    assert len(files) >= 2
    contents = {path: path.read_bytes() for path in files}
    for path in files:
        flip(path)
    shutil.rmtree(at / "runs")
    run = server.run(words(encoders), at)
    assert run.err.count(
        "is broken (its digest does not match); its content is computed anew"
    ) == len(files)
    assert digests(at) == before
    if kind == "weights":  # features tell how long they took
        tensors = {path: path.read_bytes()[-64:] for path in files}
        assert tensors == {path: content[-64:] for path, content in contents.items()}
    server.run(["cache", "verify", "--cache", "cache"], at)


# --- Without a true clock


def test_a_clock_that_jumps_by_a_year_moves_no_number_and_stops_nothing(
    server: Server, at: Path
) -> None:
    server.run(words(SMALL), at.parent / "true")
    shaken = server.run(words(SMALL), at, clock=True)
    assert len(shaken.finished) == 2 * len(SMALL)
    assert digests(at) == digests(at.parent / "true")
    assert temporaries(at) == []
    assert_complete(server, at, SMALL)
    server.run(["cache", "gc", "--cache", "cache"], at, clock=True)
    server.run(["cache", "ls", "--cache", "cache"], at, clock=True)
    server.run(["cache", "verify", "--cache", "cache"], at, clock=True)


@pytest.mark.parametrize("ahead", [0.0, 5.0, 600.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_being_written_is_left_alone_by_clocks_that_differ_a_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float, sign: int
) -> None:
    """Another machine's clock, or this one's set right a moment ago."""
    from bench.files.writing import leftovers, replacing
    from bench.running.cache import Cache

    true = time.time
    with replacing(tmp_path / "weights" / "a.safetensors") as live:
        live.write_bytes(b"half")
        monkeypatch.setattr(time, "time", lambda: true() + sign * ahead)
        assert leftovers(live.parent) == []
        assert Cache(tmp_path).collect() == []
        assert live.exists()


def test_a_clock_that_was_wrong_keeps_the_cache_within_its_bound(tmp_path: Path) -> None:
    import numpy as np

    from bench.running.cache import Cache

    cache = Cache(tmp_path, most_bytes=3500)
    arrays = {"x": np.zeros(100)}  # about 1,000 bytes
    for key, years in (("old", -1), ("new", 1)):
        cache.put("weights", key, arrays, {})
        time_used = time.time() + years * YEAR
        os.utime(cache.path("weights", key), (time_used, time_used))
    for key in "abc":
        cache.put("weights", key, arrays, {})
        assert cache.get("weights", key) is not None  # what was put last has stayed
        assert sum(entry.size for entry in cache.entries()) <= 3500
    assert cache.get("weights", "old") is None


def test_a_store_that_another_clock_has_written_is_read(server: Server, at: Path) -> None:
    server.run(words(("pixels",)), at)
    for path in (at / "runs").rglob("*.*"):
        os.utime(path, (time.time() + YEAR,) * 2)
    assert "nothing to do" in server.run(words(("pixels",)), at).err
