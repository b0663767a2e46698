"""What features are like: a table a diagnostic, which says nothing of good or bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.naming import registry
from bench.report.board import Board, name_of, sort_value
from bench.report.text import table
from bench.results.record import Record

__all__ = ["section"]


def section(board: Board) -> list[str]:
    """Encoders, the best primary first, by the values of each diagnostic of each task of this family."""
    found: list[str] = []
    for task in board.tasks.values():
        if task.family != "diagnostics":
            continue
        rows = sorted(
            (-sort_value(records[task.name]), name_of(owner, encoder, records), records[task.name])
            for (owner, encoder), records in board.rows.items()
            if task.name in records
        )
        for diagnostic in task.diagnostics:
            lines = [(name, values(record, diagnostic)) for _, name, record in rows]
            found += _table(task.name, diagnostic, [line for line in lines if line[1]])
    return found


def values(record: Record, diagnostic: str) -> dict[str, float]:
    """Means over the encoder's trainings; without what none of them has a number for."""
    found: dict[str, list[float]] = {}
    for one in record.diagnostics:
        for key, value in one.items():
            head, _, name = str(key).partition("/")
            if head == diagnostic and isinstance(value, int | float) and np.isfinite(value):
                found.setdefault(name, []).append(float(value))
    return {name: float(np.mean(some)) for name, some in found.items()}


def _table(task: str, diagnostic: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    columns = list(dict.fromkeys(column for _, own in lines for column in own))
    if not columns:
        return []
    body = [
        [name, *(f"{own[column]:.3g}" if column in own else "" for column in columns)]
        for name, own in lines
    ]
    about = registry.find("diagnostics", diagnostic).summary
    return [f"### {task}: {diagnostic}", about, table(["encoder", *columns], body)]
