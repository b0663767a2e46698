"""Names in a results folder for what is the user's own: folders of images, encoders, task files.

Records, tasks and boards have these names alone; `places` has where they lie. A name stays with what it
stands for: what is new gets a new one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.datasets.base import DataSets
from bench.digests import digest
from bench.errors import BenchError, Declined, unknown
from bench.naming import registry
from bench.naming.specs import Resolved, resolve
from bench.results.own_tasks import OwnTasks, is_packaged, keep_task, own_tasks
from bench.results.places import Location, NameClaim, Places, Section, encoder_files
from bench.results.record import DataIdentity
from bench.results.status import data_identity
from bench.results.store import Store
from bench.tasks.cell import Cell
from bench.tasks.files import check_components, load
from bench.tasks.own_images import folder_dataset
from bench.tasks.task import Task


class OwnNames:
    """The names of a results folder and new ones; None: of results in memory, which have no names yet.

    root: the data root. `datasets` has the folders by their names. Nothing is written before `keep`.
    """

    def __init__(self, store: Store | None, root: Path) -> None:
        self._store, self._claims = store, list[NameClaim]()
        self.own = OwnTasks() if store is None else own_tasks(store)
        self.places = Places() if store is None else Places.read(store)
        self.datasets = DataSets(root, places={})
        for name, place in self.places.images.items():
            for text in (name, place.path):
                self.datasets.place(text, Path(place.path), skip_bad=place.skip_bad or 0)

    def images(self, folder: Path, *, skip_bad: int = 0) -> str:
        """The name of a folder of images, which is read; up to `skip_bad` bad ones are left out. Raises
        BenchError where it is no data set."""
        path = Path(os.path.expanduser(folder)).resolve()
        if not path.is_dir():
            raise BenchError(
                f"no folder {str(folder)!r}; give one with a sub-folder for each class"
            )
        self.datasets.place(str(path), path, skip_bad=skip_bad)
        fingerprint = self.datasets(folder_dataset(str(path))).fingerprint
        name = self.places.name_of_images(path, fingerprint, self.own)
        place = Location(path=str(path), digest=fingerprint, skip_bad=skip_bad or None)
        self._claim("images", name, place)
        self.datasets.place(name, path, skip_bad=skip_bad)
        return name

    def encoder(self, text: str, name: str | None = None) -> Resolved:
        """The encoder of a spec, called `name` where that is given. A folder that it is trained on is
        called by its name, and its content belongs to the encoder's identity.

        Raises BenchError for files that are missing, names that cannot be, and those of something else.
        """
        spec = resolve("encoders", text)
        if spec.training_data is not None and spec.training_data.paths:
            named = self._named(spec.training_data)
            [(key, folder)] = named.paths.items()
            place = self.places.images[folder]
            data = replace(named, arguments={**named.arguments, key: place.path})
            spec = replace(spec, source=named.text, training_data=data, source_digest=place.digest)
        if name is None:
            for claim in encoder_files(spec):
                self._claim(claim.section, claim.name, claim.place)
            return spec
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", name) or name.endswith(".py"):
            raise BenchError(f"--name {name!r} must be letters, digits and ._+-, at most 100")
        if name.lower() in (known.lower() for known in registry.names("encoders")):
            raise BenchError(f"--name {name} is an encoder of this package; give another name")
        self._claim("encoders", name, Location(path=spec.full_text, digest=spec.identity["digest"]))
        return replace(spec, alias=name)

    def tasks(self, choices: Iterable[object], tasks: Sequence[Task]) -> list[Task]:
        """`tasks`, which were chosen by these words, with folders of images by their names.

        Raises BenchError for a task with the name of another one.
        """
        texts = [str(c) for c in choices if not isinstance(c, Task)]
        files = {load(c).name: Path(os.path.expanduser(c)) for c in texts if c.endswith(".toml")}
        return [self._task(task, files.get(task.name)) for task in tasks]

    def data(self, tasks: Iterable[Task]) -> dict[str, DataIdentity]:
        """The identities of data sets in folders of this machine, which are read; the digest of one that
        cannot be used is that of no record."""
        identities = dict[str, DataIdentity]()
        for spec in {task.dataset for task in tasks if self.datasets.has_place(task.dataset)}:
            if not resolve("datasets", spec).paths:
                continue
            try:
                identities[spec] = data_identity(spec, self.datasets(spec))
            except Declined:  # the folder is gone
                continue
            except BenchError as error:
                identities[spec] = replace(data_identity(spec), digest=digest(str(error)))
        return identities

    def keep(self, cells: Sequence[Cell]) -> None:
        """Write what the folder needs to read records of these cells: the definitions of tasks that are
        not of this package, and the places of the user's own folders and files."""
        own = {cell.task.name: cell.task for cell in cells if not is_packaged(cell.task)}
        if self._store is None or not (own or self._claims):
            return
        for cell in cells:
            self._store.path(cell.owner, cell.name, cell.task.name)  # before anything is written
        self._store.check_writable()
        with self._store.names_lock():
            places = Places.read(self._store)
            for claim in self._claims:
                places = places.claimed(claim)
            for task in own.values():
                keep_task(self._store, task, self.datasets)
            places.write(self._store)

    def _task(self, task: Task, file: Path | None) -> Task:
        stored = self.own.by_name.get(task.name)
        if is_packaged(task) or (file is None and stored is not None and stored.task == task):
            return task
        dataset = self._named(resolve("datasets", task.dataset)).text
        outliers = task.outliers and self._named(resolve("datasets", task.outliers)).text
        task = replace(task, dataset=dataset, outliers=outliers)
        if self._store is not None:
            check_components(
                task, f"task {task.name!r}"
            )  # else its definition could not be read again
        is_known_file = file is not None and task.name in self.places.tasks
        if stored and not is_known_file and stored.task.dataset != task.dataset:
            raise BenchError(
                f"task {task.name!r} in this results folder is on {stored.task.dataset}, and "
                f"{file.resolve() if file else 'the new one'} on {task.dataset}; rename the latter, or "
                "name another results folder"
            )
        if file is not None:
            self._claim("tasks", task.name, Location(path=str(file.resolve()), digest=task.digest))
        return task

    def _named(self, data: Resolved) -> Resolved:
        """A data set with names for its folders: those that exist are read, others must be known names."""
        skipped = {place.path: place.skip_bad or 0 for place in self.places.images.values()}
        names = dict[str, str]()
        for key, path in data.paths.items():
            names[key] = path
            if path not in self.places.images or os.path.isdir(path):
                names[key] = self.images(
                    Path(path), skip_bad=skipped.get(os.path.realpath(path), 0)
                )
        return replace(data, arguments={**data.arguments, **names})

    def _claim(self, section: Section, name: str, place: Location) -> None:
        claim = NameClaim(section=section, name=name, place=place)
        self.places = self.places.claimed(claim)
        if claim not in self._claims:
            self._claims.append(claim)


def recorded_as(text: str, store: Store, present: Collection[str]) -> tuple[str, str | None]:
    """The name among `present`, those of a results folder's records, of the encoder that `text` is the
    name or the spec of; and the digest that it has now, where it needs files of the user's own.

    Raises BenchError for files that are missing, those of something else, and encoders without a record.
    """
    if text in present:
        return text, None
    missing = unknown("encoder in the results", text, present)
    try:
        resolve("encoders", text)
    except BenchError:
        raise missing from None
    spec = OwnNames(store, Path()).encoder(text)
    if spec.text not in present:
        raise missing
    return spec.text, spec.identity["digest"] if spec.local else None
