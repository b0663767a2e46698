"""What a study is: a question, answered with many fits or cells, and a report that is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.files import write_atomically
from bench.report.text import table
from bench.results.record import Record
from bench.results.store import Store
from bench.running.cache import Cache
from bench.running.executor import run_cells
from bench.tasks.cell import Cell

__all__ = ["Claim", "Report", "Setting", "judged", "keep", "measured"]


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """Where a study works: data, a folder of its own for what it has found so far, the cache, and the
    records of everybody.

    `studies/*.py` have `run(*, setting, **params) -> Report`; run again, it goes on from its folder.
    """

    datasets: DataSets
    folder: Path
    cache: Cache | None = None
    device: str | None = None
    tell: Callable[[str], None] = lambda line: None
    results: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The answer as Markdown, as JSON, and figures by file name."""

    text: str
    data: Mapping[str, Any]
    figures: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said, what was measured (one text a part), and whether it holds."""

    said: str
    measured: tuple[str, ...]
    holds: bool


def judged(claims: Sequence[Claim]) -> tuple[str, list[dict[str, Any]]]:
    """Claims as a Markdown table and as JSON."""
    rows = [
        [c.said, "; ".join(c.measured), "holds" if c.holds else "does not hold"] for c in claims
    ]
    told = [{"claim": c.said, "measured": list(c.measured), "holds": c.holds} for c in claims]
    return table(["claim", "measured", ""], rows), told


def measured(cells: Sequence[Cell], setting: Setting) -> tuple[Store, list[Record]]:
    """The records of the cells, kept in the study's own folder, and where. Raises BenchError where one
    is not ok."""
    store = Store(setting.folder / "cells")
    records = run_cells(
        cells,
        root=setting.datasets.root,
        datasets=setting.datasets,
        store=store,
        cache=setting.cache,
        device=setting.device,
        tell=setting.tell,
    ).records
    for record in records:
        if record.status != "ok":
            what = f"{record.encoder['id']} on {record.task['id']}"
            raise BenchError(f"{what} is {record.status}: {record.reason}")
    return store, records


def keep(report: Report, folder: Path) -> Path:
    """Write report.md, report.json and the figures; gives the path of report.md."""
    for name, content in report.figures.items():
        write_atomically(folder / name, content)
    data = json.dumps(report.data, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(folder / "report.json", (data + "\n").encode())
    write_atomically(folder / "report.md", (report.text.rstrip("\n") + "\n").encode())
    return folder / "report.md"
