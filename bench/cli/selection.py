"""Which cells a command is about: a suite, or encoders and tasks by name, or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.datasets.base import DataSets, data_root
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.identity import Cell
from bench.results.store import Store
from bench.tasks.files import Suite, select, suite, suites
from bench.tasks.own_images import folder_tasks
from bench.tasks.task import Task

__all__ = ["Selection", "suite_of"]

DEFAULT = "demo"


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Encoders by tasks: cells, the number of runs of each (None: as the tasks say), data."""

    cells: Sequence[Cell]
    seeds: int | None
    datasets: DataSets

    @classmethod
    def of(
        cls,
        *,
        suite_name: str | None = None,
        encoders: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        images: str | None = None,
        semantics: str | None = None,
        data: str | None = None,
        seeds: int | None = None,
    ) -> Selection:
        """What is not named is the suite's. Raises BenchError for names that nothing has."""
        chosen: Suite = suite(suite_name or DEFAULT)
        datasets = DataSets(data_root(data))
        if semantics is not None and images is None:
            raise BenchError("--semantics FILE.toml tells the classes of --images DIR; give both")
        if images is None:
            found = select(tasks or chosen.tasks, chosen.tasks if tasks and suite_name else None)
        elif tasks:
            raise BenchError("give either --images DIR, which makes its own tasks, or --task")
        else:
            found = folder_tasks(Path(images), datasets, Path(semantics) if semantics else None)
        specs = [resolve("encoders", spec) for spec in encoders or chosen.encoders]
        cells = [Cell(task, encoder) for task in found for encoder in specs]
        return cls(cells, seeds or (None if tasks or encoders else chosen.seeds), datasets)

    @property
    def tasks(self) -> dict[str, Task]:
        return {cell.task.name: cell.task for cell in self.cells}


def suite_of(store: Store) -> str:
    """The suite that most records of a folder belong to; the default one where there are none."""
    present = [path.stem for path in store.paths()]
    counts = {name: sum(task in suite(name).tasks for task in present) for name in suites()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else DEFAULT
