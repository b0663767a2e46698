"""Forest plots of scores: of each family the task that most encoders have, and the overall score."""

from __future__ import annotations

from collections.abc import Iterator

from bench.drawing.forests import Forest
from bench.report.board import Board, score_text, sort_value
from bench.report.plots.plot import (
    Plot,
    by_value,
    estimate,
    first_rows,
    group_of,
    is_finite,
    plain_name,
)
from bench.report.ranks import Row, overall_ranks, range_text, task_ranks
from bench.report.sections.overall import complete_rows, mean_score
from bench.report.text import interval_text
from bench.statistics.intervals import Interval
from bench.statistics.metrics import METRICS
from bench.tasks.families import FAMILIES
from bench.tasks.task import Task

RANKS = (
    "In parentheses the range of the rank: all pairs are tested, Holm's adjustment, 5 %. Overlapping "
    "bars are no test."
)


def overall_plot(board: Board) -> Iterator[Plot]:
    """The overall score of each encoder that has one."""
    complete = complete_rows(board)
    if len(complete) < 2:
        return
    ranks = dict(zip((row for row, _ in complete), overall_ranks(board, complete)[0], strict=True))
    means = {row: mean_score(board, records) for row, records in complete}
    order, cut = first_rows(board, by_value({row: mean.value for row, mean in means.items()}))
    rows = tuple(
        (
            estimate(
                plain_name(row),
                means[row],
                group_of(board, row),
                f"{interval_text(means[row])} ({range_text(*ranks[row])})",
            ),
        )
        for row in order
    )
    notes = (f"Mean over {', '.join(board.overall)}.", f"{BARS['rows']} {RANKS}", cut)
    chart = Forest(
        title="Overall score of frozen encoders",
        notes=tuple(filter(None, notes)),
        axis="overall score (chance 0, ceiling 100)",
        panels=(("", rows),),
    )
    yield Plot("overall", "overall", chart)


WORDS = {"ausuc": "area under the seen-unseen curve", "nll": "negative log-likelihood"}
BARS = {
    "rows": "Bars: 95 % intervals over test images and training seeds.",
    "classes": "Bars: 95 % intervals from leaving out each class in turn.",
}


def family_plots(board: Board) -> Iterator[Plot]:
    """A plot of each family with scores of two encoders or more on one task."""
    for family in FAMILIES:
        names = most_scored(board, family)[:1]
        for name in names:
            task = board.tasks[name]
            records = {
                row: of_row[name] for row, of_row in board.computed().items() if name in of_row
            }
            present = [row for row, r in records.items() if is_finite(_interval(board, row, name))]
            if len(present) > 1:
                yield Plot(family, family, _forest(board, task, present))


def most_scored(board: Board, family: str) -> list[str]:
    """Names of a family's tasks that encoders have scores on, those that most have first; of equal ones
    those that enter the overall score, in its order."""
    counts = {
        task.name: sum(task.name in records for records in board.rows.values())
        for task in board.tasks.values()
        if task.family == family
    }
    overall = list(board.overall)

    def place(name: str) -> tuple[int, int, str]:
        at = overall.index(name) if name in overall else len(overall)
        return -counts[name], at, name

    return sorted((name for name, count in counts.items() if count), key=place)


def _interval(board: Board, row: Row, name: str) -> Interval:
    score = board.rows[row][name].score
    return Interval(score.value, score.low, score.high)


def _forest(board: Board, task: Task, present: list[Row]) -> Forest:
    ranks = task_ranks(board, task.name)
    values = {row: sort_value(board.rows[row][task.name]) for row in present}
    order, cut = first_rows(board, by_value(values), ranks)
    metric = METRICS[task.primary.metric]
    rows = []
    for row in order:
        text = score_text(board.rows[row][task.name])
        text += f" ({range_text(*ranks[row])})" if row in ranks else ""
        group = group_of(board, row, ranked=row in ranks)
        interval = _interval(board, row, task.name)
        rows.append((estimate(plain_name(row), interval, group, text, scale=metric.scale),))
    better = "" if metric.higher_is_better else "Lower is better."
    ranks_text = RANKS if ranks else ""
    bars = " ".join(filter(None, (BARS[task.primary.interval], better, ranks_text)))
    name = WORDS.get(task.primary.metric, task.primary.metric.replace("_", " "))
    if task.primary.reduction == "log_area":
        name = f"mean {name} over log2 of the labels"
    return Forest(
        title=f"{name[0].upper()}{name[1:]} on {task.name}",
        notes=tuple(filter(None, (f"{FAMILIES[task.family].title}. {task.title}.", bars, cut))),
        axis=f"{name}, %" if metric.scale == 100 else name,
        panels=(("", tuple(rows)),),
    )
