"""Task and suite files: TOML in, checked types out."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bench.data.semantics import tasks_dir
from bench.errors import BenchError, unknown
from bench.files.reading import read_text, read_toml
from bench.naming.registry import Kind, find
from bench.naming.specs import resolve
from bench.tasks.task import Task

MOST = 2**20  # bytes of a task or suite file
_IN_PACKAGE = "put it into its folder of the package (CONTRIBUTING.md), and give its name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Encoders by tasks, to be run together; `overall` are the tasks whose mean ranks them, `seeds`
    overrides the tasks' number of runs."""

    name: str
    title: str = ""
    encoders: tuple[str, ...]
    tasks: tuple[str, ...]
    overall: tuple[str, ...] = ()
    seeds: int | None = None


@lru_cache(maxsize=1)
def _all() -> Mapping[str, Task]:
    tasks: dict[str, Task] = {}
    for path in sorted(tasks_dir().glob("*.toml")):
        for task in read(path):
            if task.name in tasks:
                raise BenchError(
                    f"{path}: another file has a task named {task.name!r}; rename this one"
                )
            tasks[task.name] = task
    return tasks


def names() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(_all())


def load(name: str) -> Task:
    """The task `name`, or the first one of the TOML file `name` if it ends with .toml."""
    if name.endswith(".toml"):
        return read(Path(name if os.path.exists(name) else os.path.expanduser(name)))[0]
    if name not in _all():
        raise unknown("task", name, _all())
    return _all()[name]


def select(
    choices: Iterable[str | Task],
    among: Iterable[str] | None = None,
    own: Mapping[str, Task] | None = None,
) -> list[Task]:
    """Tasks by name, pattern, or TOML file, each once: the package's (of these `among`, if not None) and
    `own`. Raises BenchError where nothing matches."""
    own, tasks = own or {}, dict[str, Task]()
    if not isinstance(choices, Iterable):
        raise BenchError(f"tasks={choices!r}: must be names, patterns or Task objects")
    available = [*(names() if among is None else among), *own]
    for choice in choices:
        if isinstance(choice, Task):
            tasks[choice.name] = choice
            continue
        if not isinstance(choice, (str, Path)):
            raise BenchError(f"{choice!r} is no task: give a name, a pattern or a Task")
        choice = str(choice)
        if choice.endswith(".toml"):
            tasks[load(choice).name] = load(choice)
        else:
            matching = [name for name in available if fnmatchcase(name, choice)]
            if not matching:
                raise unknown("task", choice, available)
            tasks |= {name: own[name] if name in own else load(name) for name in matching}
    return list(tasks.values())


def suites() -> list[str]:
    """The names of all suites, sorted."""
    return sorted(path.stem for path in (tasks_dir() / "suites").glob("*.toml"))


def suite(name: str) -> Suite:
    """The suite `name`. Raises BenchError for unknown names, keys, tasks and encoders."""
    if name not in suites():
        raise unknown("suite", name, suites())
    return _suite(tasks_dir() / "suites" / f"{name}.toml")


@cache
def _suite(path: Path) -> Suite:
    chosen: Suite = _typed(Suite, _named(path.stem, read_toml(path, most=MOST), path), str(path))
    for task in (*chosen.tasks, *chosen.overall):
        load(task)
    for encoder in chosen.encoders:
        _inside("encoders", encoder, path)
    return chosen


def _named(name: str, table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A file's table with the name that the file's own name gives it."""
    if "name" in table:
        raise BenchError(f"{path}: remove the key 'name': the file's name is the name")
    return {**table, "name": name}


def _inside(kind: Kind, spec: str, path: object) -> None:
    """Raise BenchError for an invalid spec in a file, and for one that names a Python file."""
    unchecked = [resolve(kind, spec)]
    while unchecked:
        component = unchecked.pop()
        if component.entry.group == "local":
            raise BenchError(
                f"{path}: {spec!r} names a Python file, which a task or suite may not; {_IN_PACKAGE}"
            )
        unchecked += component.depends.values()


def lock() -> str:
    """The lines of tasks/LOCK: name, version and digest of every task."""
    return "".join(
        f"{name} {task.version} {task.digest}\n" for name, task in sorted(_all().items())
    )


def read(path: Path) -> list[Task]:
    """The tasks of a TOML file: one named as the file; with `protocols = [...]` the others are
    named file-protocol. The path of a table of semantics is relative to the task file's folder.

    Raises BenchError for unknown keys, wrong types, arguments that no component takes, and the names of
    Python files, with the line of the file where one can be told.
    """
    try:
        return _read(path)
    except BenchError as error:
        fault = str(error).removeprefix(f"{path}").lstrip(": ")
        line = line_of_fault(path, fault)
        raise BenchError(f"{path}:{f'{line}:' if line else ''} {fault}") from error


def line_of_fault(path: Path, fault: str) -> int | None:
    """The line of a TOML file that a fault is about: the first with what the fault quotes, or with a key
    that it names; None where there is none."""
    if at := re.search(r"\(at line (\d+)", fault):
        return int(at[1])
    keys = re.findall(
        r"\b([a-z_]+)(?:\[\d+\])?:? (?:=|is|are)\b|\b([a-z]+_[a-z_]+)|^([a-z]+)", fault
    )
    words = [*re.findall(r"'([^']+)'", fault), *filter(None, itertools.chain(*keys))]
    try:
        lines = list(enumerate(read_text(path, "TOML", most=MOST).splitlines(), 1))
    except BenchError:
        return None
    patterns = [re.compile(rf"\b{re.escape(word)}\b") for word in words]
    return next((n for pattern in patterns for n, line in lines if pattern.search(line)), None)


def _read(path: Path) -> list[Task]:
    table = read_toml(path, most=MOST)
    protocols = table.pop("protocols", None)
    if (protocols is None) == ("protocol" not in table):
        raise BenchError(f"{path}: give either protocol = '...' or protocols = ['...', ...]")
    if protocols is not None and (not isinstance(protocols, list) or not protocols):
        raise BenchError(f"{path}: protocols = {protocols!r:.200}; expected a list of one or more")
    tasks: list[Task] = []
    for number, protocol in enumerate([table.pop("protocol")] if protocols is None else protocols):
        if not isinstance(protocol, str):
            raise BenchError(f"{path}: protocol {protocol!r:.200} is not a string")
        name = path.stem if number == 0 else f"{path.stem}-{protocol.partition(',')[0]}"
        fields = _named(name, {**table, "protocol": protocol}, path)
        _refuse_python_files(fields, path)
        if str(fields.get("semantics")).endswith(".toml"):  # relative to the file
            fields["semantics"] = str(path.parent / str(fields["semantics"]))
        task: Task = _typed(Task, fields, str(path))
        check_components(task, path)
        tasks.append(task)
    return tasks


def check_components(task: Task, path: object) -> None:
    """Raise BenchError, which names `path`, unless a task has valid components and no Python file."""
    _refuse_python_files(dataclasses.asdict(task), path)
    _inside("datasets", task.dataset, path)
    _inside("protocols", task.protocol, path)
    if task.outliers is not None:
        _inside("datasets", task.outliers, path)
    for diagnostic in task.diagnostics:
        _inside("diagnostics", diagnostic, path)
        find("diagnostics", diagnostic)  # by its name: it is given no arguments


def _refuse_python_files(fields: Mapping[str, Any], path: object) -> None:
    for key in ("dataset", "protocol", "outliers"):
        if re.search(r"\.py(?=[,@~]|$)", str(fields.get(key))):
            raise BenchError(
                f"{path}: {key} = {fields[key]!r:.200} names a Python file, which a task may not; "
                f"{_IN_PACKAGE}"
            )


def _typed(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a TOML table; every value checked against its annotation."""
    hints = get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)} - {"parent"}
    for key in table:
        if key not in fields:
            raise BenchError(f"{where}: {unknown('key', key, fields - {'name'})}")
    for f in dataclasses.fields(kind):
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in table:
            raise BenchError(f"{where}: {f.name} = ... is missing")
    return kind(
        **{key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _typed(hint if isinstance(hint, type) else type(hint), value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, where) for item in value)
    if origin in (Union, types.UnionType):
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= 1e100:
            raise BenchError(f"{where} = {value!r:.200} is not valid; expected a finite number")
        return float(value)
    if hint in (int, str, bool) and type(value) is hint and (hint is not int or abs(value) < 2**63):
        return value
    expected = (
        " or ".join(map(repr, arguments)) if origin is Literal else getattr(hint, "__name__", hint)
    )
    raise BenchError(f"{where} = {value!r:.200} is not valid; expected {expected}")
