"""What is not shown or not ranked, and the reasons."""

from __future__ import annotations

from collections.abc import Iterable

from bench.report.board import Board
from bench.report.text import names_text, table

MOST = 200  # reasons that are shown


def section(board: Board) -> list[str]:
    """A line for each reason."""
    lines = left_out_lines(board)
    if not lines:
        return ["## Left out", "Nothing."]
    more = [f"And {len(lines) - MOST} more reasons."] if len(lines) > MOST else []
    return ["## Left out", table(["encoders", "where", "reason"], lines[:MOST]), *more]


def left_out_lines(board: Board) -> list[list[str]]:
    """Encoders, where, and reason: a line for each reason."""
    return by_reason(board.left_out)


def by_reason(left_out: Iterable[tuple[str, str, str]]) -> list[list[str]]:
    """A line for each reason, of triples of encoder, where and reason."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for encoder, where, reason in sorted(left_out):
        groups.setdefault(reason, []).append((encoder, where))
    return sorted(
        [names_text(e for e, _ in pairs), names_text(w for _, w in pairs), reason]
        for reason, pairs in groups.items()
    )
