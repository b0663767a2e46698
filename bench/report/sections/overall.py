"""The overall ranking: mean normalised scores over the tasks that a suite names."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report.board import Board, name_of, unranked
from bench.report.columns import cells, heads
from bench.report.ranks import normalised, overall_ranks
from bench.report.text import interval_text, table
from bench.results.record import Record
from bench.statistics.intervals import Interval, scored_interval

__all__ = ["section"]


def section(board: Board) -> list[str]:
    """Encoders with all the tasks of the overall score, best first; the others are named."""
    if not board.overall:
        return []
    complete: list[tuple[tuple[str, str], list[Record]]] = []
    for (owner, encoder), records in board.rows.items():
        lacking = [name for name in board.overall if name not in records]
        if lacking:
            board.leave(encoder, "overall", f"no score on {', '.join(lacking)}")
            continue
        why = next(filter(None, (unranked(records[name]) for name in board.overall)), "")
        if why:
            board.leave(encoder, "overall", why)
            continue
        complete.append(((owner, encoder), [records[name] for name in board.overall]))
    if not complete:
        return []
    ranks, groups = overall_ranks(board, complete)
    lines: list[tuple[float, list[str]]] = []
    for ((owner, encoder), records_of), rank, group in zip(complete, ranks, groups, strict=True):
        mean, records = _mean_score(board, records_of), board.rows[owner, encoder]
        line = [rank, chr(96 + group) if group < 27 else str(group)]
        line += [name_of(owner, encoder, records), interval_text(mean), *cells(records_of)]
        lines.append((-mean.value, line))
    head = ["rank", "ties", "encoder", "overall", *heads()]
    return [
        "## Overall",
        f"Mean of {', '.join(f'`{name}`' for name in board.overall)}, each normalised: chance is 0, the "
        "ceiling 100. No other encoder's entry moves it. Ranks are as certain as the data make them: "
        "2-4 cannot be told from two others (all pairs tested on the same images, Holm's adjustment, "
        "5 %); equal letters cannot be told from the best of their group.",
        table(head, [line for _, line in sorted(lines)]),
    ]


def _mean_score(board: Board, records: Sequence[Record]) -> Interval:
    """Mean normalised primary. Tasks on the same images are resampled together, others in
    quadrature."""
    by_data: dict[str, list[Record]] = {}
    for record in records:
        by_data.setdefault(record.data["digest"], []).append(record)
    value = low = high = 0.0
    for group in by_data.values():
        interval = scored_interval(normalised(board, group))
        share = 100 * len(group) / len(records)
        value += share * interval.value
        low += (share * (interval.value - interval.low)) ** 2
        high += (share * (interval.high - interval.value)) ** 2
    return Interval(value, value - math.sqrt(low), value + math.sqrt(high))
