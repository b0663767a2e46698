"""The overall ranking: mean normalised scores over the tasks that a suite names."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report.board import Board, display_name, reason_unranked
from bench.report.columns import cells, heads
from bench.report.ranks import normalised, overall_ranks
from bench.report.text import interval_text, sorted_table
from bench.results.record import Record
from bench.statistics.intervals import Interval, scored_interval


def section(board: Board) -> list[str]:
    """Encoders with a record on all tasks of the overall score, the best first; others are left out."""
    if not board.overall:
        return []
    complete: list[tuple[tuple[str, str], list[Record]]] = []
    for (owner, encoder), records in board.rows.items():
        missing = [name for name in board.overall if name not in records]
        if missing:
            board.leave_out(encoder, "overall", f"no score on {', '.join(missing)}")
            continue
        reason = next(filter(None, (reason_unranked(records[name]) for name in board.overall)), "")
        if reason:
            board.leave_out(encoder, "overall", reason)
            continue
        complete.append(((owner, encoder), [records[name] for name in board.overall]))
    if not complete:
        return []
    ranks, groups = overall_ranks(board, complete)
    lines: list[tuple[float, list[str]]] = []
    for ((owner, encoder), overall_records), rank, group in zip(
        complete, ranks, groups, strict=True
    ):
        mean, records = _mean_score(board, overall_records), board.rows[owner, encoder]
        line = [rank, chr(96 + group) if group < 27 else str(group)]
        line += [display_name(owner, encoder, records), interval_text(mean)]
        line += cells(overall_records)
        lines.append((-mean.value, line))
    head = ["rank", "ties", "encoder", "overall", *heads()]
    return [
        "## Overall",
        f"Mean of {', '.join(f'`{name}`' for name in board.overall)}, each normalised so that chance "
        "is 0 and the ceiling 100; it does not depend on other encoders. Ranks are ranges: an encoder "
        "ranked 2-4 does not differ significantly from two others (all pairs tested on the same images, "
        "Holm's adjustment, 5 %). Equal letters: no significant difference from the best of the group.",
        sorted_table(head, lines),
    ]


def _mean_score(board: Board, records: Sequence[Record]) -> Interval:
    """Mean normalised primary, in per cent. Tasks on the same images are resampled together; the
    intervals of different data sets are added in quadrature."""
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
