"""Links to the reports of studies."""

from __future__ import annotations

from bench.naming import registry
from bench.report.board import Board
from bench.report.links import link
from bench.results.store import STUDIES


def section(board: Board) -> list[str]:
    """Reports of the package's studies in the results folder."""
    links = [
        f"- {link(name, STUDIES, name, 'report.md')}: {registry.find('studies', name).summary}"
        for name in registry.names("studies")
        if (board.store.root / STUDIES / name / "report.md").is_file()
    ]
    return ["## Studies", "\n".join(links)] if links else []
