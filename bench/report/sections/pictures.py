"""Links to the contact sheets of encoders."""

from __future__ import annotations

from bench.report.board import Board
from bench.report.links import link
from bench.results.store import SHEET
from bench.tasks.cell import OURS


def section(board: Board) -> list[str]:
    """Contact sheets of the encoders on the board."""
    links = [
        link(encoder if owner == OURS else f"{owner}/{encoder}", owner, encoder, SHEET)
        for owner, encoder in sorted(board.rows)
        if (board.store.root / owner / encoder / SHEET).is_file()
    ]
    if not links:
        return []
    return [
        "### Pictures",
        "Reconstructions, samples, codes, filters, nearest neighbours and attacks; `reptransfer show "
        f"ENCODER --pictures DIR` draws those of any encoder: {', '.join(links)}.",
    ]
