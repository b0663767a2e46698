"""How far a record can be trusted, and the maintainers' file of what was checked beyond computing again.

`verified.json` in the root of a results folder has, by record digest, which records were run again by the
maintainers or confirmed by the encoder's author. A record that changes has another digest, and no mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as calendar_date
from typing import Literal

from bench.errors import BenchError
from bench.files.reading import read_json
from bench.files.writing import write_atomically
from bench.results.layout import from_json, to_json
from bench.results.store import VERIFIED, Store

SCHEMA = "reptransfer.verified/1"
MOST = 2**24  # bytes of the file
_MOST_NAME = 200  # characters of a name
_DIGEST = re.compile(r"[0-9a-f]{32}")

# reported: digests hold, and no predictions are there. from counts, consistent: nothing contradicts
# counts by class, or the predictions of each test row. The others are marks, of records without findings.
Level = Literal["reported", "from counts", "consistent", "confirmed", "reproduced"]
LEVELS: tuple[Level, ...] = ("reproduced", "confirmed", "consistent", "from counts", "reported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What was found of one record. date: YYYY-MM-DD; by: who says so; difference: of the primary score
    when the cell was run again, minus the record's; None: it was not run again."""

    level: Literal["reproduced", "confirmed"]
    date: str
    by: str
    difference: float | None


def read_marks(store: Store) -> dict[str, Mark]:
    """Marks by record digest; none where the folder has no such file.

    Raises BenchError for a file of another form: a link, too large, of another schema, or with values
    that are not read.
    """
    path = store.root / VERIFIED
    if not path.exists() and not path.is_symlink():
        return {}
    value = read_json(path, most=MOST)
    schema = value.get("schema") if isinstance(value, dict) else type(value).__name__
    if schema != SCHEMA:
        raise BenchError(f"{path}: unknown schema {schema!r:.80} ({SCHEMA} is read)")
    records = value.get("records")
    if set(value) != {"schema", "records"} or not isinstance(records, dict):
        raise BenchError(f"{path}: has other fields than schema and records")
    marks = {}
    for digest, mark in records.items():
        if not _DIGEST.fullmatch(digest):
            raise BenchError(f"{path}: {digest!r:.80} is no digest of a record")
        marks[digest] = from_json(Mark, mark, f"{path}: {digest}")
        _check(marks[digest], f"{path}: {digest}")
    return marks


def write_marks(store: Store, marks: Mapping[str, Mark]) -> None:
    """Add marks by record digest; a new one takes the place of an old one that says no more.

    Raises BenchError for marks that could not be read, and where the file is broken or cannot be written.
    """
    for digest, mark in marks.items():
        _check(mark, digest)
    with store.names_lock():
        before = read_marks(store)
        records = {**before, **{k: m for k, m in marks.items() if not _says_more(before.get(k), m)}}
        value = {"schema": SCHEMA, "records": {k: to_json(mark) for k, mark in records.items()}}
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
        write_atomically(store.root / VERIFIED, text.encode())


def _says_more(old: Mark | None, new: Mark) -> bool:
    return old is not None and LEVELS.index(old.level) < LEVELS.index(new.level)


def _check(mark: Mark, where: str) -> None:
    """Raise BenchError for a mark without a date or a name."""
    try:
        is_date = calendar_date.fromisoformat(mark.date).isoformat() == mark.date
    except ValueError:
        is_date = False
    if not is_date:
        raise BenchError(f"{where}: {mark.date!r:.80} is no date; write YYYY-MM-DD")
    check_name(mark.by, where)


def check_name(name: str, where: str) -> None:
    """Raise BenchError for a name that no mark can have."""
    if not name.strip() or len(name) > _MOST_NAME or not name.isprintable():
        raise BenchError(
            f"{where}: {name!a:.80} is no name of 1 to {_MOST_NAME} characters that are printed"
        )
