"""Task and suite files: TOML in, checked types out."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bench.data.semantics import tasks_dir
from bench.errors import BenchError, unknown
from bench.naming.registry import Kind
from bench.naming.specs import resolve
from bench.tasks.task import Task

__all__ = ["Suite", "load", "lock", "names", "read", "select", "suite", "suites", "tasks_dir"]


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
    found: dict[str, Task] = {}
    for path in sorted(tasks_dir().glob("*.toml")):
        for task in read(path):
            if task.name in found:
                raise BenchError(f"{path}: a task named {task.name!r} is already there")
            found[task.name] = task
    return found


def names() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(_all())


def load(name: str) -> Task:
    """The task `name`, or the first one of the TOML file `name` if it ends with .toml."""
    if name.endswith(".toml"):
        return read(Path(name))[0]
    if name not in _all():
        raise unknown("task", name, _all())
    return _all()[name]


def select(wanted: Iterable[str | Task], among: Iterable[str] | None = None) -> list[Task]:
    """Tasks by name, pattern, or TOML file, each once. Raises BenchError where nothing matches."""
    known, found = list(names() if among is None else among), dict[str, Task]()
    for item in wanted:
        if isinstance(item, Task):
            found[item.name] = item
        elif item.endswith(".toml"):
            found[load(item).name] = load(item)
        else:
            matching = [name for name in known if fnmatchcase(name, item)]
            if not matching:
                raise unknown("task", item, known)
            found |= {name: load(name) for name in matching}
    return list(found.values())


def suites() -> list[str]:
    """The names of all suites, sorted."""
    return sorted(path.stem for path in (tasks_dir() / "suites").glob("*.toml"))


def suite(name: str) -> Suite:
    """The suite `name`. Raises BenchError for unknown names, keys, tasks and encoders."""
    if name not in suites():
        raise unknown("suite", name, suites())
    path = tasks_dir() / "suites" / f"{name}.toml"
    found: Suite = _typed(Suite, _named(name, _toml(path), path), str(path))
    for task in (*found.tasks, *found.overall):
        load(task)
    for encoder in found.encoders:
        _inside("encoders", encoder, path)
    return found


def _named(name: str, table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A file's table with the name that the file's own name gives it."""
    if "name" in table:
        raise BenchError(f"{path}: no key 'name'; the file's name is the name")
    return {**table, "name": name}


def _inside(kind: Kind, spec: str, path: Path) -> None:
    """Raises BenchError for a spec in a file that is wrong, or that names Python outside."""
    waiting = [resolve(kind, spec)]
    while waiting:
        found = waiting.pop()
        if found.entry.group == "local":
            raise BenchError(
                f"{path}: {spec!r} names a file; Python is never run from a file's word"
            )
        waiting += found.depends.values()


def lock() -> str:
    """The lines of tasks/LOCK: name, version and digest of every task."""
    return "".join(
        f"{name} {task.version} {task.digest}\n" for name, task in sorted(_all().items())
    )


def read(path: Path) -> list[Task]:
    """The tasks of a TOML file: one named as the file; with `protocols = [...]` the others are
    named file-protocol. A table of semantics that is a file is looked for from the task file's folder.

    Raises BenchError for unknown keys, wrong types, arguments that no component takes, and Python.
    """
    table = _toml(path)
    protocols = table.pop("protocols", None)
    if (protocols is None) == ("protocol" not in table):
        raise BenchError(f"{path}: give either protocol = '...' or protocols = ['...', ...]")
    if protocols is not None and (not isinstance(protocols, list) or not protocols):
        raise BenchError(f"{path}: protocols = {protocols!r}; a list of one or more is wanted")
    found: list[Task] = []
    for number, protocol in enumerate([table.pop("protocol")] if protocols is None else protocols):
        if not isinstance(protocol, str):
            raise BenchError(f"{path}: protocol {protocol!r} is no string")
        name = path.stem if number == 0 else f"{path.stem}-{protocol.partition(',')[0]}"
        fields = _named(name, {**table, "protocol": protocol}, path)
        for key in ("dataset", "protocol", "outliers"):
            if ".py" in str(fields.get(key)) or "/" in str(fields.get(key)):
                raise BenchError(
                    f"{path}: {key} = {fields[key]!r} names a file; Python is never run from a file's word"
                )
        if str(fields.get("semantics")).endswith(".toml"):  # found from wherever a command is run
            fields["semantics"] = str(path.parent / str(fields["semantics"]))
        task: Task = _typed(Task, fields, str(path))
        _inside("datasets", task.dataset, path)
        _inside("protocols", task.protocol, path)
        if task.outliers is not None:
            _inside("datasets", task.outliers, path)
        for diagnostic in task.diagnostics:
            _inside("diagnostics", diagnostic, path)
        found.append(task)
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"no file {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BenchError(f"{path} cannot be read as TOML: {error}") from error


def _typed(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a TOML table; every value checked against its annotation."""
    hints = get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)} - {"parent"}
    for key in table:
        if key not in known:
            raise BenchError(f"{where}: {unknown('key', key, known - {'name'})}")
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
        if not math.isfinite(value):
            raise BenchError(f"{where} = {value!r} does not fit; a finite number is wanted")
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    wanted = (
        " or ".join(map(repr, arguments)) if origin is Literal else getattr(hint, "__name__", hint)
    )
    raise BenchError(f"{where} = {value!r} does not fit; {wanted} is wanted")
