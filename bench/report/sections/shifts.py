"""Scores under each shift of the test images: a table for each shift task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

from bench.report.board import Board, Line, sort_value
from bench.report.recall import numbers
from bench.report.text import escaped, interval_text, scaled, sorted_table
from bench.results.record import Record
from bench.scoring.scorer import part_interval
from bench.statistics.intervals import Interval
from bench.statistics.metrics import METRICS
from bench.tasks.task import Task

CLEAN = (None, None)
Copy = tuple[str | None, float | None]  # a shift and its strength


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """Scores on each shifted copy of the test images, the encoder with the best primary first."""
    parts: list[str] = []
    for name, task in tasks.items():
        if lines := board.lines(task, partial(_line, board)):
            copies = (f"{shift} {by:g}" if shift else "clean" for shift, by in _copies(task))
            parts += [
                f"### {escaped(name)}: {task.primary.metric} by shift and strength",
                *([] if parts else [_NOTE]),
                sorted_table(["encoder", *copies], lines),
            ]
    return parts


def _copies(task: Task) -> list[Copy]:
    return [CLEAN, *product(task.replicates.shifts, task.replicates.strengths)]


_NOTE = (
    "Means over training seeds with 95 % intervals over test images and seeds; the fits are those of the "
    "scores above."
)


def shift_points(board: Board, task: Task, record: Record) -> dict[Copy, Interval]:
    """A record's primary by shift and strength, the plain images first; without copies that it does not
    have. Copies that the task does not have are ignored: records of others can hold any."""

    def compute() -> list[list[Any]]:
        arrays, points = board.store.predictions(record), list[list[Any]]()
        plain = [r.coords for r in record.replicates if r.coords.control is None]
        for copy in _copies(task):
            if part := [at for at in plain if (at.shift, at.strength) == copy]:
                points.append([*copy, *numbers(part_interval(record, task, arrays, part))])
        return points

    points = board.recall("scores by shift", [record], compute)
    return {(shift, strength): Interval(*interval) for shift, strength, *interval in points}


def _line(board: Board, task: Task, name: str, records: Mapping[str, Record]) -> Line:
    """The score on each copy, "" where there is none."""
    record, scale = records[task.name], METRICS[task.primary.metric].scale
    points = shift_points(board, task, record)
    cells = [
        interval_text(scaled(points[copy], scale), digits=1) if copy in points else ""
        for copy in _copies(task)
    ]
    return -sort_value(record), [name, *cells]
