"""A link from the board to a file in the results folder."""

from __future__ import annotations

from urllib.parse import quote

from bench.report.text import code
from bench.results.store import Store


def link(store: Store, text: str, *parts: str) -> str:
    """A link relative to the board's file (see `leaderboard.board_path`)."""
    path = "/".join([*(["results"] if store.root.name == "results" else []), *parts])
    return f"[{code(text)}]({quote(path, safe='/,=@~+')})"
