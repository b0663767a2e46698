"""Few labels: accuracy by labels per class, and how many of them reach most of the accuracy of all."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from bench.report.board import Board, Line, sort_value
from bench.report.recall import numbers
from bench.report.text import escaped, percent_text, sorted_table
from bench.results.record import Record, Replicate
from bench.scoring.scorer import part_interval
from bench.statistics.intervals import Interval
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
        if task.primary.metric == "accuracy" and (
            lines := board.lines(task, partial(_line, board))
        ):
            sizes = (str(size or "all") for size in _sizes(task))
            head = ["encoder", *sizes, f"labels per class for {100 * SHARE:.0f} %"]
            parts += [
                f"### {escaped(task.name)}",
                *([] if parts else [_NOTE]),
                sorted_table(head, lines),
            ]
    return parts


_NOTE = (
    "Accuracy by labels per class: the mean over seeds and draws of labels, with its 95 % interval over "
    "test images, seeds and draws. The score above is the area under this curve over log2 of the labels, "
    f"divided by its width. Last column: labels per class that reach {100 * SHARE:.0f} % of the accuracy "
    "with all labels, interpolated over log2; it has no interval."
)


def _sizes(task: Task) -> list[int]:
    """Labels per class, ascending; 0, which means all, comes last."""
    return sorted(task.replicates.per_class, key=lambda n: n or math.inf)


def curve_points(board: Board, task: Task, record: Record) -> dict[int, Interval]:
    """A record's accuracy by labels a class, ascending; 0, which means all, comes last."""

    def compute() -> list[list[float]]:
        arrays, points = board.store.predictions(record), list[list[float]]()
        for size in _sizes(task):
            if part := [replicate.coords for replicate in _replicates_at(record, size)]:
                points.append([size, *numbers(part_interval(record, task, arrays, part))])
        return points

    points = board.recall("scores by labels", [record], compute)
    return {size: Interval(*interval) for size, *interval in points}


def _line(board: Board, task: Task, name: str, records: Mapping[str, Record]) -> Line:
    """A record's accuracies in per cent by size, and the last column."""
    record = records[task.name]
    points = curve_points(board, task, record)
    cells = [percent_text(points[size]) if size in points else "" for size in _sizes(task)]
    curve = {size: interval.value for size, interval in points.items()}
    return -sort_value(record), [name, *cells, _labels_for_share(record, curve)]


def _replicates_at(record: Record, size: int) -> list[Replicate]:
    """The replicates of one size that count in the primary."""
    return [
        replicate
        for replicate in record.replicates
        if replicate.coords.control is None
        and replicate.coords.shift is None
        and replicate.coords.per_class == (size or None)
    ]


def labels_of_all(record: Record, sizes: Collection[int]) -> float | None:
    """Labels per class, on average, of the fit on all; `sizes` are those of the curve, ascending. None
    without that fit, or with no other."""
    if 0 not in sizes or len(sizes) < 2:
        return None
    smallest = next(iter(sizes))
    classes = _replicates_at(record, smallest)[0].n_train / smallest
    rows = _replicates_at(record, 0)[0].n_train
    return rows / classes if classes and rows else None  # a stranger's may be 0


def _labels_for_share(record: Record, curve: Mapping[int, float]) -> str:
    """The last column; "" without a fit on all labels, or with no other."""
    every = labels_of_all(record, curve)
    if every is None or curve[0] <= 0:  # a stranger's
        return ""
    smallest = next(iter(curve))
    labels = labels_for([n or every for n in curve], list(curve.values()))
    if labels is None:
        return f"at most {smallest}"
    return f"{labels:.0f}" if labels >= 10 else f"{labels:.1f}"
