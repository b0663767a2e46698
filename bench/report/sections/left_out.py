"""What is not shown or not ranked, and the reasons."""

from __future__ import annotations

from bench.report.board import Board
from bench.report.text import names_text, table

MOST = 200  # reasons that are shown


def section(board: Board) -> list[str]:
    """A line for each reason."""
    if not board.left_out:
        return ["## Left out", "Nothing."]
    groups: dict[str, list[tuple[str, str]]] = {}
    for encoder, where, reason in sorted(board.left_out):
        groups.setdefault(reason, []).append((encoder, where))
    lines = [
        [names_text(e for e, _ in pairs), names_text(w for _, w in pairs), reason]
        for reason, pairs in groups.items()
    ]
    shown = sorted(lines)[:MOST]
    more = [f"And {len(lines) - MOST} more reasons."] if len(lines) > MOST else []
    return ["## Left out", table(["encoders", "where", "reason"], shown), *more]
