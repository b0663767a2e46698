"""Few labels: accuracy by labels per class, and how many of them reach most of the accuracy of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.report.board import Board, Line, sort_value
from bench.report.text import sorted_table
from bench.results.record import Record, Replicate
from bench.tasks.task import Task

SHARE = 0.9


def labels_for(
    sizes: Sequence[float], accuracies: Sequence[float], *, share: float = SHARE
) -> float | None:
    """The labels per class at which `share` of the last accuracy is reached; None: already at the first.

    sizes (m,) ascend. Between two of them the curve is linear over log2 of the size. Raises ValueError
    for sizes that are not above 0, and for a last accuracy that is not a number.

    >>> labels_for([1, 4, 16], [0.2, 0.6, 1.0], share=0.8)
    8.0
    """
    x, target = [math.log2(n) for n in sizes], share * accuracies[-1]
    first = next((i for i, value in enumerate(accuracies) if value >= target), None)
    if first is None:
        raise ValueError(f"no accuracy reaches {target}")
    if first == 0:
        return None
    below, above = accuracies[first - 1], accuracies[first]
    part = (target - below) / (above - below)
    return float(2 ** (x[first - 1] + part * (x[first] - x[first - 1])))


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """The curves of each few-label task, the best encoder first."""
    parts: list[str] = []
    for task in tasks.values():
        if task.primary.metric == "accuracy" and (lines := board.lines(task, _line)):
            sizes = (str(size or "all") for size in _sizes(task))
            head = ["encoder", *sizes, f"labels per class for {100 * SHARE:.0f} %"]
            parts += [f"### {task.name}", *([] if parts else [_NOTE]), sorted_table(head, lines)]
    return parts


_NOTE = (
    "Accuracy by labels per class: mean over seeds and subsets, +- standard deviation over subsets. The "
    "score above is the area under this curve over log2 of the labels, divided by its width. Last "
    f"column: labels per class that reach {100 * SHARE:.0f} % of the accuracy with all labels, "
    "interpolated over log2."
)


def _sizes(task: Task) -> list[int]:
    """Labels per class, ascending; 0, which means all, comes last."""
    return sorted(task.replicates.per_class, key=lambda n: n or math.inf)


def _line(task: Task, name: str, records: Mapping[str, Record]) -> Line:
    """A record's accuracies in per cent by size, and the last column."""
    record = records[task.name]
    accuracies = {n: _subsets(task, record, n) for n in _sizes(task)}
    cells = [name]
    for values in accuracies.values():
        spread = f" +- {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        cells.append(f"{100 * np.mean(values):.2f}{spread}" if values else "")
    curve = {n: float(np.mean(values)) for n, values in accuracies.items() if values}
    return -sort_value(record), [*cells, _labels_for_share(record, curve)]


def _subsets(task: Task, record: Record, size: int) -> list[float]:
    """The accuracy of each subset at a size (0: all), averaged over seeds."""
    groups: dict[int | None, list[float]] = {}
    for replicate in _replicates_at(record, size):
        value = replicate.score("accuracy", task.primary.target)
        groups.setdefault(replicate.coords.subset, []).append(value)
    return [float(np.mean(values)) for values in groups.values()]


def _replicates_at(record: Record, size: int) -> list[Replicate]:
    """The replicates of one size that count in the primary."""
    return [
        replicate
        for replicate in record.replicates
        if replicate.coords.control is None
        and replicate.coords.shift is None
        and replicate.coords.per_class == (size or None)
    ]


def _labels_for_share(record: Record, curve: Mapping[int, float]) -> str:
    """The last column; "" without a fit on all labels, or with no other."""
    if 0 not in curve or len(curve) < 2:
        return ""
    smallest = next(iter(curve))
    classes = _replicates_at(record, smallest)[0].n_train / smallest
    rows = _replicates_at(record, 0)[0].n_train
    if not classes or not rows or curve[0] <= 0:  # a stranger's
        return ""
    labels = labels_for([n or rows / classes for n in curve], list(curve.values()))
    if labels is None:
        return f"at most {smallest}"
    return f"{labels:.0f}" if labels >= 10 else f"{labels:.1f}"
