"""What a study is: a question, answered with many fits or cells, and a report that is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.files.writing import write_atomically
from bench.naming.specs import resolve
from bench.report.text import table
from bench.results.record import Record
from bench.results.store import Store
from bench.running.cache import Cache
from bench.running.executor import run_cells
from bench.running.machine import chosen_device
from bench.running.workspace import Workspace
from bench.scoring.scorer import primary_rows
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """Where a study works: the data sets, a folder for its partial results and its report, the cache,
    who hears of its `progress`, and the `results` of the board.

    `studies/*.py` have `run(*, setting, **params) -> Report`; run again, it goes on from its folder.
    """

    datasets: DataSets
    folder: Path
    cache: Cache | None = None
    device: str | None = None
    progress: Callable[[str], None] = lambda line: None
    results: Path | None = None

    def workspace(self, *levels: str | None) -> Workspace:
        """One that keeps features of the default level and of `levels`."""
        device = chosen_device(self.device)
        return Workspace(self.datasets, cache=self.cache, levels={None, *levels}, device=device)


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, what was measured (one text a part), and whether it holds."""

    statement: str
    measured: tuple[str, ...]
    holds: bool

    def line(self) -> list[str]:
        return [
            self.statement,
            "; ".join(self.measured),
            "holds" if self.holds else "does not hold",
        ]

    def json(self) -> dict[str, Any]:
        return {"claim": self.statement, "measured": self.measured, "holds": self.holds}


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The answer as Markdown, as JSON, and figures by file name."""

    text: str
    data: Mapping[str, Any]
    figures: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        title: str,
        parts: Sequence[str],
        data: Mapping[str, Any],
        *,
        claims: Sequence[Claim] = (),
        note: str = "",
        figures: Mapping[str, bytes] | None = None,
    ) -> Report:
        """From the paragraphs and tables of the text; `claims` follow as a table, below it the `note`.
        `data` may hold dataclasses, which become objects of their fields or of what their method `json`
        gives, and arrays."""
        text = [f"# {title}", *parts]
        if claims:
            text += ["## Claims", table(["claim", "measured", ""], [c.line() for c in claims])]
            data = {**data, "claims": claims}
        return cls("\n\n".join([*text, *filter(None, [note])]), _plain(data), figures or {})


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if is_dataclass(value):
        own = getattr(value, "json", None)
        value = own() if own else {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(member) for member in value] if isinstance(value, list | tuple) else value


def require(study: str, least: int, **parameters: int) -> None:
    """Raise BenchError for a parameter below `least`."""
    for name, value in parameters.items():
        if value < least:
            raise BenchError(f"{study}: {name}={value}; it must be {least} or more")


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredCells:
    """Records by encoder and task, and the store that has their predictions."""

    store: Store
    records: Mapping[tuple[str, str], Record]

    def record(self, cell: Cell) -> Record:
        return self.records[cell.name, cell.task.name]

    def rows(self, cell: Cell) -> Array:
        """Scores of replicates by test rows (r, n); their mean is the primary metric."""
        record = self.record(cell)
        rows = primary_rows(record, cell.task, self.store.predictions(record))
        return np.stack(list(rows.values()))


def measure(cells: Iterable[Cell], setting: Setting) -> MeasuredCells:
    """Run each of the cells once, or read its record from the study's folder. Raises BenchError where
    one is not ok."""
    unique = {(cell.name, cell.task.name): cell for cell in cells}
    store = Store(setting.folder / "cells")
    records = run_cells(
        list(unique.values()),
        setting.datasets,
        store=store,
        cache=setting.cache,
        device=setting.device,
        tell=setting.progress,
    ).records
    for record in records:
        if record.status != "ok":
            raise BenchError(f"{record.name} is {record.status}: {record.reason}")
    return MeasuredCells(store, dict(zip(unique, records, strict=True)))


def linear_task(dataset: str) -> Task:
    """The task of the linear probe on a data set."""
    return load(f"{resolve('datasets', dataset).text}-linear")


def accuracy_task(study: str, dataset: str) -> Task:
    """The same; raises BenchError where it is not scored by accuracy."""
    task = linear_task(dataset)
    if task.primary.metric != "accuracy":
        raise BenchError(f"{study}: {task.name} has {task.primary.metric}; it must have accuracy")
    return task


def keep(report: Report, folder: Path) -> Path:
    """Write report.md, report.json and the figures; gives the path of report.md."""
    for name, content in report.figures.items():
        write_atomically(folder / name, content)
    data = json.dumps(report.data, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(folder / "report.json", (data + "\n").encode())
    write_atomically(folder / "report.md", (report.text.rstrip("\n") + "\n").encode())
    return folder / "report.md"
