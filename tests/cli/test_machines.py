"""File systems, outputs and users as they are: emulated by a module that Python runs at its start."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import files
from bench.cli.main import main
from bench.errors import BenchError
from bench.files import locked, write_atomically
from bench.results.store import Store
from tests.kit import ROOT

RUN = ["run", "--task", "digits-knn", "--encoder", "pixels", "--results", "runs"]
CODE = "import sys; from bench.cli.main import main; raise SystemExit(main(sys.argv[1:]))"
FAULTS = {
    "a folder cannot be synced": """
import errno, os, stat
real = os.fsync
def fsync(fd):
    if stat.S_ISDIR(os.fstat(fd).st_mode): raise OSError(errno.EINVAL, "Invalid argument")
    return real(fd)
os.fsync = fsync""",
    "nothing can be synced": """
import errno, os
def fsync(fd): raise OSError(errno.ENOTSUP, "Not supported")
os.fsync = fsync""",
    "a folder cannot be opened": """
import errno, os
real = os.open
def open_(path, *rest, **options):
    if os.path.isdir(path): raise PermissionError(errno.EACCES, "Permission denied")
    return real(path, *rest, **options)
os.open = open_""",
    "no modes": """
import errno, os
def chmod(*rest, **options): raise OSError(errno.EPERM, "Operation not permitted")
os.chmod = chmod""",
    "no SIGALRM": "import signal\ndel signal.SIGALRM",
    "no locks": """
import errno, fcntl
def flock(*rest): raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock""",
    "no locks on NFS": """
import errno, fcntl
def flock(*rest): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock""",
}


def command(
    words: list[str], folder: Path, prefix: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {prefix}', "sh", sys.executable, "-c", CODE, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_run_works_while_there_is_a_fault(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    forget()
    with monkeypatch.context() as patch:
        for module, name in [(os, "fsync"), (os, "open"), (os, "chmod"), (fcntl, "flock")]:
            patch.setattr(module, name, getattr(module, name))  # so that it is put back
        patch.setattr(signal, "SIGALRM", signal.SIGALRM)
        exec(fault, {})  # noqa: S102 (a text of this file)
        for said in ("accuracy", "nothing to do"):
            assert main([*RUN, "--max-minutes", "5"]) == 0
            assert said in capsys.readouterr().err
    forget()
    assert not list((tmp_path / "runs").rglob("*.tmp"))
    assert not list((tmp_path / "runs").rglob("*.held"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_run_works_on_a_machine_with_a_fault(fault: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(fault)
    for said in ("accuracy", "nothing to do"):
        done = command([*RUN, "--max-minutes", "5"], tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert said in done.stderr
    assert not list((tmp_path / "runs").rglob("*.tmp"))
    assert not list((tmp_path / "runs").rglob("*.held"))


@pytest.mark.parametrize(
    "prefix",
    [
        "<&- >&- 2>&-",
        "2>/dev/full",
        *(
            pytest.param(p, marks=pytest.mark.slow)
            for p in (">&-", "2>&-", ">&- 2>&-", "2</dev/null")
        ),
    ],
)
def test_closed_outputs_stop_nothing(prefix: str, tmp_path: Path) -> None:
    done = command(RUN, tmp_path, prefix)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    [record] = (tmp_path / "runs").glob("*/*/*.json")
    assert json.loads(record.read_text())["status"] == "ok"


def test_a_working_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        status = main(["run", "--images", "p", "--encoder", "pixels"])
    except OSError as error:
        pytest.fail(repr(error))
    [line] = capsys.readouterr().err.splitlines()
    assert status == 2 and "reptransfer: the working folder is gone" in line


@pytest.mark.parametrize("option", ["--results", "--images", "--cache", "--data", "--semantics"])
def test_an_empty_path_is_never_taken_for_the_working_folder(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--task", "digits-knn", "--encoder", "pixels", option, ""]) == 2
    assert f"reptransfer: {option[2:]} is empty; name a" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--results", "--images", "--cache", "--data", "--task"])
def test_a_name_that_is_too_long_is_one_line(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [] if option in ("--images", "--task") else ["--task", "digits-knn"]
    try:
        status = main(["run", "--encoder", "pixels", *words, option, f"{'x' * 300}.toml"])
    except OSError as error:
        pytest.fail(repr(error)[:200])
    [*_, line] = capsys.readouterr().err.splitlines()
    assert status == 2 and line.startswith("reptransfer: ")


def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path) -> None:
    done = command(["list", "protocols"], tmp_path, ">/dev/full")
    assert done.returncode == 2
    assert "cannot write: No space left" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["list", "encoders"], ["show", "pca"], ["show", "dir/é.py"]])
def test_an_output_in_ascii_stops_nothing(words: list[str], tmp_path: Path) -> None:
    done = command(words, tmp_path, PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2)


def test_a_user_without_a_name_and_a_home_can_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("""
import os, pwd
def getpwuid(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "REPTRANSFER_CACHE", "REPTRANSFER_DATA"):
    os.environ.pop(name, None)
""")
    done = command(RUN, tmp_path, TMPDIR=str(tmp_path / "temporary"))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert not (tmp_path / "~").exists()


def forget() -> None:
    """Clear what `bench.files` has cached."""
    for cached in vars(files).values():
        getattr(cached, "cache_clear", lambda: None)()


def test_new_files_have_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    for mask in (0o022, 0o002, 0o077):
        before = os.umask(mask)
        forget()
        write_atomically(tmp_path / "file", b"")
        os.umask(before)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    forget()


def test_a_disk_that_is_full_is_still_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(BenchError, match="No space left"):
        write_atomically(tmp_path / "file", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["con", "NUL", "aux.v1", "com7", "lpt1", "pca,note=x."])
def test_names_that_windows_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    for names in [("local", name, "task"), ("local", "rows", name), (name, "rows", "task")]:
        with pytest.raises(BenchError, match="Windows"):
            Store(tmp_path).path(*names)
    Store(tmp_path).path("local", "console,dim=3", "nullable.v1")


def test_a_record_is_not_overwritten_by_one_of_another_case(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path("local", "Rows", "task")
    path.parent.mkdir(parents=True)
    stored = {"owner": "local", "encoder": {"id": "rows"}, "task": {"id": "task"}}
    path.write_text(json.dumps(stored))
    with (
        pytest.raises(BenchError, match="local/rows/task"),
        store.claimed("local", "Rows", "task"),
    ):
        raise AssertionError("it was claimed")


# --- Locks where the file system has none


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(files, "held_by_heartbeat"), "there is no lock but that of the system"
    monkeypatch.setattr(files, "_BEAT", 0.05)
    monkeypatch.setattr(files, "_SILENCE", 0.6)


def test_a_lock_file_is_held_by_one_and_goes_with_it(tmp_path: Path, quick: None) -> None:
    path = tmp_path / "lock.held"
    with files.held_by_heartbeat(path, wait=False) as held:
        assert held
        assert str(os.getpid()) in path.read_text()
        time.sleep(1.0)  # longer than the silence
        with files.held_by_heartbeat(path, wait=False) as again:
            assert not again
    assert not path.exists()


@pytest.mark.parametrize("content", ["far 12 abc\n7\n", "", "\0\0"])
def test_the_lock_of_a_dead_process_is_taken_over(
    content: str, tmp_path: Path, quick: None
) -> None:
    path = tmp_path / "lock.held"
    path.write_text(content)
    start = time.monotonic()
    with files.held_by_heartbeat(path, wait=False) as held:
        assert not held
    with files.held_by_heartbeat(path, wait=True) as held:
        assert held
        assert time.monotonic() - start > 0.6
    assert list(tmp_path.iterdir()) == []


def test_an_owner_that_was_stopped_leaves_the_lock_of_its_follower(
    tmp_path: Path, quick: None
) -> None:
    path = tmp_path / "lock.held"
    with files.held_by_heartbeat(path, wait=False):
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
from bench.files import locked
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
from bench import files
files._BEAT, files._SILENCE = 0.1, 1.5
def flock(*rest): raise OSError(errno.ENOLCK, "No locks available")
if sys.argv[3] == "without": fcntl.flock = flock
place = Path(sys.argv[1])
while True:
    with files.locked(place / "lock"):
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
