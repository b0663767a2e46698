"""Scores under each shift of the test images: a table for each shift task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product

from bench.report.board import Board, Line, sort_value
from bench.report.text import escaped, interval_text, scaled, sorted_table
from bench.results.record import Record
from bench.scoring.scorer import part_interval
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


def _line(board: Board, task: Task, name: str, records: Mapping[str, Record]) -> Line:
    """The score on each copy, "" where there is none. Copies that the task does not have are ignored:
    records of others can hold any."""
    record, scale = records[task.name], METRICS[task.primary.metric].scale
    arrays, cells = board.store.predictions(record), list[str]()
    plain = [r.coords for r in record.replicates if r.coords.control is None]
    for copy in _copies(task):
        if part := [at for at in plain if (at.shift, at.strength) == copy]:
            interval = scaled(part_interval(record, task, arrays, part), scale)
        cells.append(interval_text(interval, digits=1) if part else "")
    return -sort_value(record), [name, *cells]
