"""What boards have computed from records and predictions, kept for the next board.

One SQLite file in the cache folder, which may be deleted at any time. A key is a digest of all that a
value follows from: bytes of records and of predictions, tasks, this package's source, releases of
libraries. A file or an entry that is broken is computed anew; where nothing can be kept, nothing is.
`verify` reads none of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.digests import digest
from bench.errors import BenchError
from bench.running.cache import cache_root

MOST = 2**28  # bytes of all values; of more, those used longest ago go
PACKAGE = Path(__file__).parents[1]
# What no value follows from: components, which are resolved anew for each board, and what is of no board.
UNRELATED = frozenset(
    {"cli", "diagnostics", "drawing", "encoders", "entries", "pictures", "protocols", "running",
     "studies", "testing"}
)  # fmt: skip
SUFFIXES = (".py", ".json", ".toml", ".txt", ".npz")
_DAY = 86_400  # seconds
_PATIENCE = 2.0  # seconds for another process that writes
_NOT_BROKEN = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
)
_TABLE = "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT, sum TEXT, used REAL)"
log = logging.getLogger(__name__)


def board_cache() -> Path:
    """The file of all boards in the cache folder."""
    return cache_root() / "boards" / "recomputed.sqlite"


class Recomputed:
    """JSON values by key. `file` None: for the life of this object alone."""

    def __init__(self, file: Path | None = None, *, most: int = MOST) -> None:
        self._file, self._most = file, most
        self._connection: sqlite3.Connection | None = None  # for reading
        self._values: dict[str, Any] = {}
        self._new: dict[str, str] = {}
        self._unused: list[str] = []  # read, and not used for a day before

    def find(self, key: str) -> Any:
        """The value under `key`; None where there is none."""
        if key not in self._values and self._file is not None:
            self._values |= self._tried(lambda file: self._read(file, key)) or {}
        return self._values.get(key)

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value under `key`, computed where there is none; what `compute` raises is not kept."""
        if self.find(key) is None:
            self.put(key, compute())
        return self._values[key]

    def put(self, key: str, value: Any) -> None:
        """Keep a value that is not None. It is at once what a file gives of it: tuples are lists."""
        self._new[key] = json.dumps(value, separators=(",", ":"))
        self._values[key] = json.loads(self._new[key])

    def save(self) -> None:
        """Write what is new. Where the file is another process's for long, nothing is kept."""
        if self._new or self._unused:
            self._tried(self._write)
        self._new, self._unused = {}, []
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tried(self, access: Callable[[Path], Any]) -> Any:
        """What `access` gives of the file; None, and no file from then on, where it is broken."""
        file = self._file
        if file is None:
            return None
        try:
            return access(file)
        except (sqlite3.Error, OSError, BenchError) as error:
            self._file = None
            self._close()
            log.debug("%s: %s", file, error)
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN)
            if isinstance(error, sqlite3.Error) and code & 0xFF not in _NOT_BROKEN:
                with suppress(OSError):
                    file.unlink(missing_ok=True)
                    file.with_name(f"{file.name}-journal").unlink(missing_ok=True)
                self._file = file
            return None

    def _read(self, file: Path, key: str) -> dict[str, Any]:
        if self._connection is None:
            if not file.is_file():
                return {}
            uri = f"{file.resolve().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=_PATIENCE)
        select = "SELECT value, sum, used FROM kept WHERE key = ?"
        row = self._connection.execute(select, (key,)).fetchone()
        if row is None or _sum(key, row[0]) != row[1]:
            return {}
        if not abs(time.time() - row[2]) < _DAY:
            self._unused.append(key)
        return {key: json.loads(row[0])}

    def _write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        now = time.time()
        rows = [(key, text, _sum(key, text), now) for key, text in self._new.items()]
        connection = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None)
        with closing(connection):
            connection.execute(
                "PRAGMA auto_vacuum = FULL"
            )  # of a new file: deleted rows free bytes
            connection.execute("PRAGMA synchronous = OFF")  # what a crash breaks is made anew
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_TABLE)
            connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", rows)
            used = [(now, key) for key in self._unused]
            connection.executemany("UPDATE kept SET used = ? WHERE key = ?", used)
            [pages] = connection.execute("PRAGMA page_count").fetchone()
            [bytes_of_page] = connection.execute("PRAGMA page_size").fetchone()
            if pages * bytes_of_page > self._most:
                connection.execute(_SHRINK, (self._most // 2,))
            connection.execute("COMMIT")


_SHRINK = """DELETE FROM kept WHERE key IN (SELECT key FROM (
    SELECT key, sum(length(value) + 200) OVER (ORDER BY used DESC, key) AS bytes FROM kept
) WHERE bytes > ?)"""


def _sum(key: str, text: object) -> str:
    """Of an entry, to tell one that is broken."""
    return hashlib.sha256(f"{key} {text}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


@cache
def source_digest(*, components: bool = False) -> str:
    """Over this package's source and data, and releases of Python and of the libraries that compute: with
    or without the folders of `UNRELATED`."""
    state = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        parts = path.relative_to(PACKAGE).parts
        if path.suffix in SUFFIXES and (components or parts[0] not in UNRELATED):
            state.update(f"{'/'.join(parts)}\n".encode())
            state.update(hashlib.sha256(path.read_bytes()).digest())
    releases = [platform.python_version(), version("numpy"), version("scipy")]
    return digest([state.hexdigest(), releases])
