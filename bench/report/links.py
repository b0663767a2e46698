"""Links between boards, and from them to files in the results folder."""

from __future__ import annotations

from urllib.parse import quote

from bench.report.text import code
from bench.results.store import Store

BOARDS = "boards"  # the folder of boards in a results folder
MADE = "Made by `reptransfer leaderboard` from the records; do not edit."


def link(text: str, *parts: str) -> str:
    """From a board of a family to a file in the results folder."""
    return f"[{code(text)}]({quote('/'.join(['..', *parts]), safe='/,=@~+')})"


def front_link(store: Store, text: str, page: str) -> str:
    """From the first board to that of a family."""
    folder = [*(["results"] if store.root.name == "results" else []), BOARDS]
    return f"[{text}]({quote('/'.join([*folder, f'{page}.md']))})"
