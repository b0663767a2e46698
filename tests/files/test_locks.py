"""Locks with and without those of the file system; owners that die, stop or are interrupted."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.files import locks
from bench.files.locks import held_by_heartbeat, locked
from tests.kit import ROOT


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_BEAT", 0.05)
    monkeypatch.setattr(locks, "_SILENCE", 0.6)


def test_a_lock_file_is_held_by_one_and_goes_with_it(tmp_path: Path, quick: None) -> None:
    path = tmp_path / "lock.held"
    with held_by_heartbeat(path, wait=False) as held:
        assert held
        assert str(os.getpid()) in path.read_text()
        time.sleep(1.0)  # longer than the silence
        with held_by_heartbeat(path, wait=False) as again:
            assert not again
    assert not path.exists()


@pytest.mark.parametrize("content", ["far 12 abc\n7\n", "", "\0\0"])
def test_the_lock_of_a_dead_process_is_taken_over(
    content: str, tmp_path: Path, quick: None
) -> None:
    path = tmp_path / "lock.held"
    path.write_text(content)
    start = time.monotonic()
    with held_by_heartbeat(path, wait=False) as held:
        assert not held
    with held_by_heartbeat(path, wait=True) as held:
        assert held
        assert time.monotonic() - start > 0.6
    assert list(tmp_path.iterdir()) == []


def test_an_owner_that_was_stopped_leaves_the_lock_of_its_follower(
    tmp_path: Path, quick: None
) -> None:
    path = tmp_path / "lock.held"
    with held_by_heartbeat(path, wait=False):
        path.write_text("far 12 abc\n0\n")
        time.sleep(0.2)
    assert path.read_text().startswith("far 12 abc\n")


def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_flock_is_used_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = tmp_path / "lock.held"
    with locked(tmp_path / "lock") as mine:
        assert mine
        held.unlink(missing_ok=True)  # the lock of the system is enough
        with locked(tmp_path / "lock", wait=False) as again:
            assert not again
        assert not held.exists()
    without_flock(monkeypatch)
    with locked(tmp_path / "lock") as mine:
        assert mine
        assert held.exists()


@pytest.mark.parametrize("first", ["with", "without"])
def test_machines_with_and_without_flock_exclude_each_other(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        with monkeypatch.context() as patch:
            if first == "without":
                without_flock(patch)
            assert stack.enter_context(locked(tmp_path / "lock", wait=False))
        with monkeypatch.context() as patch:
            if first == "with":
                without_flock(patch)
            with locked(tmp_path / "lock", wait=False) as both:
                assert not both
    with locked(tmp_path / "lock", wait=False) as free:
        assert free
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_what_a_killed_owner_with_flock_leaves_stops_nobody_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    code = """
import os, sys
from pathlib import Path
from bench.files.locks import locked
with locked(Path("lock")): os._exit(0)
"""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, check=True)
    left = (tmp_path / "lock.held").read_text() if (tmp_path / "lock.held").exists() else ""
    assert left.endswith(" flock\n0\n")
    with locked(tmp_path / "lock", wait=False) as mine:
        assert mine
        assert (tmp_path / "lock.held").read_text() != left
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    (tmp_path / "lock.held").write_text(left)
    without_flock(monkeypatch)
    with locked(tmp_path / "lock", wait=False) as mine:
        assert not mine
    start = time.monotonic()
    with locked(tmp_path / "lock") as mine:
        assert mine
        assert time.monotonic() - start > 0.6


WORKER = """
import errno, fcntl, sys, time
from pathlib import Path
from bench.files import locks
locks._BEAT, locks._SILENCE = 0.1, 1.5
def flock(*rest): raise OSError(errno.ENOLCK, "No locks available")
if sys.argv[3] == "without": fcntl.flock = flock
place = Path(sys.argv[1])
while True:
    with locks.locked(place / "lock"):
        inside = place / "inside" / sys.argv[2]
        others = [p.name for p in (place / "inside").iterdir()]
        inside.touch()
        (place / "log").open("a").write(f"{sys.argv[2]} {others}\\n")
        time.sleep(0.05)
        inside.unlink()
"""


@pytest.mark.slow
@pytest.mark.parametrize("machines", [["without"], ["with", "without"]], ids="-".join)
def test_no_two_hold_a_lock_while_processes_are_killed(machines: list[str], tmp_path: Path) -> None:
    """Four workers, on machines with or without flock; one is killed again and again, in the lock or
    waiting for it, and begun anew."""
    (tmp_path / "inside").mkdir()
    number, workers, machine = 0, {}, itertools.cycle(machines)

    def begin() -> None:
        nonlocal number
        number += 1
        workers[str(number)] = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(number), next(machine)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    for _ in range(4):
        begin()
    dead = set[str]()
    try:
        for _ in range(12):
            time.sleep(2.5)
            name, worker = next(iter(workers.items()))
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            del workers[name]
            dead.add(name)
            (tmp_path / "inside" / name).unlink(missing_ok=True)
            begin()
        time.sleep(3)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) > 50
    assert len({line.split()[0] for line in lines}) >= 4
    # The mark of one that was killed may still be there when a follower with flock comes in.
    clashes = [line for line in lines if set(re.findall(r"'(\d+)'", line)) - dead]
    assert clashes == []


def test_an_interrupt_at_the_start_of_a_heartbeat_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), held_by_heartbeat(tmp_path / "held", wait=True):
        pass
    monkeypatch.undo()
    assert not [t for t in threading.enumerate() if t.name == "heartbeat of held"]
    assert not (tmp_path / "held").exists()
