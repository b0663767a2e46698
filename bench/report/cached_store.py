"""A results folder whose predictions are read once: a board needs those of a record several times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from bench.results.record import Record
from bench.results.store import Store


class CachedStore(Store):
    """A Store that keeps predictions in memory: about 0.1 MB a record."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._arrays: dict[int, tuple[Record, dict[str, npt.NDArray[Any]]]] = {}

    def predictions(self, record: Record) -> dict[str, npt.NDArray[Any]]:
        """As of `Store`. The record is kept too, so that its id stays its own."""
        if id(record) not in self._arrays:
            self._arrays[id(record)] = record, super().predictions(record)
        return self._arrays[id(record)][1]
