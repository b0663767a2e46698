"""Properties of features, which are neither good nor bad: a table for each diagnostic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.naming import registry
from bench.report.board import Board, display_name, sort_value
from bench.report.text import escaped, table
from bench.results.record import Record
from bench.tasks.task import Task


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """The values of each diagnostic of each diagnostic task, the encoder with the best primary first."""
    parts: list[str] = []
    for task in tasks.values():
        rows = sorted(
            (
                -sort_value(records[task.name]),
                display_name(owner, encoder, records),
                records[task.name],
            )
            for (owner, encoder), records in board.computed().items()
            if task.name in records
        )
        for diagnostic in task.diagnostics:
            lines = [(name, mean_values(record, diagnostic)) for _, name, record in rows]
            parts += _table(task.name, diagnostic, [line for line in lines if line[1]])
    if parts:
        parts[1] += " Values here and below are means over trainings, without intervals."
    return parts


def mean_values(record: Record, diagnostic: str) -> dict[str, float]:
    """Means over trainings, by the names of the values; without those that no training has."""
    values: dict[str, list[float]] = {}
    for training in record.diagnostics:
        for key, value in training.items():
            head, _, name = str(key).partition("/")
            if head == diagnostic and isinstance(value, int | float) and np.isfinite(value):
                values.setdefault(name, []).append(float(value))
    return {name: float(np.mean(numbers)) for name, numbers in values.items()}


def _table(task: str, diagnostic: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    columns = list(dict.fromkeys(column for _, values in lines for column in values))
    if not columns:
        return []
    body = [
        [name, *(f"{values[column]:.3g}" if column in values else "" for column in columns)]
        for name, values in lines
    ]
    about = registry.find("diagnostics", diagnostic).summary
    return [f"### {escaped(f'{task}: {diagnostic}')}", about, table(["encoder", *columns], body)]
