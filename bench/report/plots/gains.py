"""Gains, with a line at 0: of fine-tuning over training from scratch, of sharing over separate towers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.drawing.figures import Estimate, Group
from bench.drawing.forests import Forest
from bench.report.board import Board
from bench.report.plots.plot import (
    BLUE,
    CONTROLS,
    MOST,
    ORANGE,
    PANELS,
    Plot,
    by_value,
    estimate,
    first_rows,
    group_of,
    is_finite,
    plain_name,
)
from bench.report.ranks import Row
from bench.report.sections.families import gains_over_baseline
from bench.report.sections.sharing_headline import gains as sharing_gains
from bench.report.text import interval_text, scaled
from bench.statistics.intervals import Interval

HARD = Group("hard: one tower for all tasks", BLUE)
SOFT = Group("soft: the best on validation", ORANGE, "diamond")
ZERO = "Dashed: no gain. Where an interval holds it, the difference is not significant (5 %, each alone)."


def fine_tuning_plot(board: Board) -> Iterator[Plot]:
    """The gains of each task whose baseline is the same trunk at random weights."""
    panels, notes = {}, list[str]()
    for task in board.tasks.values():
        if task.family == "finetune" and (task.baseline or "").endswith("~0"):
            of_task = {
                row: scaled(gain, 100) for row, gain in gains_over_baseline(board, task).items()
            }
            scratch = str(task.baseline).removesuffix("~0")
            if of_task:
                panels[f"{task.name} minus training from scratch ({scratch})"] = (of_task, None)
                notes += [f"{name}: {board.tasks[name].title}." for name in (task.name, scratch)]
    yield from _plot(
        board,
        "finetune",
        "Gain of fine-tuning over training from scratch",
        "Bars: 95 % intervals of the difference, paired over test images. Names: the encoder that is "
        "fine-tuned.",
        panels,
        notes,
    )


def sharing_plot(board: Board) -> Iterator[Plot]:
    """The gains of hard sharing and of the best soft sharing."""
    panels: dict[str, tuple[Mapping[Row, Interval], Mapping[Row, Interval] | None]] = {}
    for task in board.tasks.values():
        if task.family == "multitask":
            hard, soft = sharing_gains(board, task)
            if hard:
                panels[f"{task.name} minus separate towers ({task.baseline})"] = (hard, soft)
    yield from _plot(
        board,
        "multitask",
        "Gain of sharing over separate towers",
        "Mean accuracy over the tasks. Bars: 95 % intervals of the difference, paired over test images "
        "and seeds.",
        panels,
        (),
    )


def _plot(
    board: Board,
    family: str,
    title: str,
    bars: str,
    panels: Mapping[str, tuple[Mapping[Row, Interval], Mapping[Row, Interval] | None]],
    further: Sequence[str],
) -> Iterator[Plot]:
    """Of gains in points by row: of one kind, or of hard and soft sharing."""
    filled = [
        (heading, {row: gain for row, gain in first.items() if is_finite(gain)}, second)
        for heading, (first, second) in panels.items()
    ]
    filled = sorted((panel for panel in filled if panel[1]), key=lambda panel: -len(panel[1]))
    most = MOST // max(1, min(len(filled), PANELS))  # encoders in a panel
    shown, cuts = [], []
    for heading, first, second in filled[:PANELS]:
        values = {row: gain.value for row, gain in first.items()}
        order, cut = first_rows(
            board, by_value(values), most=most, controls=most * CONTROLS // MOST
        )
        shown.append((heading, tuple(_row(board, row, first, second) for row in order)))
        cuts += [f"{heading}: {cut}"] if cut else []
    if len(filled) > PANELS:
        cuts.append(f"{len(filled) - PANELS} more tasks are not shown.")
    if shown:
        chart = Forest(
            title=title,
            notes=(f"{bars} {ZERO}", *further, *cuts),
            axis="gain, points of accuracy",
            panels=tuple(shown),
            line=0.0,
        )
        yield Plot(f"{family}-gains", family, chart)


def _row(
    board: Board,
    row: Row,
    first: Mapping[Row, Interval],
    second: Mapping[Row, Interval] | None,
) -> tuple[Estimate, ...]:
    name, group = plain_name(row), group_of(board, row)
    if second is None:
        return (estimate(name, first[row], group, interval_text(first[row], "+")),)
    name += " (control)" if group.name == "control" else ""
    pairs = [(first[row], HARD)]
    pairs += [(second[row], SOFT)] if row in second and is_finite(second[row]) else []
    return tuple(estimate(name, gain, kind, interval_text(gain, "+")) for gain, kind in pairs)
