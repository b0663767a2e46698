"""What is not shown or not ranked, and why."""

from __future__ import annotations

from bench.report.board import Board
from bench.report.text import names_text, table

__all__ = ["section"]


def section(board: Board) -> list[str]:
    """Equal reasons together."""
    if not board.left_out:
        return ["## Left out", "Nothing."]
    groups: dict[str, list[tuple[str, str]]] = {}
    for encoder, where, why in sorted(board.left_out):
        groups.setdefault(why, []).append((encoder, where))
    lines = [
        [names_text(e for e, _ in some), names_text(w for _, w in some), why]
        for why, some in groups.items()
    ]
    return ["## Left out", table(["encoders", "where", "why"], sorted(lines))]
