"""The tables of a family of tasks: encoders by tasks, with ranks, and gains over baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from bench.errors import BenchError
from bench.report.board import (
    Board,
    display_name,
    score_text,
    sort_value,
    transductive,
    uses_unseen_signatures,
)
from bench.report.columns import cells, heads
from bench.report.notes import Beside, all_right, few_rows_text
from bench.report.ranks import Row, range_text, task_ranks
from bench.report.recall import numbers
from bench.report.text import code, escaped, percent_text, sorted_table
from bench.results.record import Record
from bench.scoring.comparison import paired
from bench.statistics.intervals import Interval
from bench.tasks.families import FAMILIES
from bench.tasks.task import Task

LIMIT = 10  # tasks in one table


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """The scores on a family's tasks in one table; of more than LIMIT tasks, one table of those without a
    baseline and one for each data set of those with one."""
    names = [name for name in tasks if any(name in records for records in board.rows.values())]
    parts = [f"## {FAMILIES[tasks[name].family].title}" for name in names[:1]]
    for title, columns in _groups(board, names) if names else ():
        metrics = sorted({board.tasks[name].primary.metric for name in columns})
        by_class = all(board.tasks[name].primary.interval == "classes" for name in columns)
        on = "class splits, each class left out in turn" if by_class else "images"
        text = (
            f"Metric: {', '.join(metrics)}. In parentheses the range of the rank: all pairs of a column "
            f"tested on the same {on}, Holm's adjustment, 5 %."
        )
        text += few_rows_text(board, columns)
        text += _gains_text(board, columns, "class splits" if by_class else "test images")
        parts += [*([f"### {escaped(title)}"] if title else []), text, _table(board, columns)]
    return parts


def _groups(board: Board, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The tasks of each table, and its title; no title for the first."""
    with_baseline = [name for name in names if _baseline(board, name)]
    if len(names) <= LIMIT or not with_baseline:
        yield "", list(names)
        return
    first = [name for name in names if name not in with_baseline]
    if first:
        yield "", first
    for dataset in dict.fromkeys(board.tasks[name].dataset for name in with_baseline):
        on_dataset = [name for name in with_baseline if board.tasks[name].dataset == dataset]
        yield f"{dataset}: tasks with a baseline", on_dataset


def _baseline(board: Board, name: str) -> str:
    """The baseline of a task; "" if it is the task itself or there is none."""
    return (board.tasks[name].baseline or "").partition("~0")[0]


def _table(board: Board, names: Sequence[str]) -> str:
    lines = []
    ranks = {name: task_ranks(board, name) for name in names}
    beside = Beside(r for rows in board.rows.values() for r in rows.values())
    for (owner, encoder), records in board.rows.items():
        scored = [name for name in names if name in records]
        if scored:
            spans = [ranks[name].get((owner, encoder)) for name in names]
            row_ranks = [range_text(*span) if span else "" for span in spans]
            line = [display_name(owner, encoder, records)]
            line += map(partial(_score, board, beside, records), names, row_ranks)
            line += cells(board, [records[name] for name in scored])
            lines.append((-max(sort_value(records[name]) for name in scored), line))
    return sorted_table(["encoder", *names, *heads()], lines)


def _score(
    board: Board, beside: Beside, records: Mapping[str, Record], name: str, rank: str
) -> str:
    if name not in records:
        return ""
    record, task = records[name], board.tasks[name]
    text = score_text(record)
    text += f" ({rank})" if rank else ""
    text += ", transductive" if transductive(record, task) else ""
    text += ", trained with unseen signatures" if uses_unseen_signatures(record) else ""
    text += ", below pixels" if beside.below_pixels(record) else ""
    text += ", equal predictions" if beside.equal_to(record) else ""
    text += ", all right" if _all_right(board, record) else ""
    gain = gain_over_baseline(board, records, record, task)
    return f"{text}; gain {percent_text(gain, '+')}" if gain else text


def _all_right(board: Board, record: Record) -> bool:
    if board.level(record) == "reported":
        return False
    return bool(
        board.recall("all right", [record], lambda: all_right(board.store.predictions(record)))
    )


def _gains_text(board: Board, names: Sequence[str], paired_over: str) -> str:
    """The baselines of these tasks in a sentence; "" where none has one."""
    gains = []
    for name in names:
        baseline, untrained, _ = (board.tasks[name].baseline or "").partition("~0")
        if baseline or untrained:
            encoder = "the untrained encoder on " if untrained else ""
            gains.append(f"of {code(name)} over {encoder}{code(baseline or name)}")
    return f" Gains, paired over {paired_over}: {'; '.join(gains)}." if gains else ""


def gain_over_baseline(
    board: Board, records: Mapping[str, Record], record: Record, task: Task
) -> Interval | None:
    """The primary minus the baseline's, paired; None where the task or the encoder has none."""
    if task.baseline is None:
        return None
    name, untrained, _ = task.baseline.partition("~0")
    name = name or record.task.id
    baseline = _untrained(board, record, name) if untrained else records.get(name)
    baseline_task = board.tasks.get(name, task)
    if baseline is None or baseline is record:
        return None
    if "reported" in (board.level(record), board.level(baseline)):
        return None
    try:
        return paired_difference(board, record, baseline, task, baseline_task)
    except BenchError as error:  # the two cannot be compared
        board.leave_out(record.encoder.id, f"gain on {task.name}", str(error))
        return None


def paired_difference(board: Board, a: Record, b: Record, task_a: Task, task_b: Task) -> Interval:
    """The interval of `comparison.paired`, which says what it raises."""

    def compute() -> list[float]:
        return numbers(paired(board.store, a, b, task_a, task_b)[0])

    return Interval(*board.recall("paired difference", [a, b], compute))


def gains_over_baseline(board: Board, task: Task) -> dict[Row, Interval]:
    """By owner and encoder `gain_over_baseline` on a task, of those that have one."""
    gains = dict[Row, Interval]()
    for row, records in board.computed().items():
        if task.name in records:
            gain = gain_over_baseline(board, records, records[task.name], task)
            if gain is not None:
                gains[row] = gain
    return gains


def _untrained(board: Board, record: Record, task: str) -> Record | None:
    """The record on `task` of the same encoder at ~0, or else of one with the same untrained trunk
    (`encoder.start`)."""
    own_start = record.encoder.id.partition("~")[0] + "~0"
    starts = [
        (encoder != own_start, encoder, records[task])
        for (owner, encoder), records in board.rows.items()
        if owner == record.owner and encoder.endswith("~0") and task in records
    ]
    for is_other, _, untrained in sorted(starts, key=lambda start: start[:2]):
        start = untrained.encoder.start
        if not is_other or (start is not None and start == record.encoder.start):
            return untrained
    return None
