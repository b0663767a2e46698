"""Which cells a command is about: a suite, or encoders and tasks by name, or a folder of images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.datasets.base import DataSets, data_root
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.status import CellStatus, status_of
from bench.results.store import Store
from bench.tasks.cell import Cell
from bench.tasks.files import select, suite, suites
from bench.tasks.own_images import folder_tasks
from bench.tasks.task import Task

DEFAULT = "demo"


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Encoders by tasks: cells, the number of runs of each (None: as the tasks say), data."""

    cells: Sequence[Cell]
    seeds: int | None
    datasets: DataSets

    @classmethod
    def of(cls, arguments: argparse.Namespace, *, suite_name: str | None = None) -> Selection:
        """What `options.add_selection` has parsed. Encoders and tasks that are not named are those of
        --suite, else of `suite_name`, else of the suite `demo`. Raises BenchError for unknown names."""
        suite_name = arguments.suite or suite_name
        chosen_suite = suite(suite_name or DEFAULT)
        datasets = DataSets(data_root(arguments.data))
        if arguments.semantics is not None and arguments.images is None:
            raise BenchError("--semantics TOML describes the classes of --images DIR; give both")
        if arguments.images is None:
            within = chosen_suite.tasks if arguments.task and suite_name else None
            tasks = select(arguments.task or chosen_suite.tasks, within)
        elif arguments.task:
            raise BenchError("give either --images DIR, which makes its own tasks, or --task")
        else:
            semantics = None if arguments.semantics is None else Path(arguments.semantics)
            tasks = folder_tasks(Path(arguments.images), datasets, semantics)
        specs = [resolve("encoders", spec) for spec in arguments.encoder or chosen_suite.encoders]
        cells = [Cell(task, encoder) for task in tasks for encoder in specs]
        seeds = None if arguments.task or arguments.encoder else chosen_suite.seeds
        return cls(cells, arguments.seeds or seeds, datasets)

    @property
    def tasks(self) -> dict[str, Task]:
        return {cell.task.name: cell.task for cell in self.cells}

    def standings(self, store: Store) -> list[CellStatus]:
        return [status_of(cell, store, seeds=self.seeds) for cell in self.cells]


def suite_of(store: Store) -> str:
    """The suite that most records of a folder belong to; the default one where there are none."""
    present = [path.stem for path in store.paths()]
    counts = {name: sum(task in suite(name).tasks for task in present) for name in suites()}
    largest = max(counts, key=lambda name: counts[name])
    return largest if counts[largest] else DEFAULT
