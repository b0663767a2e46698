"""Which cells a command is about: a suite, or encoders and tasks by name, or a folder of images."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.cli.terminal import print_progress
from bench.data.samples import DataSet
from bench.datasets.base import DataSets, data_root
from bench.datasets.image_folder import BadImages, FolderDataSet
from bench.errors import BenchError
from bench.files import write_atomically
from bench.naming import registry
from bench.naming.specs import Resolved, escape, resolve
from bench.results.own_tasks import is_packaged, keep_task, own_tasks
from bench.results.places import NameClaim, Place, Places, Section, encoder_files
from bench.results.record import DataIdentity, Record
from bench.results.status import CellStatus, data_identity, status_of
from bench.results.store import Store
from bench.tasks.cell import OURS, Cell
from bench.tasks.files import load, select, suite, suites
from bench.tasks.own_images import folder_dataset, folder_tasks
from bench.tasks.task import Task

DEFAULT = "demo"


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Encoders by tasks: cells, the number of runs of each (None: as the tasks say), data."""

    cells: Sequence[Cell]
    seeds: int | None
    datasets: DataSets
    claims: Sequence[NameClaim] = ()  # names that stand for the user's own folders and files
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
        names = _Names(Store(results), data_root(arguments.data), skip_bad=arguments.skip_bad)
        datasets = names.datasets
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
            with _bad_images_listed(results):
                name = names.images(folder)
            tasks = folder_tasks(folder, datasets, semantics, name=name)
            _tell(datasets(tasks[0].dataset), results)
        specs = arguments.encoder or chosen_suite.encoders
        if arguments.name is not None and len(arguments.encoder or ()) != 1:
            raise BenchError("--name NAME is the name of one encoder; give one --encoder SPEC")
        encoders = [names.encoder(spec, arguments.name) for spec in specs]
        cells = [Cell(task, encoder) for task in tasks for encoder in encoders]
        seeds = None if arguments.task or arguments.encoder else chosen_suite.seeds
        return cls(cells, arguments.seeds or seeds, datasets, names.claims, names.data(tasks))

    def standings(self, store: Store) -> list[CellStatus]:
        return [
            status_of(cell, store, seeds=self.seeds, data=self.data.get(cell.task.dataset))
            for cell in self.cells
        ]

    def keep(self, store: Store) -> None:
        """Write what the folder needs to read records of these cells: the definitions of tasks that are
        not of this package, and the places of the user's own folders and files."""
        own = {cell.task.name: cell.task for cell in self.cells}
        own = {name: task for name, task in own.items() if not is_packaged(task)}
        if not own and not self.claims:
            return
        for cell in self.cells:
            store.path(cell.owner, cell.name, cell.task.name)  # before anything is written
        store.check_writable()
        with store.names_lock():
            places = Places.read(store)
            for claim in self.claims:
                places = places.claimed(claim)
            for task in own.values():
                keep_task(store, task, self.datasets)
            places.write(store)


class _Names:
    """The names that a results folder has for folders and files of the user's own, and new ones."""

    def __init__(self, store: Store, root: Path, *, skip_bad: int) -> None:
        self.own, self.places = own_tasks(store), Places.read(store)
        self.datasets = DataSets(
            root,
            places=self.places.folders(),
            arguments={"image_folder": {"skip_bad": skip_bad}},
        )
        self.claims: list[NameClaim] = []

    def images(self, folder: Path) -> str:
        """The name of a folder of images, which is read. Raises BenchError where it is no data set."""
        path = Path(os.path.expanduser(folder)).resolve()
        read = self.datasets(
            resolve("datasets", f"image_folder,path={escape(str(path))}").full_text
        )
        name = self.places.name_of_images(path, read.fingerprint, self.own)
        self._claim("images", name, Place(path=str(path), digest=read.fingerprint))
        self.datasets.place(name, path)
        return name

    def encoder(self, text: str, name: str | None) -> Resolved:
        """The encoder, trained on a folder by its name where its spec has one, and called `name`."""
        spec = resolve("encoders", text)
        if spec.training_data is not None and spec.training_data.paths:
            spec = replace(spec, source=self._source(spec.training_data))
        if name is None:
            for claim in encoder_files(spec):
                self._claim(claim.section, claim.name, claim.place)
            return spec
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", name) or name.endswith(".py"):
            raise BenchError(f"--name {name!r} must be letters, digits and ._+-, at most 100")
        if name.lower() in (known.lower() for known in registry.names("encoders")):
            raise BenchError(f"--name {name} is an encoder of this package; give another name")
        self._claim("encoders", name, Place(path=spec.full_text, digest=spec.identity["digest"]))
        return replace(spec, alias=name)

    def tasks(self, choices: Sequence[str], tasks: Sequence[Task]) -> Sequence[Task]:
        """`tasks`, which were chosen by these words; those of the user's files are claimed."""
        files = {load(c).name: Path(os.path.expanduser(c)) for c in choices if c.endswith(".toml")}
        for task in tasks:
            if is_packaged(task) or task.name not in files:
                continue
            path, stored = files[task.name].resolve(), self.own.by_name.get(task.name)
            if task.name in self.places.tasks:
                stored = None
            if stored is not None and stored.task.dataset != task.dataset:
                raise BenchError(
                    f"task {task.name!r} in this results folder is on {stored.task.dataset}, and that of "
                    f"{path} on {task.dataset}; rename the file, or name another results folder"
                )
            self._claim("tasks", task.name, Place(path=str(path), digest=task.digest))
        return tasks

    def data(self, tasks: Iterable[Task]) -> dict[str, DataIdentity]:
        """The identities of data sets in folders whose places are known: of those that were read as they
        are now, of others as they were when their task was last run."""
        found = dict[str, DataIdentity]()
        fresh = {folder_dataset(claim.name) for claim in self.claims if claim.section == "images"}
        for spec in {task.dataset for task in tasks}:
            if spec in fresh:
                found[spec] = data_identity(spec, self.datasets(spec))
            elif self.datasets.has_place(spec) and (data := self.own.data(spec)) is not None:
                found[spec] = data
        return found

    def _source(self, spec: Resolved) -> str:
        """The spec of a data set to train on, its folder by name."""
        names = {key: self._named(path) for key, path in spec.paths.items()}
        return replace(spec, arguments={**spec.arguments, **names}).text

    def _named(self, path: str) -> str:
        return path if path in self.places.images else self.images(Path(path))

    def _claim(self, section: Section, name: str, place: Place) -> None:
        claim = NameClaim(section=section, name=name, place=place)
        self.places = self.places.claimed(claim)
        if claim not in self.claims:
            self.claims.append(claim)


def recorded(store: Store, datasets: DataSets) -> list[CellStatus]:
    """How the records of the package's encoders on the folder's own tasks stand, each with its own number
    of runs."""
    own, found = own_tasks(store), list[CellStatus]()
    for record in store.records():
        if (
            not isinstance(record, Record)
            or record.owner != OURS
            or record.task.id not in own.tasks
        ):
            continue
        task = own.tasks[record.task.id]
        try:
            cell = Cell(task, resolve("encoders", record.encoder.id))
        except BenchError:
            continue
        data = own.data(task.dataset) if datasets.has_place(task.dataset) else None
        seeds = record.measured.get("seeds")
        found.append(status_of(cell, store, seeds=seeds, data=data))
    return found


def has_suite(store: Store) -> bool:
    """Does a results folder hold records on tasks of a suite?"""
    tasks = {task for name in suites() for task in suite(name).tasks}
    return any(path.stem in tasks for path in store.paths())


@contextmanager
def _bad_images_listed(results: Path) -> Iterator[None]:
    """Add the place of a list of all bad images to the error that names the first ones."""
    try:
        yield
    except BadImages as error:
        raise BenchError(
            f"{error}, or leave out up to N with --skip-bad N; {_listed(error.files, results)}"
        ) from error


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
    present = [path.stem for path in store.paths()]
    counts = {name: sum(task in suite(name).tasks for task in present) for name in suites()}
    largest = max(counts, key=lambda name: counts[name])
    return largest if counts[largest] else DEFAULT
