"""File systems, outputs and users as they are: emulated by a module that Python runs at its start."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest

from bench.cli.main import main
from bench.errors import BenchError
from bench.files import writing
from bench.files.paths import user_cache
from bench.files.writing import write_atomically
from bench.results.store import Store
from tests.kit import COMMAND, ROOT

RUN = ["run", "--task", "digits-knn", "--encoder", "pixels", "--results", "runs"]
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
        ["sh", "-c", f'exec "$@" {prefix}', "sh", sys.executable, "-c", COMMAND, *words],
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


@contextmanager
def streams(**streams: TextIO | None) -> Iterator[None]:
    """Others in place of those of `sys`; what the program puts there is closed."""
    before = {name: getattr(sys, name) for name in streams}
    for name, stream in streams.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in before.items():
            with suppress(OSError, AttributeError):
                getattr(sys, name).close()
            setattr(sys, name, stream)


def test_a_run_works_where_outputs_were_closed_when_python_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with streams(stdin=None, stdout=None, stderr=None):
        status = main(RUN)
    assert status == 0
    [record] = (tmp_path / "runs").glob("*/*/*.json")
    assert json.loads(record.read_text())["status"] == "ok"


def test_a_run_works_where_nothing_can_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115 (it cannot be closed well)
    with streams(stderr=full):
        status = main(RUN)
    with suppress(OSError):
        full.close()
    assert status == 0
    [record] = (tmp_path / "runs").glob("*/*/*.json")
    assert json.loads(record.read_text())["status"] == "ok"


@pytest.mark.parametrize("prefix", ["<&- >&- 2>&-", "2>/dev/full"])
def test_a_listing_works_without_outputs(prefix: str, tmp_path: Path) -> None:
    assert command(["list", "encoders"], tmp_path, prefix).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix",
    ["<&- >&- 2>&-", "2>/dev/full", ">&-", "2>&-", ">&- 2>&-", "2</dev/null"],
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


NAMES_OF_HOME = (
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CACHE_HOME",
    "REPTRANSFER_CACHE",
    "REPTRANSFER_DATA",
)
NOBODY = f"""
import os, pwd
def getpwuid(uid): raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = getpwuid
for name in {NAMES_OF_HOME}:
    os.environ.pop(name, None)
"""


def test_a_user_without_a_name_and_a_home_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(pwd, "getpwuid", pwd.getpwuid)  # so that it is put back
    for name in NAMES_OF_HOME:
        monkeypatch.setenv(name, "")
    exec(NOBODY, {})  # noqa: S102 (a text of this file)
    assert os.path.expanduser("~") == "~"
    assert main(RUN) == 0
    assert "accuracy" in capsys.readouterr().err
    assert not (tmp_path / "~").exists()
    assert user_cache().parent == tmp_path / "temporary"


@pytest.mark.slow
def test_a_process_of_a_user_without_a_name_and_a_home_can_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOBODY)
    done = command(RUN, tmp_path, TMPDIR=str(tmp_path / "temporary"))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert not (tmp_path / "~").exists()


def forget() -> None:
    """Clear what `bench.files.writing` has cached."""
    for cached in vars(writing).values():
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
