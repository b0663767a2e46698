"""Files that are written whole or not at all, and locks that end with their process."""

from __future__ import annotations

import codecs
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError

_MOST_TEXT = 2**28  # bytes of a text file that is read whole
_ABANDONED = 3600.0  # seconds: no file takes as long to be written


def text_encoding(start: bytes) -> str:
    """The encoding of a text that starts with these bytes (four will do): UTF-16 or UTF-32 by its byte
    order mark, UTF-16 without one where one of the first two bytes is 0, else UTF-8 with or without one.

    >>> text_encoding(b"\\xff\\xfea\\0"), text_encoding(b"a\\0b\\0"), text_encoding(b"ab")
    ('utf-16', 'utf-16-le', 'utf-8-sig')
    """
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) > 1 and (start[0] == 0) != (start[1] == 0):
        return "utf-16-be" if start[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def read_text(path: Path, form: str = "text") -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 as `text_encoding` tells, without a byte order
    mark; line ends become "\\n".

    Raises BenchError, which calls the file by `path` and its `form`, for one that is missing, is no
    regular file, is larger than 256 MB, cannot be read, or is not such text.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "not a regular file"
            raise BenchError(f"{path} cannot be read as {form}: it is {kind}; name a file")
        if facts.st_size > _MOST_TEXT:
            raise BenchError(
                f"{path} cannot be read as {form}: it has {facts.st_size} bytes; at most {_MOST_TEXT} are "
                "read"
            )
        content = path.read_bytes()
        text = content.decode(text_encoding(content[:4]))
    except FileNotFoundError:
        raise BenchError(f"no file {str(path)!r}") from None
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path} cannot be read as {form}: byte {error.start} is not {error.encoding.upper()}; save "
            "it as UTF-8"
        ) from error
    except OSError as error:
        raise BenchError(f"{path} cannot be read as {form}: {error.strerror}") from error
    except ValueError as error:  # a path with a NUL
        raise BenchError(f"{str(path)!r} cannot be read as {form}: {error}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


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


def folder_path(value: object, name: str) -> Path:
    """`value` of the argument `name` as a path. Raises BenchError for what is none."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise BenchError(f"{name}={value!r}: must be the path of a folder")
    return Path(os.fsdecode(value)).expanduser()
