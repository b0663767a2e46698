"""Scores under each shift of the test images: a table for each shift task."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from bench.report.board import Board, Line, sort_value
from bench.report.text import sorted_table
from bench.results.record import Record
from bench.statistics.metrics import METRICS
from bench.tasks.task import Task

CLEAN = (None, None)
Copy = tuple[str | None, float | None]  # a shift and its strength


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """Scores on each shifted copy of the test images, the encoder with the best primary first."""
    parts: list[str] = []
    for name, task in tasks.items():
        if lines := board.lines(task, _line):
            copies = (f"{shift} {by:g}" if shift else "clean" for shift, by in _copies(task))
            parts += [
                f"### {name}: {task.primary.metric} by shift and strength",
                *(
                    []
                    if parts
                    else ["Means over training seeds; the fits are those of the scores above."]
                ),
                sorted_table(["encoder", *copies], lines),
            ]
    return parts


def _copies(task: Task) -> list[Copy]:
    return [CLEAN, *product(task.replicates.shifts, task.replicates.strengths)]


def _line(task: Task, name: str, records: Mapping[str, Record]) -> Line:
    """The mean score on each copy, "" where there is none. Copies that the task does not have are ignored:
    records of others can hold any."""
    record, scores = records[task.name], {copy: list[float]() for copy in _copies(task)}
    for replicate in record.replicates:
        at = replicate.coords
        if at.control is None and (at.shift, at.strength) in scores:
            score = replicate.score(task.primary.metric, task.primary.target)
            scores[at.shift, at.strength].append(score)
    scale = METRICS[task.primary.metric].scale
    cells = (f"{scale * np.mean(values):.1f}" if values else "" for values in scores.values())
    return -sort_value(record), [name, *cells]
