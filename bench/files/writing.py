"""Files that are written whole or not at all, and lines that are added to one.

What a file system cannot do (sync a folder, set a mode) is done without.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from bench.errors import BenchError

ABANDONED = 3600.0  # seconds: no file takes as long to be written
LONGEST_LINE = 2**16  # bytes of a line that is added
UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


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
        with temporary.open("r+b") as file:
            _synced(file.fileno())
        with suppress(OSError):  # exFAT and CIFS have no modes
            os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)  # the file has its name already
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror}; free or name another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _synced(descriptor: int) -> None:
    """Sync a file where its file system can; a disk that is full or broken is an OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, *UNSUPPORTED):
            raise


def _sync_folder(folder: Path) -> None:
    """Sync the names of a folder; some file systems cannot, and Windows cannot open one."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@cache
def _umask() -> int:
    """Which permissions new files lack; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` by way of `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def append_line(path: Path, line: bytes, is_whole: Callable[[bytes], bool]) -> None:
    """Add `line`, which has no line end, to a file of lines, which is made where there is none; it is on
    the disk when this returns. The caller holds the file's lock.

    A last line without its end was left by a process that was killed: it gets the end where it
    `is_whole`, and else goes. Raises BenchError where the file is a link or another kind of file, or
    cannot be written; its lines are then as they were.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    flags |= sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # Windows has no O_NOFOLLOW
            raise OSError(errno.ELOOP, "it is a link")
        descriptor = os.open(path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            size = os.fstat(descriptor).st_size
            os.lseek(descriptor, max(0, size - LONGEST_LINE), os.SEEK_SET)
            last = os.read(descriptor, LONGEST_LINE).rpartition(b"\n")[2]
            start = b""
            if len(last) == LONGEST_LINE:
                raise OSError(errno.EINVAL, "its last line is too long")
            if last and is_whole(last):
                start = b"\n"
            elif last:
                size -= len(last)
                os.ftruncate(descriptor, size)
            text = start + line + b"\n"
            if os.write(descriptor, text) != len(text):  # the disk is full
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _synced(descriptor)
        finally:
            os.close(descriptor)
        if size == 0:
            _sync_folder(path.parent)
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror}; free or name another folder"
        ) from error


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
        if owned or abs(age) > ABANDONED:
            abandoned.append(path)
    return sorted(abandoned)
