"""The overall ranking: mean normalised scores over the tasks that a suite names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.report.board import Board, display_name
from bench.report.columns import cells, heads
from bench.report.notes import few_rows_text
from bench.report.ranks import normalised, overall_ranks, range_text
from bench.report.recall import numbers
from bench.report.text import interval_text, sorted_table
from bench.results.record import Record
from bench.statistics.intervals import Interval, scored_interval

Row = tuple[tuple[str, str], list[Record]]  # owner and encoder, records on the tasks of the score


def complete_rows(board: Board) -> list[Row]:
    """Encoders with a ranked record on all tasks of the overall score; none without such a score."""
    return [] if not board.overall else [row for row, reason in _rows(board) if not reason]


def _rows(board: Board) -> Iterator[tuple[Row, str]]:
    """Each encoder, and why it has no overall rank; "" if it has one."""
    for key, records in board.rows.items():
        missing = [name for name in board.overall if name not in records]
        present = [records[name] for name in board.overall if name in records]
        reason = f"no score on {', '.join(missing)}" if missing else ""
        yield (key, present), reason or next(filter(None, map(board.reason_unranked, present)), "")


def section(board: Board) -> list[str]:
    """Encoders with a record on all tasks of the overall score, the best first; others are left out."""
    if not board.overall:
        return []
    for ((_, encoder), _), reason in _rows(board):
        if reason:
            board.leave_out(encoder, "overall", reason)
    complete = complete_rows(board)
    if not complete:
        return []
    ranks, groups = overall_ranks(board, complete)
    lines: list[tuple[float, list[str]]] = []
    for ((owner, encoder), overall_records), rank, group in zip(
        complete, ranks, groups, strict=True
    ):
        mean, records = mean_score(board, overall_records), board.rows[owner, encoder]
        line = [range_text(*rank), letter(group)]
        line += [display_name(owner, encoder, records), interval_text(mean)]
        line += cells(board, overall_records)
        lines.append((-mean.value, line))
    head = ["rank", "ties", "encoder", "overall", *heads()]
    return [
        "## Overall",
        f"Mean of {', '.join(f'`{name}`' for name in board.overall)}, each normalised so that chance "
        "is 0 and the ceiling 100; it does not depend on other encoders. Ranks are ranges: an encoder "
        "ranked 2-4 does not differ significantly from two others (all pairs tested on the same images, "
        "Holm's adjustment, 5 %). Equal letters: no significant difference from the best of the group."
        + few_rows_text(board, board.overall),
        sorted_table(head, lines),
    ]


def letter(group: int) -> str:
    """Of a group of ties, from 1; from 27 on its number."""
    return chr(96 + group) if group < 27 else str(group)


def mean_score(board: Board, records: Sequence[Record]) -> Interval:
    """Mean normalised primary, in per cent. Tasks on the same images share their rows; the
    intervals of different data sets are added in quadrature."""
    records = list(records)
    return Interval(*board.recall("mean score", records, lambda: numbers(_mean(board, records))))


def _mean(board: Board, records: Sequence[Record]) -> Interval:
    by_data: dict[str, list[Record]] = {}
    for record in records:
        by_data.setdefault(str(record.data.digest), []).append(record)
    value = low = high = 0.0
    for group in by_data.values():
        interval = scored_interval(normalised(board, group))
        share = 100 * len(group) / len(records)
        value += share * interval.value
        low += (share * (interval.value - interval.low)) ** 2
        high += (share * (interval.high - interval.value)) ** 2
    return Interval(value, value - math.sqrt(low), value + math.sqrt(high))
