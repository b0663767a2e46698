"""Curves of the score against labels a class, of the best encoders and the best controls."""

from __future__ import annotations

from collections.abc import Iterator

from bench.drawing.curves import Curve, Curves
from bench.report.board import Board, sort_value
from bench.report.plots.plot import (
    CONTROL,
    PANELS,
    Plot,
    by_value,
    file_name,
    first_rows,
    group_of,
    is_finite,
    plain_name,
    rounded,
)
from bench.report.sections.few_labels import curve_points, labels_of_all
from bench.tasks.task import Task

SHOWN, CONTROLS = 8, 3  # curves in a plot, and how many of them are controls


def few_label_plots(board: Board) -> Iterator[Plot]:
    """A plot of each few-label task, those that most encoders have first."""
    tasks = [
        task
        for task in board.tasks.values()
        if task.family == "few_labels" and task.primary.metric == "accuracy"
    ]
    counts = {t.name: sum(t.name in records for records in board.rows.values()) for t in tasks}
    for task in sorted(tasks, key=lambda t: (-counts[t.name], t.name))[:PANELS]:
        if (chart := _chart(board, task)) is not None:
            yield Plot(f"few_labels-{file_name(task.name)}", "few_labels", chart)


def _chart(board: Board, task: Task) -> Curves | None:
    records = {row: of[task.name] for row, of in board.computed().items() if task.name in of}
    values = {row: sort_value(record) for row, record in records.items()}
    order, cut = first_rows(board, by_value(values), most=SHOWN, controls=CONTROLS)
    ticks, curves = dict[float, str](), list[Curve]()
    for row in order:
        places = curve_points(board, task, records[row])
        every = labels_of_all(records[row], places)
        points = []
        for size, interval in places.items():
            x = float(size or every or 0)
            if x > 0 and is_finite(interval):
                shown = rounded(interval, 100)
                points.append((x, shown.value, shown.low, shown.high))
                ticks[x] = str(size) if size else f"all ({x:,.0f})"
        if len(points) > 1:
            control = group_of(board, row) is CONTROL
            name = plain_name(row) + (" (control)" if control else "")
            curves.append(Curve(name, tuple(sorted(points)), control))
    if not curves:
        return None
    notes = (
        f"{task.title}.",
        "Points: means over seeds and draws of labels. Bands: 95 % intervals over test images, "
        "seeds and draws. Names in the order of the last points; dashed: controls.",
        cut,
    )
    return Curves(
        title=f"Accuracy by labels a class: {task.name}",
        notes=tuple(filter(None, notes)),
        x="labels a class (logarithmic)",
        y="accuracy, %",
        ticks=tuple(sorted(ticks.items())),
        curves=tuple(curves),
    )
