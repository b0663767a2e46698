"""The ledger of looks at test splits: a line in the results folder for each time a cell is scored.

The line is written before the first test label of the cell is used, and no line is ever removed: runs
count that fail, are killed, or give a record that is replaced or forgotten. A cell that is declined or
fails before its scores is no look; nor is an interval that is made anew from stored predictions.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.digests import canonical_json
from bench.errors import BenchError
from bench.files.reading import read_bytes
from bench.files.writing import LONGEST_LINE, append_line, write_atomically
from bench.naming.specs import resolve
from bench.results.record import Record
from bench.results.store import LEDGER, Store
from bench.tasks.cell import LOCAL, OURS
from bench.tasks.task import MOST_REPLICATES, Task

MOST = 2**27  # bytes of a ledger: about 300,000 lines
MOST_ENTERED = 2**22  # of an entry's: about 10,000
_MOST_LINES = 10**6
_MOST_TEXT = 2_000  # characters of a value
_MOST_TOLD = 20  # faulty lines
_DIGEST = re.compile(r"[0-9a-f]{32}")
_DECODER = json.JSONDecoder(object_pairs_hook=tuple)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class Look(NamedTuple):
    """One scoring of a cell, all its replicates together; as a line the keys are in this order.

    `owner`, `encoder` (a spec) and `group` (its family), `task`, `data` and `protocol` as the record calls
    them, with the digests of encoder, data and protocol; the number of `replicates` that were to be
    scored; `time` in UTC, as 2026-01-31T12:00:00.000000Z.
    """

    data: str
    data_digest: str
    encoder: str
    encoder_digest: str
    group: str
    owner: str
    protocol: str
    protocol_digest: str
    replicates: int
    task: str
    time: str

    @classmethod
    def now(cls, record: Record, replicates: int) -> Look:
        """A look that is taken now, at the cell of a record without scores."""
        return cls(
            data=record.data.id,
            data_digest=str(record.data.digest),
            encoder=record.encoder.id,
            encoder_digest=record.encoder.digest,
            group=record.encoder.group,
            owner=record.owner,
            protocol=record.protocol.id,
            protocol_digest=record.protocol.digest,
            replicates=replicates,
            task=record.task.id,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        )

    @property
    def line(self) -> bytes:
        """Its line without the end: ASCII, without spaces between values."""
        return canonical_json(self._asdict()).encode("ascii")

    @property
    def cell(self) -> tuple[object, ...]:
        """What of it a record has too."""
        return self._replace(group="", time="")


class LedgerError(BenchError):
    """A look cannot be written down: it must not be taken, and the run ends."""


@dataclass(slots=True)
class Ledger:
    """The looks of a ledger in the order of its lines. `problems`: number and fault of its first lines
    that are no looks; `faulty`: how many there are."""

    looks: list[Look] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    faulty: int = 0


def add_look(store: Store, record: Record, replicates: int) -> None:
    """Add a line: the cell of this record, which has no scores yet, is about to be scored.

    Raises LedgerError where that cannot be written.
    """
    try:
        with store.ledger_lock():
            line = Look.now(record, replicates).line
            append_line(store.root / LEDGER, line, lambda last: isinstance(_read(last, {}), Look))
    except BenchError as error:
        raise LedgerError(str(error)) from error


def check_ledger(store: Store) -> None:
    """Raise BenchError now, rather than after an hour of work, where no line could be added."""
    path = store.root / LEDGER
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise BenchError(f"cannot write {path}: it is a link or no file; remove it")


def read_ledger(
    path: Path, *, entered: bool = False, why_not: Callable[[Look], str] = lambda look: ""
) -> Ledger:
    """The lines of a ledger, which may come from anybody; none where there is no such file.

    A last line without its end was being written when its process was killed, before any test label was
    used: it does not count, unless nothing but the end is missing. entered: it is an entry's, which is
    smaller, and written in one step. why_not: why a look does not belong there, "" if it does.

    Raises BenchError for a link, what is no file, and too many bytes or lines.
    """
    ledger, texts = Ledger(), dict[tuple[str, Any], str]()
    if not os.path.lexists(path):
        return ledger
    content = read_bytes(path, "a ledger", most=MOST_ENTERED if entered else MOST, links=False)
    if content.count(b"\n") > _MOST_LINES:
        raise BenchError(f"{path} cannot be read as a ledger: it has more than {_MOST_LINES} lines")
    for number, line in enumerate(io.BytesIO(content), 1):
        look, whole = _read(line, texts), line.endswith(b"\n")
        problem = look if isinstance(look, str) else why_not(look)
        if isinstance(look, Look) and not problem:
            ledger.looks.append(look)
        elif whole or entered:
            ledger.faulty += 1
            if len(ledger.problems) < _MOST_TOLD:
                ledger.problems.append((number, problem if whole else f"{problem}, and has no end"))
    return ledger


def united(ledgers: Iterable[Iterable[Look]]) -> list[Look]:
    """The looks of several ledgers in the order of their times; equal ones are one."""
    return sorted(set().union(*ledgers), key=lambda look: (look.time, look))


def write_ledger(path: Path, looks: Iterable[Look]) -> None:
    """Write a whole ledger in one step, as one for an entry; nobody may add to it meanwhile."""
    write_atomically(path, b"".join(look.line + b"\n" for look in looks))


def without_look(records: Iterable[Record], looks: Iterable[Look]) -> list[Record]:
    """The records with scores of which no look tells: they were scored before the ledger began, or
    elsewhere."""
    cells = {look.cell for look in looks}
    scored = (r for r in records if any(part.status == "ok" for part in r.replicates))
    return [r for r in scored if Look.now(r, len(r.replicates)).cell not in cells]


def why_foreign(of: Record, tasks: Mapping[str, Task], look: Look) -> str:
    """Why a look in the ledger of an entry, which has the record `of`, is not of that entry; "" if it is.
    Its owner may be that of the runs from which the entry was made."""
    if look.encoder != of.encoder.id:
        return f"encoder: {look.encoder!a:.80}, where the entry is of {of.encoder.id}"
    if look.group != of.encoder.group:
        return f"group: {look.group!a:.80}, where its records have {of.encoder.group!r:.80}"
    if look.owner not in (of.owner, OURS, LOCAL):
        return f"owner: {look.owner!a:.80}, where the entry is of {of.owner}"
    if look.task not in tasks:
        return f"task: {look.task!a:.80} is not of this package"
    data = resolve("datasets", tasks[look.task].dataset).text
    return "" if look.data == data else f"data: {look.data!a:.80}, where {look.task} is on {data}"


def _read(line: bytes, texts: dict[tuple[str, Any], str]) -> Look | str:
    """The look of a line, or why it is none. `texts`: by key the values that were checked, each once in
    memory."""
    if len(line) > LONGEST_LINE:
        return f"has {len(line)} bytes; at most {LONGEST_LINE} are read"
    try:
        pairs = _DECODER.decode(line.decode("ascii"))
    except UnicodeDecodeError:
        return "is not ASCII"
    except (ValueError, RecursionError):
        return "is no JSON"
    if not isinstance(pairs, tuple) or tuple(key for key, _ in pairs) != Look._fields:
        return f"is no object of {', '.join(Look._fields)}, in this order"
    values = list[Any]()
    for pair in pairs:
        name, value = pair
        is_text = type(value) is str and name != "time"
        before = texts.get(pair) if is_text else None
        if before is None and (problem := _problem(name, value)):
            return f"{name}: {problem}"
        values.append(texts.setdefault(pair, value) if is_text else value)
    return Look._make(values)


def _problem(name: str, value: object) -> str:
    """What is wrong with the value of a key; "" if nothing is."""
    if name == "replicates":
        right = type(value) is int and 1 <= value <= MOST_REPLICATES
        return "" if right else f"not a whole number of 1 to {MOST_REPLICATES}"
    if type(value) is not str:
        return "not a text"
    if not 1 <= len(value) <= _MOST_TEXT or not value.isprintable():
        return f"not 1 to {_MOST_TEXT} characters that are printed"
    if name in ("encoder_digest", "protocol_digest") and not _DIGEST.fullmatch(value):
        return f"{value!a:.80} is no digest"
    if name == "time" and not _is_time(value):
        return f"{value!a:.80} is no time as 2026-01-31T12:00:00.000000Z"
    return ""


def _is_time(text: str) -> bool:
    try:
        return bool(_TIME.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False
