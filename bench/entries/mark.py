"""Marks of the maintainers: which records were run again, and which their encoder's author confirms."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from bench.entries.folder import listing
from bench.entries.rerun import CellRerun
from bench.results.store import Store
from bench.results.trust import Mark, write_marks

MAINTAINERS = "maintainers"


def mark_reproduced(path: Path, cells: Iterable[CellRerun], by: str) -> int:
    """Mark the records below `path` of cells that were run again and agree; how many."""
    today = _today()
    marks = {
        cell.digest: Mark(level="reproduced", date=today, by=by, difference=cell.difference)
        for cell in cells
        if cell.agrees
    }
    return _write(Store(listing(path).root), marks)


def mark_confirmed(path: Path, files: Iterable[str], by: str) -> int:
    """Mark records, by their files in the results folder around `path`; how many."""
    store, today = Store(listing(path).root), _today()
    marks = {
        store.read(store.root / file).digest: Mark(
            level="confirmed", date=today, by=by, difference=None
        )
        for file in files
    }
    return _write(store, marks)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _write(store: Store, marks: dict[str, Mark]) -> int:
    if marks:
        write_marks(store, marks)
    return len(marks)
