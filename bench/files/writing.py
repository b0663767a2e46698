"""Files that are written whole or not at all.

What a file system cannot do (sync a folder, set a mode) is done without.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from bench.errors import BenchError

ABANDONED = 3600.0  # seconds: no file takes as long to be written
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
        # The file has its name already. Some file systems cannot sync a folder, Windows cannot open one.
        with suppress(OSError):
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


def _synced(descriptor: int) -> None:
    """Sync a file where its file system can; a disk that is full or broken is an OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, *UNSUPPORTED):
            raise


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
