"""Locks that end with their process, also where the file system has none."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.errors import BenchError
from bench.files.reading import read_bytes
from bench.files.writing import ABANDONED, UNSUPPORTED


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


def _require_file(path: Path) -> None:
    """Raise BenchError where a lock is anything but a file: a checkout may have a link there to any file,
    which locking would make or empty."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise BenchError(f"cannot lock {path}: it is a link or no file; remove it")


def _cannot_lock(path: Path, error: OSError) -> BenchError:
    return BenchError(f"cannot lock {path}: {error.strerror}; free or name another folder")


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
        if error.errno in UNSUPPORTED:
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
                if time.time() - removal.stat().st_mtime > ABANDONED:
                    removal.unlink(missing_ok=True)
            since = time.monotonic()
