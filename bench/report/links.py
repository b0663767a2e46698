"""Links to what stands in files of its own: an encoder's pictures, and what studies have found."""

from __future__ import annotations

from urllib.parse import quote

from bench.naming import registry
from bench.report.board import Board
from bench.results.identity import OURS
from bench.results.store import SHEET, STUDIES, Store

__all__ = ["picture_links", "study_links"]


def picture_links(board: Board) -> list[str]:
    """Contact sheets of the encoders that are on the board."""
    found = [
        _link(
            board.store, encoder if owner == OURS else f"{owner}/{encoder}", owner, encoder, SHEET
        )
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


def study_links(store: Store) -> list[str]:
    """Reports of the package's studies that lie in the results folder."""
    found = [
        f"- {_link(store, name, STUDIES, name, 'report.md')}: {registry.find('studies', name).summary}"
        for name in registry.names("studies")
        if (store.root / STUDIES / name / "report.md").is_file()
    ]
    return ["## Studies", "\n".join(found)] if found else []


def _link(store: Store, text: str, *parts: str) -> str:
    """From the board's file, which stands beside a folder named results and inside any other."""
    path = "/".join([*(["results"] if store.root.name == "results" else []), *parts])
    return f"[`{text}`]({quote(path, safe='/,=@~+')})"
