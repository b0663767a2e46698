"""Tables of classes by attributes: what tells a class of which no image is seen."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError, unknown
from bench.files import write_atomically
from bench.seeding import generator

__all__ = [
    "LARGEST",
    "Semantics",
    "balanced_splits",
    "names",
    "read_semantics",
    "tasks_dir",
    "twins",
    "write_semantics",
]

Array = npt.NDArray[Any]
LARGEST = 3.4028235e38  # rounds to the largest float32


@dataclass(frozen=True, slots=True, eq=False)
class Semantics:
    """`table` (classes, attributes) float32, NaN where a value is missing; `splits`: name -> classes that
    are unseen in it."""

    name: str
    title: str
    source: str
    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    table: Array
    splits: Mapping[str, tuple[str, ...]]

    def of(self, classes: Sequence[str]) -> Array:
        """Signatures (n, attributes) of these classes, in their order. Raises BenchError for a class that
        the table has not; it may have more."""
        rows = {name: row for row, name in enumerate(self.classes)}
        for name in classes:
            if name not in rows:
                raise unknown(f"class in the table {self.name!r}", name, self.classes)
        found: Array = self.table[[rows[name] for name in classes]]
        return found


def tasks_dir() -> Path:
    """The folder of task files: inside an installed wheel, else beside the package."""
    package = Path(__file__).parents[1]
    inside = package / "_tasks"
    return inside if inside.is_dir() else package.parent / "tasks"


def names() -> list[str]:
    """The names of all tables, sorted."""
    return sorted(path.stem for path in (tasks_dir() / "semantics").glob("*.toml"))


def read_semantics(name: str) -> Semantics:
    """The table `name`, or that of a file of the user's own (a path that ends with .toml).

    A file has `attributes`, a list of names; under [classes] a list of numbers a class, as many as
    attributes, in quotes where a name is no plain word; under [splits], if any, lists of classes. A
    number may be nan, which says that it is missing, but not all of an attribute or of a class.
    Raises BenchError for a file that is otherwise.
    """
    if not name.endswith(".toml"):
        if name not in names():
            raise unknown("table of semantics", name, names())
        path = tasks_dir() / "semantics" / f"{name}.toml"
    else:
        path = Path(name)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"no file {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BenchError(f"{path} cannot be read as TOML: {error}") from error
    return _checked(path, found)


def write_semantics(semantics: Semantics, path: Path) -> None:
    """Write a table as a file that `read_semantics` takes: its name is then the file's.

    Raises BenchError for a file that does not end with .toml, or cannot be written.
    """
    if path.suffix != ".toml":
        raise BenchError(
            f"{str(path)!r} is no name for a table; one that ends with .toml is wanted"
        )
    lines = [
        f"title = {_text(semantics.title)}",
        f"source = {_text(semantics.source)}",
        "attributes = [",
        *(f"    {_text(name)}," for name in semantics.attributes),
        "]",
        "",
        "[classes]",
    ]
    for name, row in zip(semantics.classes, semantics.table.astype(np.float32), strict=True):
        lines.append(
            f"{_text(name)} = [{', '.join(map(str, row))}]"
        )  # the shortest that reads as it
    if semantics.splits:
        lines += ["", "[splits]"]
    for name, unseen in semantics.splits.items():
        lines.append(f"{_text(name)} = [{', '.join(map(_text, unseen))}]")
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def twins(table: Array) -> tuple[int, int] | None:
    """The first two rows of (n, attributes) that are the same, NaN as NaN; None where all differ.

    >>> twins(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -0.0]]))
    (0, 2)
    """
    first: dict[bytes, int] = {}
    for number, row in enumerate(table + 0.0):  # which makes 0 of -0
        if (other := first.setdefault(row.tobytes(), number)) != number:
            return other, number
    return None


def balanced_splits(classes: int, size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """`count` different sets of `size` of the classes 0, 1, ...: in how many sets a class is differs by
    one at most. The lists in task files are drawn with it.

    >>> balanced_splits(4, 2, 2, seed=0)
    [(0, 1), (2, 3)]
    """
    if not 1 <= size < classes or not 1 <= count <= math.comb(classes, size):
        raise BenchError(f"there are no {count} different sets of {size} of {classes} classes")
    rng, drawn = generator(seed, "class splits"), dict[frozenset[int], None]()
    while len(drawn) < count:
        drawn[frozenset(rng.permutation(classes)[:size].tolist())] = None
    sets = list(drawn)
    while True:
        times = [sum(each in some for some in sets) for each in range(classes)]
        most, least = times.index(max(times)), times.index(min(times))
        if times[most] - times[least] <= 1:
            return [tuple(sorted(some)) for some in sets]
        # Among the sets with `most` alone, one at least has no twin among the fewer with `least` alone.
        for number, some in enumerate(sets):
            changed = some - {most} | {least}
            if most in some and least not in some and changed not in sets:
                sets[number] = changed
                break


def _text(text: str) -> str:
    """In quotes, as TOML has it: JSON, but that other letters stand as they are and DEL does not."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _checked(path: Path, found: Mapping[str, Any]) -> Semantics:
    known = {"title", "source", "attributes", "classes", "splits"}
    for key in found:
        if key not in known:
            raise BenchError(f"{path}: {unknown('key', key, known)}")
    attributes = _names(path, "attributes", found.get("attributes"))
    classes = found.get("classes")
    if not isinstance(classes, dict) or len(classes) < 2:
        raise BenchError(f"{path}: [classes] with two or more classes is wanted")
    for name, row in classes.items():
        values = row if isinstance(row, list) else []
        odd = [value for value in values if not _number(value)]
        if len(values) != len(attributes) or odd:
            given = f"{odd[0]!r:.40} among its numbers" if odd else f"{len(values)} numbers"
            raise BenchError(
                f"{path}: class {name!r} has {given}; {len(attributes)} finite numbers are wanted, one "
                "an attribute, or nan where one is missing"
            )
    table = np.array(list(classes.values()), dtype=np.float32)
    for what, every, axis in (("attribute", attributes, 0), ("class", tuple(classes), 1)):
        for place in np.flatnonzero(np.isnan(table).all(axis=axis)):
            raise BenchError(f"{path}: {what} {every[place]!r} has no number; leave it out")
    splits = found.get("splits", {})
    if not isinstance(splits, dict):
        raise BenchError(f"{path}: [splits] = {splits!r}; lists of classes by name are wanted")
    unseen = {name: _names(path, f"splits.{name}", value) for name, value in splits.items()}
    for name, some in unseen.items():
        for each in some:
            if each not in classes:
                raise BenchError(f"{path}: splits.{name}: {unknown('class', each, classes)}")
    return Semantics(
        name=path.stem,
        title=str(found.get("title", "")),
        source=str(found.get("source", "")),
        classes=tuple(classes),
        attributes=attributes,
        table=table,
        splits=unseen,
    )


def _names(path: Path, what: str, value: object) -> tuple[str, ...]:
    good = isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
    if not isinstance(value, list) or not good or len(set(value)) < len(value):
        raise BenchError(f"{path}: {what} = {value!r}; a list of different names is wanted")
    return tuple(value)


def _number(value: object) -> bool:
    """A number that float32 can hold, or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not abs(value) > LARGEST
