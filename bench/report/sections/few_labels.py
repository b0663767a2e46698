"""Few labels on the board: how scores grow with labels, and how many of them are nearly enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.board import Board, name_of, sort_value
from bench.report.text import table
from bench.results.record import Record
from bench.tasks.task import Task

__all__ = ["labels_for", "section"]

SHARE = 0.9


def labels_for(
    sizes: Sequence[float], accuracies: Sequence[float], *, share: float = SHARE
) -> float | None:
    """How many labels a class first give `share` of the last accuracy; None: the first size does.

    sizes (m,) ascend. Between two of them the curve is linear over log2 of the size. Raises ValueError
    for sizes that are not above 0, and for a last accuracy that is no number.

    >>> labels_for([1, 4, 16], [0.2, 0.6, 1.0], share=0.8)
    8.0
    """
    x, wanted = [math.log2(n) for n in sizes], share * accuracies[-1]
    first = next((i for i, value in enumerate(accuracies) if value >= wanted), None)
    if first is None:
        raise ValueError(f"no accuracy reaches {wanted}")
    if first == 0:
        return None
    below, above = accuracies[first - 1], accuracies[first]
    part = (wanted - below) / (above - below)
    return float(2 ** (x[first - 1] + part * (x[first] - x[first - 1])))


def section(board: Board) -> list[str]:
    """For each task of few labels its curves, best first."""
    parts = []
    for task in board.tasks.values():
        rows = [(row, records) for row, records in board.rows.items() if task.name in records]
        if task.family != "few_labels" or task.primary.metric != "accuracy" or not rows:
            continue
        lines = []
        for (owner, encoder), records in rows:
            record = records[task.name]
            lines.append(
                (-sort_value(record), [name_of(owner, encoder, records), *_line(task, record)])
            )
        head = [
            "encoder",
            *(str(n or "all") for n in _sizes(task)),
            f"labels a class for {100 * SHARE:.0f} %",
        ]
        parts += [f"### {task.name}", _TOLD, table(head, [line for _, line in sorted(lines)])]
    return parts


_TOLD = (
    "Accuracy by labels a class: the mean over seeds and subsets, +- the standard deviation over "
    "subsets. The score above is the area under this curve, over log2 of the labels, divided by its "
    f"width. Last, how many labels reach {100 * SHARE:.0f} % of the accuracy with all labels, by a line "
    "over log2 between two sizes."
)


def _sizes(task: Task) -> list[int]:
    """Labels a class, ascending; 0, which is all, comes last."""
    return sorted(task.replicates.per_class, key=lambda n: n or math.inf)


def _line(task: Task, record: Record) -> list[str]:
    """A record's accuracies in per cent, and the labels that are nearly enough."""
    found = {n: _subsets(task, record, n) for n in _sizes(task)}
    cells = []
    for values in found.values():
        spread = f" +- {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        cells.append(f"{100 * np.mean(values):.2f}{spread}" if values else "")
    return [*cells, _nearly(record, {n: float(np.mean(v)) for n, v in found.items() if v})]


def _subsets(task: Task, record: Record, size: int) -> list[float]:
    """The accuracy of each subset at a size (0: all), averaged over seeds."""
    groups: dict[int | None, list[float]] = {}
    for replicate in _of(record, size):
        scores, target = replicate["scores"], task.primary.target
        names = [target] if target else [n for n in scores if ":" not in n]
        value = float(np.mean([float(scores[n]["accuracy"]) for n in names]))
        groups.setdefault(replicate["coords"]["subset"], []).append(value)
    return [float(np.mean(values)) for values in groups.values()]


def _of(record: Record, size: int) -> list[Mapping[str, Any]]:
    """The replicates of one size that are part of the primary score."""
    return [
        replicate
        for replicate in record.replicates
        if replicate["coords"]["control"] is None
        and replicate["coords"]["shift"] is None
        and replicate["coords"]["per_class"] == (size or None)
    ]


def _nearly(record: Record, curve: Mapping[int, float]) -> str:
    """The last column: "" without a fit on all labels, or with nothing else."""
    if 0 not in curve or len(curve) < 2:
        return ""
    least = next(iter(curve))
    classes = _of(record, least)[0]["n_train"] / least
    sizes = [n or _of(record, 0)[0]["n_train"] / classes for n in curve]
    found = labels_for(sizes, list(curve.values()))
    if found is None:
        return f"at most {least}"
    return f"{found:.0f}" if found >= 10 else f"{found:.1f}"
