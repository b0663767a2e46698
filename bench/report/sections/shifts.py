"""What each shift of the test images costs: a table a shift task."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from bench.report.board import Board, name_of, sort_value
from bench.report.text import scale_of, table
from bench.results.record import Record
from bench.tasks.task import Task

__all__ = ["section"]

CLEAN = (None, None)
Copy = tuple[str | None, float | None]  # a shift and its strength


def section(board: Board) -> list[str]:
    """Encoders, the best primary first, by the copies of the test images that each task asks for."""
    found: list[str] = []
    for name, task in board.tasks.items():
        if task.family != "shift":
            continue
        copies: list[Copy] = [CLEAN, *product(task.replicates.shifts, task.replicates.strengths)]
        lines = []
        for (owner, encoder), records in board.rows.items():
            if name in records:
                line = [name_of(owner, encoder, records), *_cells(records[name], task, copies)]
                lines.append((-sort_value(records[name]), line))
        if lines:
            head = ["encoder", *(f"{shift} {by:g}" if shift else "clean" for shift, by in copies)]
            found += [
                f"### {name}: {task.primary.metric} by shift and strength",
                "Means over training seeds, of the same fits as the scores above.",
                table(head, [line for _, line in sorted(lines)]),
            ]
    return found


def _cells(record: Record, task: Task, copies: list[Copy]) -> list[str]:
    """The mean score on each copy, "" where there is none. Copies that the task does not ask for, which
    a stranger's record can hold, are passed over."""
    scores: dict[Copy, list[float]] = {copy: [] for copy in copies}
    for replicate in record.replicates:
        at = replicate["coords"]
        if at["control"] is None and (at["shift"], at["strength"]) in scores:
            scores[at["shift"], at["strength"]].append(_score(replicate["scores"], task))
    scale = scale_of(task.primary.metric)
    return [f"{scale * np.mean(each):.1f}" if each else "" for each in scores.values()]


def _score(scores: Mapping[str, Mapping[str, float]], task: Task) -> float:
    """A replicate's primary metric: of one target, or the mean over all of them."""
    chosen = task.primary
    names = [chosen.target] if chosen.target else [name for name in scores if ":" not in name]
    return float(np.mean([scores[name][chosen.metric] for name in names]))
