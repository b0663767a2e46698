"""Ranges of ranks: of one task's scores, and of the mean over several tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bench.report.board import Board
from bench.results.record import Record
from bench.statistics.metrics import METRICS
from bench.statistics.ranking import pairwise_p, rank_ranges, tie_groups
from bench.statistics.variance import Scored
from bench.tasks.task import Task

Row = tuple[str, str]  # owner and encoder


def range_text(low: int, high: int) -> str:
    """One rank, or the first and the last.

    >>> range_text(2, 2), range_text(2, 4)
    ('2', '2-4')
    """
    return str(low) if low == high else f"{low}-{high}"


def task_ranks(board: Board, name: str) -> dict[Row, tuple[int, int]]:
    """The first and the last rank of each encoder on one task, of those that are ranked; computed once.
    Where others can be computed again from rows, scores from counts alone come after them, unless they
    were reproduced."""
    if name not in board.ranks:
        board.ranks[name] = _task_ranks(board, name)
    return board.ranks[name]


def _task_ranks(board: Board, name: str) -> dict[Row, tuple[int, int]]:
    task = board.tasks[name]
    ranked = {
        row: records[name]
        for row, records in board.rows.items()
        if name in records and not board.reason_unranked(records[name])
    }
    from_counts = {row for row, record in ranked.items() if board.is_from_counts(record)}
    what = "ranks", [row in from_counts for row in ranked]
    ranges = board.recall(
        what, list(ranked.values()), lambda: _ranges_of(board, task, ranked, from_counts)
    )
    return {row: (low, high) for row, (low, high) in zip(ranked, ranges, strict=False)}


def _ranges_of(
    board: Board, task: Task, ranked: Mapping[Row, Record], from_counts: Collection[Row]
) -> list[tuple[int, int]]:
    """In the order of `ranked`; empty where they cannot be compared."""
    bounds, scored = METRICS[task.primary.metric].bounds, dict[Row, Scored]()
    for row, record in ranked.items():
        if task.primary.interval == "rows":
            rows = board.row_scores(record)
            scored[row] = Scored.of(np.stack(list(rows.values())), list(rows), bounds)
        else:
            values = [
                replicate.score(task.primary.metric, task.primary.target)
                for replicate in record.replicates
                if replicate.coords.control is None
            ]
            scored[row] = Scored.of(np.array(values)[:, None])
    if len(scored) < 2 or len({len(s.rows) for s in scored.values()}) > 1:
        return []
    first = {row: s for row, s in scored.items() if row not in from_counts}
    last = {row: s for row, s in scored.items() if row in from_counts}
    if task.keeps_counts:  # no record of the task has rows
        first, last = scored, {}
    ranges = {**_ranges(task, first, 0), **_ranges(task, last, len(first))}
    return [ranges[row] for row in ranked]


def _ranges(task: Task, scored: Mapping[Row, Scored], above: int) -> dict[Row, tuple[int, int]]:
    """Ranges of ranks among these scores, below `above` others."""
    if not scored:
        return {}
    sign = 1.0 if METRICS[task.primary.metric].higher_is_better else -1.0
    scores = [sign * s.value for s in scored.values()]
    ranges = rank_ranges(scores, pairwise_p([list(scored.values())], [1.0]))
    return {
        row: (above + low, above + high) for row, (low, high) in zip(scored, ranges, strict=True)
    }


def overall_ranks(
    board: Board, rows: Sequence[tuple[Row, Sequence[Record]]]
) -> tuple[list[tuple[int, int]], list[int]]:
    """First and last ranks, and groups of ties, of mean normalised scores. `rows`: encoders with their
    records on the same tasks. Those on the same images are paired by test row; data sets are
    independent. Computed once."""
    encoders = tuple(row for row, _ in rows)
    if encoders not in board.overall_known:
        every = [record for _, records in rows for record in records]
        what = "overall", [len(records) for _, records in rows]
        ranges, groups = board.recall(what, every, lambda: _overall_ranks(board, rows))
        board.overall_known[encoders] = [(low, high) for low, high in ranges], list(groups)
    return board.overall_known[encoders]


def _overall_ranks(
    board: Board, rows: Sequence[tuple[Row, Sequence[Record]]]
) -> tuple[list[tuple[int, int]], list[int]]:
    groups, weights, scores = [], [], np.zeros(len(rows))
    for digest in sorted({str(record.data.digest) for record in rows[0][1]}):
        records_on_data = [
            [r for r in records if str(r.data.digest) == digest] for _, records in rows
        ]
        group = [normalised(board, records) for records in records_on_data]
        groups.append(group)
        weights.append(len(records_on_data[0]) / len(rows[0][1]))
        scores += weights[-1] * np.array([scored.value for scored in group])
    p = pairwise_p(groups, weights)
    values = scores.tolist()
    return rank_ranges(values, p), tie_groups(values, p)


def normalised(board: Board, records: Sequence[Record]) -> Scored:
    """Scores between chance and ceiling, averaged over tasks on the same images."""
    parts, keys, ends = [], [], []
    for record in records:
        task = board.tasks[record.task.id]
        bounds = np.array(METRICS[task.primary.metric].bounds)
        ends.append(np.sort((bounds - task.chance) / (task.ceiling - task.chance)))
        rows = board.row_scores(record)
        stacked = np.stack(list(rows.values()))
        parts.append((stacked - task.chance) / (task.ceiling - task.chance))
        keys.append(list(rows))
    low, high = np.mean(ends, axis=0).tolist()
    if any(seeds != keys[0] for seeds in keys):  # seeds differ between tasks: they cannot be paired
        means = np.mean([part.mean(axis=0) for part in parts], axis=0)
        return Scored.of(means[None], bounds=(low, high))
    return Scored.of(np.mean(parts, axis=0), keys[0], (low, high))
