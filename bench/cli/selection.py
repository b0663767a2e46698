"""Which cells a command is about: a suite, or encoders and tasks by name, or a folder of images."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cli.terminal import print_progress
from bench.data.samples import DataSet
from bench.datasets.base import data_root
from bench.datasets.image_folder import BadImages, FolderDataSet
from bench.errors import BenchError
from bench.files.writing import write_atomically
from bench.naming.specs import resolve
from bench.results.own_names import OwnNames
from bench.results.record import DataIdentity
from bench.results.status import CellStatus, status_of
from bench.results.store import Store
from bench.tasks.cell import OURS, Cell
from bench.tasks.files import select, suite, suites
from bench.tasks.own_images import folder_tasks

DEFAULT = "demo"


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Encoders by tasks: cells, the number of runs of each (None: as the tasks say), data."""

    cells: Sequence[Cell]
    seeds: int | None
    names: OwnNames
    data: Mapping[str, DataIdentity] = field(default_factory=dict)  # of the user's own data sets

    @classmethod
    def of(cls, arguments: argparse.Namespace, *, suite_name: str | None = None) -> Selection:
        """What `options.add_selection` has parsed. Encoders and tasks that are not named are those of
        --suite, else of `suite_name`, else of the suite `demo`. Nothing is written but
        the list of bad images.

        Raises BenchError for unknown names, and for names that in the results folder are others'.
        """
        suite_name = arguments.suite or suite_name
        chosen_suite = suite(suite_name or DEFAULT)
        if arguments.skip_bad and arguments.images is None:
            raise BenchError("--skip-bad N leaves out bad images of --images DIR; give both")
        results = Path(arguments.results)
        names = OwnNames(Store(results), data_root(arguments.data))
        if arguments.semantics is not None and arguments.images is None:
            raise BenchError("--semantics TOML describes the classes of --images DIR; give both")
        if arguments.images is None:
            within = chosen_suite.tasks if arguments.task and suite_name else None
            chosen = arguments.task or chosen_suite.tasks
            tasks = names.tasks(chosen, select(chosen, within, names.own.tasks))
        elif arguments.task:
            raise BenchError("give either --images DIR, which makes its own tasks, or --task")
        else:
            semantics = None if arguments.semantics is None else Path(arguments.semantics)
            folder = Path(arguments.images)
            try:
                name = names.images(folder, skip_bad=arguments.skip_bad)
            except BadImages as error:
                listed = _listed(error.files, results)
                advice = f"or leave out up to N with --skip-bad N; {listed}"
                raise BenchError(f"{error}, {advice}") from error
            tasks = folder_tasks(folder, names.datasets, semantics, name=name)
            _tell(names.datasets(tasks[0].dataset), results)
        specs = arguments.encoder or chosen_suite.encoders
        if arguments.name is not None and len(arguments.encoder or ()) != 1:
            raise BenchError("--name NAME is the name of one encoder; give one --encoder SPEC")
        encoders = [names.encoder(spec, arguments.name) for spec in specs]
        cells = [Cell(task, encoder) for task in tasks for encoder in encoders]
        seeds = None if arguments.task or arguments.encoder else chosen_suite.seeds
        return cls(cells, arguments.seeds or seeds, names, names.data(tasks))

    def standings(self, store: Store) -> list[CellStatus]:
        return [
            status_of(cell, store, seeds=self.seeds, data=self.data.get(cell.task.dataset))
            for cell in self.cells
        ]


def recorded(store: Store, names: OwnNames) -> list[CellStatus]:
    """How the records of the package's encoders on the folder's own tasks stand, each with its own number
    of runs."""
    own, standings = names.own.tasks, list[CellStatus]()
    records = [r for r in store.readable() if r.owner == OURS and r.task.id in own]
    data = names.data(own[record.task.id] for record in records)
    for record in records:
        task = own[record.task.id]
        try:
            cell = Cell(task, resolve("encoders", record.encoder.id))
        except BenchError:
            continue
        seeds = record.measured.get("seeds")
        standings.append(status_of(cell, store, seeds=seeds, data=data.get(task.dataset)))
    return standings


def has_suite(store: Store) -> bool:
    """Does a results folder hold records on tasks of a suite?"""
    tasks = {task for name in suites() for task in suite(name).tasks}
    return any(path.stem in tasks for path in store.paths())


def _tell(dataset: DataSet, results: Path) -> None:
    """Say in a line what the folder holds, and where bad images that were left out are listed."""
    assert isinstance(dataset, FolderDataSet)
    if dataset.skipped:
        print_progress(_listed(dataset.skipped, results))
    print_progress(dataset.summary)


def _listed(bad: Mapping[str, str], results: Path) -> str:
    """Write a line for each bad image, its name, a tab and why, and say where."""
    path = results / "bad-images.txt"
    lines = []
    for name, why in bad.items():
        plain = name if name.isprintable() else ascii(name)
        lines.append(f"{plain}\t{why.removeprefix(name).strip()}\n")
    write_atomically(path, "".join(lines).encode(errors="surrogateescape"))
    return f"all {len(bad)} are listed in {path}"


def suite_of(store: Store) -> str:
    """The suite that most records of a folder belong to; the default one where there are none."""
    present = Counter(path.stem for path in store.paths())
    counts = {name: sum(present[task] for task in set(suite(name).tasks)) for name in suites()}
    largest = max(counts, key=lambda name: counts[name])
    return largest if counts[largest] else DEFAULT
