"""Quality against cost: the overall score, or else a linear probe's, by run time and by parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from bench.drawing.tradeoffs import Costs, Tradeoff
from bench.report.board import Board
from bench.report.plots.plot import (
    Plot,
    by_value,
    estimate,
    first_rows,
    group_of,
    is_finite,
    plain_name,
)
from bench.report.plots.scores import BARS
from bench.report.ranks import Row
from bench.report.sections.overall import complete_rows, mean_score
from bench.report.text import interval_text, scaled
from bench.results.record import Record
from bench.statistics.intervals import Interval
from bench.tasks.task import Task


def cost_plot(board: Board) -> Iterator[Plot]:
    """Of encoders with an overall score; where there are not two, with the linear probe that most have."""
    complete = complete_rows(board)
    if len(complete) > 1:
        means = {row: mean_score(board, records) for row, records in complete}
        of_row: Mapping[Row, Sequence[Record]] = dict(complete)
        names = ", ".join(board.overall)
        yield from _plot(
            board, means, of_row, "overall", "Overall score",
            "overall score (chance 0, ceiling 100)", f"Mean over {names}.",
        )  # fmt: skip
        return
    for task in _linear_task(board):
        ranked = {
            row: records[task.name]
            for row, records in board.computed().items()
            if task.name in records and not board.reason_unranked(records[task.name])
        }
        scores = {
            row: scaled(Interval(r.score.value, r.score.low, r.score.high), 100)
            for row, r in ranked.items()
        }
        of_row = {row: [record] for row, record in ranked.items()}
        yield from _plot(
            board, scores, of_row, "probe", f"Accuracy on {task.name}", "accuracy, %",
            f"{task.title}.",
        )  # fmt: skip


def _linear_task(board: Board) -> list[Task]:
    """The linear probe that most encoders have; none or one."""
    tasks = [
        task
        for task in board.tasks.values()
        if task.family == "probe"
        and task.primary.metric == "accuracy"
        and task.resolved_protocol.entry.name == "linear"
    ]
    counts = {t.name: sum(t.name in records for records in board.rows.values()) for t in tasks}
    return sorted((t for t in tasks if counts[t.name]), key=lambda t: (-counts[t.name], t.name))[:1]


def _plot(
    board: Board,
    scores: Mapping[Row, Interval],
    records: Mapping[Row, Sequence[Record]],
    page: str,
    title: str,
    axis: str,
    note: str,
) -> Iterator[Plot]:
    costs = {row: _costs(of_row) for row, of_row in records.items()}
    present = {
        row: score.value
        for row, score in scores.items()
        if is_finite(score) and all(map(math.isfinite, costs[row]))
    }
    if len(present) < 2:
        return
    order, cut = first_rows(board, by_value(present))
    estimates = tuple(
        estimate(plain_name(row), scores[row], group_of(board, row), interval_text(scores[row]))
        for row in order
    )
    number = len(records[order[0]])
    on = f"{number} tasks" if number > 1 else "task"
    panels = (
        Costs(
            f"run time on the {on}, seconds (logarithmic)",
            tuple(round(costs[row][0], 2) for row in order),
        ),
        Costs(
            "parameters of the encoder, buffers included (logarithmic)",
            tuple(float(costs[row][1]) for row in order),
        ),
    )
    notes = (
        note,
        f"{BARS['rows']} Dashed: the Pareto front of the values, which does not regard intervals.",
        "Run times are those of the machine that made each record, training included; where tasks "
        "share work it counts in each. Names: where there is room, the front's first.",
        cut,
    )
    chart = Tradeoff(
        title=f"{title} against cost",
        notes=tuple(filter(None, notes)),
        y=axis,
        estimates=estimates,
        panels=panels,
    )
    yield Plot(f"{page}-cost", page, chart)


def _costs(records: Sequence[Record]) -> tuple[float, float]:
    """Seconds in all, and the largest number of parameters; not a number where one is not known."""
    seconds = sum(max(0.0, record.seconds.get("total", math.nan)) for record in records)
    counts = [record.encoder.parameters for record in records]
    known = [math.nan if count is None else float(count) for count in counts]
    return seconds, math.nan if any(map(math.isnan, known)) else max(known)
