"""Links to the contact sheets of encoders."""

from __future__ import annotations

from bench.report.board import Board
from bench.report.links import link
from bench.results.identity import OURS
from bench.results.store import SHEET

__all__ = ["section"]


def section(board: Board) -> list[str]:
    """Contact sheets of the encoders that are on the board."""
    found = [
        link(board.store, encoder if owner == OURS else f"{owner}/{encoder}", owner, encoder, SHEET)
        for owner, encoder in sorted(board.rows)
        if (board.store.root / owner / encoder / SHEET).is_file()
    ]
    if not found:
        return []
    return [
        "### Pictures",
        "What an encoder rebuilds, makes, takes for alike and is fooled by; `reptransfer show ENCODER "
        f"--pictures DIR` draws others: {', '.join(found)}.",
    ]
