"""leaderboard.md and the results folder that it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.files import write_atomically
from bench.report.leaderboard import render
from bench.results.store import Store
from bench.tasks.files import load, names, suite, suites
from bench.tasks.task import Task

__all__ = ["board", "board_path", "update_board"]


def board_path(store: Store) -> Path:
    """Beside a folder named results, else inside the folder."""
    return (store.root.parent if store.root.name == "results" else store.root) / "leaderboard.md"


def board(store: Store, tasks: Mapping[str, Task] | None = None) -> str:
    """The board's text. `tasks` are known beside the package's own."""
    known = {name: load(name) for name in names()} | dict(tasks or {})
    present = {path.stem for path in store.paths()}
    order = sorted(suites(), key=lambda name: (name != "core", name))
    rankings = [suite(name).overall for name in order]
    overall = next((r for r in rankings if r and present & set(r)), ())
    return render(store, known, overall=overall)


def update_board(store: Store, tasks: Mapping[str, Task] | None = None) -> str:
    """The board's text, written unless it stands there already; of two runs the later has it all."""
    text, path = board(store, tasks), board_path(store)
    if _holds(path, text):  # also where nothing can be written
        return text
    with store.board_lock():
        text = board(store, tasks)
        if not _holds(path, text):
            write_atomically(path, text.encode())
    return text


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text
