"""Files that are written whole or not at all, and locks that end with their process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError

_ABANDONED = 3600.0  # seconds: no file takes as long to be written


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, to be filled; then it is synced and takes the name.

    Raises BenchError where that fails; the old file then stays as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror}; free or name another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` by way of `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def leftovers(folder: Path, pattern: str = "*", *, owned: bool = False) -> list[Path]:
    """Temporary files of `replacing` for names like `pattern`, left by processes that were killed.

    Those of the last hour, or the next by another machine's clock, may still be written and are left
    out; not where they are `owned`: their only writer would hold a lock that the caller has.
    """
    now, abandoned = time.time(), []
    for path in folder.glob(f".{pattern}.*.tmp"):
        try:
            age = now - path.stat().st_mtime
        except OSError:
            continue
        if owned or abs(age) > _ABANDONED:
            abandoned.append(path)
    return sorted(abandoned)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of the file `path`, which is made and stays; other processes wait meanwhile.

    Gives True, or False at once where another holds it and `wait` is False. The system takes it
    back when its owner ends, in whatever way. Raises BenchError where no such file can be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise BenchError(
            f"cannot lock {path}: {error.strerror}; free or name another folder"
        ) from error
    try:
        yield True
    finally:
        lock.release()
