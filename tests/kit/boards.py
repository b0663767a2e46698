"""All boards of a results folder as one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.report.leaderboard import boards, render
from bench.results.store import Store
from bench.tasks.task import Task


def board_text(store: Store) -> str:
    """The boards of families, then the first."""
    return _joined(boards(store).texts)


def rendered(store: Store, tasks: Mapping[str, Task], *, overall: Sequence[str]) -> str:
    """The same of these tasks."""
    return _joined(render(store, tasks, overall=overall).texts)


def _joined(texts: Mapping[str, str]) -> str:
    first, *others = texts.values()
    return "\n".join([*others, first])


def written(folder: Path) -> str:
    """All boards as files of a results folder that holds the first: families, the first, records."""
    records = folder / "boards" / "records.md"
    families = sorted({*(folder / "boards").glob("*.md")} - {records})
    paths = [*families, folder / "leaderboard.md", records]
    return "\n".join(path.read_text() for path in paths)
