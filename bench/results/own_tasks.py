"""Tasks of a user's own, kept in the results folder that has records of them.

`tasks/<name>.json` has the task's definition, the identity of its data, the names of classes and of the
files of test images; `tasks/<name>.toml` its table of signatures, where that is a file. With these every
command reads the records without the images and without the user's files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.data.images import EncodedImages
from bench.data.semantics import MOST as MOST_TABLE
from bench.data.semantics import read_semantics, write_semantics
from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined
from bench.files.reading import read_bytes, read_json
from bench.files.writing import write_atomically
from bench.naming.specs import resolve
from bench.results.layout import from_json, to_json
from bench.results.record import DataIdentity
from bench.results.status import data_identity
from bench.results.store import TASKS, Store
from bench.tasks.files import check_components, load, names
from bench.tasks.task import Task

_NAME = re.compile(r"[A-Za-z0-9_-]+")  # of a folder of images
SCHEMA = "reptransfer.task/1"
MOST, MOST_FILES = 2**27, 2 * 10**6  # bytes of a definition, and the names of files in it


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTask:
    """A task that is not of this package. `classes`: their names by target; `files`: of each test row the
    image's file, relative to the user's folder, None where the rows are not files."""

    task: Task
    data: DataIdentity
    classes: Mapping[str, tuple[str, ...]]
    files: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class OwnTasks:
    """The tasks of a results folder by name, and of files that cannot be used the reason by file name."""

    by_name: Mapping[str, OwnTask] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> dict[str, Task]:
        return {name: own.task for name, own in self.by_name.items()}

    def data(self, dataset: str) -> DataIdentity | None:
        """The identity of a data set that one of the tasks is on; None where no task is."""
        known = (own.data for own in self.by_name.values() if own.task.dataset == dataset)
        return next(known, None)


def is_packaged(task: Task) -> bool:
    """Is it a task of this package? Raises BenchError where it has the name of one and is another."""
    if task.name not in names():
        return False
    if load(task.name).digest != task.digest:
        raise BenchError(
            f"task {task.name!r} has the name of a task of this package and is another; rename its file"
        )
    return True


def own_tasks(store: Store) -> OwnTasks:
    """The tasks that a results folder holds. Files of another form are left out, and named in the log."""
    by_name, broken, errors = dict[str, OwnTask](), dict[str, str](), list[BenchError]()
    for path in _paths(store):
        try:
            by_name[path.stem] = _read(path)
        except BenchError as error:
            text = str(error) if str(path) in str(error) else f"{path}: {error}"
            broken[path.name] = text.replace(str(store.root), "results")
            errors.append(BenchError(text))
    store.name_broken(errors)
    return OwnTasks(by_name, broken)


def available_tasks(store: Store) -> dict[str, Task]:
    """The tasks of the package and those of a results folder, by name."""
    return {name: load(name) for name in names()} | own_tasks(store).tasks


def keep_task(store: Store, task: Task, datasets: DataSets) -> None:
    """Write the definition of a task that is not of this package, if it has changed.

    Where the task's data are absent, what the folder holds of them stays.
    """
    path = store.root / TASKS / f"{task.name}.json"
    try:
        dataset = datasets(task.dataset)
    except Declined:
        previous = own_tasks(store).by_name.get(task.name)
        same = previous is not None and previous.task.dataset == task.dataset
        own = replace(previous, task=task) if previous is not None and same else _absent(task)
    else:
        images = dataset.split("test").x
        own = OwnTask(
            task=task,
            data=data_identity(task.dataset, dataset),
            classes={k: tuple(t.names) for k, t in dataset.meta.targets.items()},
            files=tuple(images.names) if isinstance(images, EncodedImages) else None,
        )
    if task.semantics is not None and task.semantics.endswith(".toml"):
        table = path.with_suffix(".toml")
        if Path(task.semantics).resolve() != table.resolve():
            write_semantics(read_semantics(task.semantics), table)
        own = replace(own, task=replace(task, semantics=table.name))
    text = json.dumps({"schema": SCHEMA, **to_json(own)}, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, text.encode())


def _absent(task: Task) -> OwnTask:
    return OwnTask(task=task, data=data_identity(task.dataset), classes={}, files=None)


def _paths(store: Store) -> Iterator[Path]:
    folder = store.root / TASKS
    yield from sorted(folder.glob("*.json")) if folder.is_dir() else ()


def _read(path: Path) -> OwnTask:
    """One definition. Raises BenchError for a file of another form, and one that names a Python file."""
    if path.parent.is_symlink():
        raise BenchError(f"{path.parent} is a link; definitions are read from a folder alone")
    value = read_json(path, most=MOST, values=2 * MOST_FILES)
    schema = value.pop("schema", None) if isinstance(value, dict) else type(value).__name__
    if schema != SCHEMA:
        raise BenchError(f"{path}: unknown schema {schema!r:.80} ({SCHEMA} is read)")
    own = from_json(OwnTask, value, str(path))
    task = own.task
    if task.name != path.stem or task.parent is not None:
        raise BenchError(f"{path} holds another task")
    if task.name in names():
        raise BenchError(f"{path} has the name of a task of this package")
    if own.data.id != task.dataset:
        raise BenchError(f"{path}: its data are of {own.data.id!r:.80}, not of its task")
    if own.files is not None and len(own.files) != own.data.rows.get("test"):
        raise BenchError(f"{path}: its names of files are not those of its test rows")
    check_components(task, path)
    for dataset in filter(None, (task.dataset, task.outliers)):
        if not all(map(_NAME.fullmatch, resolve("datasets", dataset).paths.values())):
            raise BenchError(f"{path}: {dataset!r:.80} names a folder by more than its name")
    if task.semantics is not None:
        if task.semantics.endswith(".toml"):
            if task.semantics != f"{path.stem}.toml":
                raise BenchError(f"{path}: its table of signatures is not the file beside it")
            table = path.with_suffix(".toml")
            read_bytes(table, "a table of signatures", most=MOST_TABLE, links=False)
            task = replace(task, semantics=str(table))
        read_semantics(str(task.semantics))
    return replace(own, task=task)
