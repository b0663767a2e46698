"""Files that are read within limits and written whole or not at all; locks that end with their process.

What a file system cannot do (sync a folder, set a mode, lock) is done without or in another way.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import socket
import stat
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

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


def read_bytes(
    path: Path, form: str = "text", *, most: int = _MOST_TEXT, links: bool = True
) -> bytes:
    """The content of a regular file of at most `most` bytes; where not `links`, no link to one either.

    A file from somebody else may be a link, a pipe that never ends or a device: nothing of it is opened.
    Raises BenchError, which calls the file by `path` and its `form`.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        facts = os.stat(path, follow_symlinks=links)
        if stat.S_ISREG(facts.st_mode) and facts.st_size <= most:
            descriptor = os.open(path, flags | (0 if links else getattr(os, "O_NOFOLLOW", 0)))
            with open(descriptor, "rb") as file:
                facts = os.fstat(descriptor)  # of what was opened
                if stat.S_ISREG(facts.st_mode) and facts.st_size <= most:
                    return file.read(facts.st_size)
    except FileNotFoundError:
        raise BenchError(f"no file {str(path)!r}") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read as {form}: {error.strerror}") from error
    except ValueError as error:  # a path with a NUL
        raise BenchError(f"{str(path)!r} cannot be read as {form}: {error}") from error
    if stat.S_ISREG(facts.st_mode):
        problem = f"it has {facts.st_size} bytes; at most {most} are read"
    else:
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link"}
        problem = (
            f"it is {kinds.get(stat.S_IFMT(facts.st_mode), 'not a regular file')}; name a file"
        )
    raise BenchError(f"{path} cannot be read as {form}: {problem}")


def left_by_download(start: bytes) -> str:
    """What a download leaves in place of a binary file that starts with these bytes (256 will do), and
    what to do; "" for none of that.

    >>> left_by_download(b"<html>"), left_by_download(b"\\x89PNG")
    ('a web page or another text; fetch the file itself', '')
    """
    if not start:
        return "empty; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer to the file and not the file; fetch it with `git lfs pull`"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{"):
        return "a web page or another text; fetch the file itself"
    return ""


def read_text(path: Path, form: str = "text", *, most: int = _MOST_TEXT, links: bool = True) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 as `text_encoding` tells, without a byte order
    mark; line ends become "\n". Raises BenchError as `read_bytes` does, and for what is not such text."""
    content = read_bytes(path, form, most=most, links=links)
    try:
        text = content.decode(text_encoding(content[:4]))
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path} cannot be read as {form}: byte {error.start} is not {error.encoding.upper()}; save "
            "it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, *, most: int, values: int = 10**6) -> Any:
    """The value of a JSON file in UTF-8, which may come from anybody: no link, at most `most` bytes (a
    fourth of that where it is not ASCII: in memory a character may take four) and about `values` values,
    no key twice in an object, no NaN or infinity. Raises BenchError for any other file."""
    content = read_bytes(path, "JSON", most=most, links=False)
    if sum(map(content.count, (b",", b"[", b"{"))) > values:
        raise BenchError(f"{path} is no JSON of a size that is read: at most {values} values are")
    if len(content) > most // 4 and not content.isascii():
        raise BenchError(
            f"{path} is no JSON of a size that is read: write other letters as \\uXXXX"
        )
    try:
        text = content.decode("utf-8")
        del content
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise BenchError(
            f"{path} is no JSON that is read: its brackets are nested too deeply"
        ) from None
    except ValueError as error:
        raise BenchError(f"{path} is no JSON: {_without_advice(error)}") from error


def read_toml(path: Path, *, most: int, links: bool = True) -> dict[str, Any]:
    """The table of a TOML file of at most `most` bytes. Raises BenchError for any other file, for numbers
    of thousands of digits, and for keys or brackets that no file of ours has and that take very long."""
    import tomllib  # not at the top: `list` needs none

    text = read_text(path, "TOML", most=most, links=links)
    try:
        if max(text.count("["), text.count("=")) > _MOST_MARKS:
            raise ValueError(f"more than {_MOST_MARKS} keys or brackets")
        if _LONG_KEY.search(text):
            raise ValueError("a key of very many parts")
        table = tomllib.loads(text)
        _check_integers(table)
    except RecursionError:
        raise BenchError(
            f"{path} cannot be read as TOML: its brackets are nested too deeply"
        ) from None
    except ValueError as error:
        raise BenchError(f"{path} cannot be read as TOML: {_without_advice(error)}") from error
    return table


# tomllib takes seconds for more of them, and minutes and gigabytes for one key of 50,000 parts.
_MOST_MARKS = 30_000
_KEY_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_LONG_KEY = re.compile(rf"""(?<![\w"'-])(?:{_KEY_PART}){{5}}""", re.ASCII)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values of one key a reader sees the first and a program the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r:.80} is there twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}")


def _check_integers(value: Any) -> None:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_integers(part)
    elif isinstance(value, int) and value.bit_length() > 13_000:  # hexadecimal ones have no limit
        raise ValueError("a number has too many digits")


def _without_advice(error: ValueError) -> str:
    """Python's words; where a number has too many digits they speak to programmers."""
    return "a number has too many digits" if "int_max_str_digits" in str(error) else str(error)


def user_cache() -> Path:
    """The user's cache folder; a temporary one for a user without a home folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return Path(tempfile.gettempdir()) / f"cache-{user}"
    return Path(base)


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
        if error.errno not in (errno.EINVAL, *_UNSUPPORTED):
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
        if owned or abs(age) > _ABANDONED:
            abandoned.append(path)
    return sorted(abandoned)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of the file `path`, which is made and stays; other processes wait meanwhile.

    Gives True, or False at once where another holds it and `wait` is False. The system takes it
    back when its owner ends, in whatever way. `held_by_heartbeat` stands for it on machines where the file
    system has no locks; they may share the folder with others. Raises BenchError where no such file can be
    made.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            heartbeat = path.with_name(path.name + ".held")
            for file in (path, heartbeat):
                _require_file(file)
            flock = _has_flock(path)
            if flock:
                stack.enter_context(FileLock(path, timeout=-1 if wait else 0))
            held = stack.enter_context(held_by_heartbeat(heartbeat, wait=wait, flock=flock))
        except Timeout:
            held = False
        except OSError as error:
            raise _cannot_lock(path, error) from error
        yield held


def folder_path(value: object, name: str) -> Path:
    """`value` of the argument `name` as a path. Raises BenchError for what is none."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise BenchError(f"{name}={value!r}: must be the path of a folder")
    return Path(os.path.expanduser(os.fsdecode(value)))


def _require_file(path: Path) -> None:
    """Raise BenchError where a lock is anything but a file: a checkout may have a link there to any file,
    which locking would make or empty."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise BenchError(f"cannot lock {path}: it is a link or no file; remove it")


def _cannot_lock(path: Path, error: OSError) -> BenchError:
    return BenchError(f"cannot lock {path}: {error.strerror}; free or name another folder")


_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def _has_flock(path: Path) -> bool:
    """Does the file system of `path`, which is made, lock files? Some of NFS and Lustre do not."""
    try:
        import fcntl
    except ImportError:  # Windows locks in another way, always
        return True
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):  # else it is locked, and so can be
            raise
    finally:
        os.close(descriptor)
    return True


# --- Locks for machines where the system has none

_FLOCK = " flock"  # ends the first line of an owner who has the lock of the system too
_BEAT = 5.0  # seconds between signs of life
_SILENCE = 60.0  # seconds without one, by the watch of who waits: then the owner counts as dead


@contextmanager
def held_by_heartbeat(path: Path, *, wait: bool, flock: bool = False) -> Iterator[bool]:
    """`locked` by a file that exists while the lock is held: it names the host and process of the owner,
    who writes a count into it every few seconds. After a minute without, a waiting process takes over;
    an owner that was stopped for as long finds out by the name, and leaves the file alone.

    flock: the caller has the lock of the system. An owner who had it before has ended: its file is taken
    over at once.
    """
    token = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}{_FLOCK if flock else ''}"
    try:
        while not (made := _made(path, token) or (flock and _inherited(path, token))) and wait:
            _outwait(path)
    except OSError as error:
        raise _cannot_lock(path, error) from error
    if not made:
        yield False
        return
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(_BEAT) and _owner(_content(path)) == token:
            count += 1
            with suppress(OSError):
                _write(path, "r+", token, count)  # never made anew

    heart = threading.Thread(target=beat, daemon=True, name=f"heartbeat of {path.name}")
    try:
        heart.start()  # may be interrupted after the thread has begun
        yield True
    finally:
        ended.set()
        if heart.ident is not None:
            heart.join()
        if _owner(_content(path)) == token:
            path.unlink(missing_ok=True)


def _made(path: Path, token: str) -> bool:
    """Make the lock file; False where it exists."""
    try:
        _write(path, "x", token, 0)
    except FileExistsError:
        return False
    except OSError:  # as on a full disk: an empty one would count as another's
        path.unlink(missing_ok=True)
        raise
    return True


def _inherited(path: Path, token: str) -> bool:
    """Take over the lock file of an owner who had the lock of the system; False where it is another's."""
    if not _owner(_content(path)).endswith(_FLOCK):
        return False
    with suppress(FileNotFoundError):  # removed just then by one who waited for it to beat
        _write(path, "r+", token, 0)
    return _owner(_content(path)) == token


def _write(path: Path, mode: str, token: str, count: int) -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.write(f"{token}\n{count}\n")


def _content(path: Path) -> str | None:
    """What a lock file says now; None where there is none. Opening it anew asks the server, while its
    times may come from a cache."""
    try:
        return read_bytes(path, "a lock", most=10_000, links=False).decode(errors="replace")
    except BenchError:
        return "" if os.path.lexists(path) else None  # no lock of ours: it falls silent


def _owner(content: str | None) -> str:
    return (content or "").partition("\n")[0]


def _outwait(path: Path) -> None:
    """Wait until the lock is free, by its owner or after its silence."""
    content, since = _content(path), time.monotonic()
    while content is not None:
        time.sleep(min(1.0, _SILENCE / 10))
        last, content = content, _content(path)
        if content != last:
            since = time.monotonic()
        elif time.monotonic() - since > _SILENCE:
            # One of those who wait removes it: another's new lock must not go.
            removal = path.with_name(path.name + ".removal")
            if _made(removal, ""):
                if _content(path) == content:
                    path.unlink(missing_ok=True)
                removal.unlink(missing_ok=True)
                return
            with suppress(OSError):  # left by a process that was killed just then
                if time.time() - removal.stat().st_mtime > _ABANDONED:
                    removal.unlink(missing_ok=True)
            since = time.monotonic()
