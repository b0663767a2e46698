"""Tables of classes by attributes: the signatures of classes without training images."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.errors import BenchError, unknown
from bench.files.reading import read_toml
from bench.files.writing import write_atomically
from bench.seeding import generator

MOST = 2**23  # bytes of a table: 1000 classes by 600 numbers
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
        """Signatures (n, attributes) of these classes, in their order; names may differ in their Unicode
        form. Raises BenchError for a class that the table lacks; it may have more."""
        rows = {composed(name): row for row, name in enumerate(self.classes)}
        for name in classes:
            if composed(name) not in rows:
                raise unknown(f"class in the table {self.name!r}", name, self.classes)
        signatures: Array = self.table[[rows[composed(name)] for name in classes]]
        return signatures


def composed(name: str) -> str:
    """`name` in Unicode's composed form (NFC): macOS writes accents apart from their letters."""
    return unicodedata.normalize("NFC", name)


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
    attributes, names of more than a plain word in quotes; under [splits], if any, lists of classes. A
    number may be nan, which says that it is missing, but not all of an attribute or of a class.
    Raises BenchError for a file of another form.
    """
    if not name.endswith(".toml"):
        if name not in names():
            raise unknown("table of semantics", name, names())
        path = tasks_dir() / "semantics" / f"{name}.toml"
    else:
        path = Path(name)
    facts = path.stat() if path.is_file() else None
    return _read(path, facts and (facts.st_mtime_ns, facts.st_size, facts.st_ino))


@lru_cache(maxsize=16)  # a task's digest needs its table each time
def _read(path: Path, facts: tuple[int, ...] | None) -> Semantics:
    """The table of a file, whose `facts` say whether it has changed."""
    return _checked(path, read_toml(path, most=MOST))


def write_semantics(semantics: Semantics, path: str | Path) -> None:
    """Write a table as a file that `read_semantics` takes: its name is then the file's.

    Raises BenchError for a file that does not end with .toml, or cannot be written.
    """
    path = Path(path)
    if path.suffix != ".toml":
        raise BenchError(f"{str(path)!r} is not the name of a table; it must end with .toml")
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
        lines.append(f"{_text(name)} = [{', '.join(map(str, row))}]")  # shortest that reads as it
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
        if (twin := first.setdefault(row.tobytes(), number)) != number:
            return twin, number
    return None


def balanced_splits(classes: int, size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """`count` different sets of `size` of the classes 0, 1, ...: any two classes are in equally many
    of them, give or take one. The lists in task files are drawn with it.

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
        times = [sum(c in unseen for unseen in sets) for c in range(classes)]
        frequent, rare = times.index(max(times)), times.index(min(times))
        if times[frequent] - times[rare] <= 1:
            return [tuple(sorted(unseen)) for unseen in sets]
        # More sets have `frequent` without `rare` than the reverse: at least one becomes a new set.
        for number, unseen in enumerate(sets):
            changed = unseen - {frequent} | {rare}
            if frequent in unseen and rare not in unseen and changed not in sets:
                sets[number] = changed
                break


def _text(text: str) -> str:
    """A TOML string: JSON with all letters as they are and DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _checked(path: Path, content: Mapping[str, Any]) -> Semantics:
    keys = {"title", "source", "attributes", "classes", "splits"}
    for key in content:
        if key not in keys:
            raise BenchError(f"{path}: {unknown('key', key, keys)}")
    attributes = _names(path, "attributes", content.get("attributes"))
    classes = content.get("classes")
    if not isinstance(classes, dict) or len(classes) < 2:
        raise BenchError(f"{path}: [classes] needs two or more classes")
    classes = _composed_keys(path, classes)
    for name, row in classes.items():
        values = row if isinstance(row, list) else []
        odd = [value for value in values if not _number(value)]
        if len(values) != len(attributes) or odd:
            count = f"{odd[0]!r:.40} among its numbers" if odd else f"{len(values)} numbers"
            raise BenchError(
                f"{path}: class {name!r} has {count}; expected {len(attributes)} finite numbers, one for "
                "each attribute, or nan where it is missing"
            )
    table = np.array(list(classes.values()), dtype=np.float32)
    for kind, labels, axis in (("attribute", attributes, 0), ("class", tuple(classes), 1)):
        for place in np.flatnonzero(np.isnan(table).all(axis=axis)):
            raise BenchError(f"{path}: {kind} {labels[place]!r} has no number; remove it")
    splits = content.get("splits", {})
    if not isinstance(splits, dict):
        raise BenchError(f"{path}: [splits] = {splits!r:.200}; expected lists of classes by name")
    unseen = {
        name: _names(path, f"splits.{name}", _composed_names(value))
        for name, value in splits.items()
    }
    for name, split in unseen.items():
        for label in split:
            if label not in classes:
                raise BenchError(f"{path}: splits.{name}: {unknown('class', label, classes)}")
    return Semantics(
        name=path.stem,
        title=str(content.get("title", "")),
        source=str(content.get("source", "")),
        classes=tuple(classes),
        attributes=attributes,
        table=table,
        splits=unseen,
    )


def _composed_keys(path: Path, classes: Mapping[str, Any]) -> dict[str, Any]:
    """[classes] with names in their composed form. Raises BenchError where two are then equal."""
    rows: dict[str, Any] = {}
    for name, row in classes.items():
        if composed(name) in rows:
            raise BenchError(
                f"{path}: class {name!r} is there twice, in two Unicode forms; remove one"
            )
        rows[composed(name)] = row
    return rows


def _composed_names(value: object) -> object:
    if not isinstance(value, list):
        return value
    return [composed(name) if isinstance(name, str) else name for name in value]


def _names(path: Path, key: str, value: object) -> tuple[str, ...]:
    good = isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
    if not isinstance(value, list) or not good or len(set(value)) < len(value):
        raise BenchError(f"{path}: {key} = {value!r:.200}; expected a list of different names")
    return tuple(value)


def _number(value: object) -> bool:
    """A number that float32 can hold, or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not abs(value) > LARGEST
