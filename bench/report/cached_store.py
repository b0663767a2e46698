"""A results folder whose predictions are read once: a board needs those of a record several times."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bench.digests import digest
from bench.errors import BenchError
from bench.report.recomputed import Recomputed, source_digest
from bench.results.record import Record
from bench.results.store import Store

MOST = 2**28  # bytes of predictions in memory


class CachedStore(Store):
    """A Store that keeps predictions in memory, those read last, and digests of the bytes that it has
    read."""

    def __init__(
        self, root: Path, recomputed: Recomputed | None = None, *, most: int = MOST
    ) -> None:
        super().__init__(root)
        self._recomputed = recomputed or Recomputed()
        self._most = most
        self.held = 0  # bytes of predictions in memory
        # By the record's id; the record is kept too, so that its id stays its own.
        self._arrays: OrderedDict[int, tuple[Record, dict[str, npt.NDArray[Any]]]] = OrderedDict()
        self._digests: dict[Path, str] = {}
        self._last = Path(), b""
        self._of_cells: dict[tuple[str, str, str], str] = {}

    def read(self, path: Path) -> Record:
        """As of `Store`; a file whose bytes were taken before is not checked again."""
        content = self._content(path)
        key = digest(["record", source_digest(), str(path), self._digests[path]])
        if self._recomputed.find(key) is None:
            record = self._record(content, path)
            self._recomputed.put(key, True)
            return record
        return Record.of_accepted(json.loads(content))

    def predictions(self, record: Record) -> dict[str, npt.NDArray[Any]]:
        """As of `Store`."""
        if id(record) not in self._arrays:
            arrays = super().predictions(record)
            self._arrays[id(record)] = record, arrays
            self.held += _size(arrays)
            while self.held > self._most and len(self._arrays) > 1:
                _, (_, oldest) = self._arrays.popitem(last=False)
                self.held -= _size(oldest)
        self._arrays.move_to_end(id(record))
        return self._arrays[id(record)][1]

    def bytes_digest(self, record: Record) -> str:
        """Over the bytes of a record's file and of its predictions, as they were when they were first
        read. Raises BenchError where either cannot be read."""
        cell = record.owner, record.encoder.id, record.task.id
        if cell not in self._of_cells:
            path = self.path(*cell)
            predictions = path.with_suffix(".npz")
            if path not in self._digests:
                self._content(path)
            if predictions not in self._digests:  # perhaps to be unpacked at once
                self._last = predictions, self._content(predictions)
            self._of_cells[cell] = f"{self._digests[path]} {self._digests[predictions]}"
        return self._of_cells[cell]

    def _content(self, path: Path) -> bytes:
        """As of `Store`. Raises BenchError for a file that has changed since it was first read: what is
        computed from it would be kept as that of the first."""
        if self._last[0] == path:
            content, self._last = self._last[1], (Path(), b"")
            return content
        content = super()._content(path)
        digest = hashlib.sha256(content).hexdigest()
        if self._digests.setdefault(path, digest) != digest:
            raise BenchError(f"{path} has changed while it was read; try again")
        return content


def _size(arrays: dict[str, npt.NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())
