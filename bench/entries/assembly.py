"""The folder of an entry: records and predictions, entry.toml, small networks; written in whole steps."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.entries.entry import (
    FILE,
    MOST_WEIGHTS,
    WEIGHTS_ENDING,
    Entry,
    WeightsFile,
    entry_text,
    read_entry,
    weights_text,
)
from bench.errors import BenchError
from bench.files.reading import read_bytes, read_text
from bench.files.writing import write_atomically
from bench.naming.specs import Resolved
from bench.results.ledger import Look, read_ledger, united, write_ledger
from bench.results.record import Record
from bench.results.store import LEDGER, Store
from bench.tasks.files import names

_STAGE = ".entering"  # in the results folder: it is no owner's name
_WEIGHTS_TABLE = re.compile(r"^[ \t]*\[\[[ \t]*weights[ \t]*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry lies: the results folder, its owner, the encoder's name."""

    store: Store
    owner: str
    encoder: str

    @property
    def folder(self) -> Path:
        return self.store.root / self.owner / self.encoder

    def check(self) -> None:
        """Raise BenchError unless the entry can be written: not through links, nor over a folder whose
        name is the same but for case."""
        self.store.path(self.owner, self.encoder, "task")
        for folder in (self.store.root, self.folder.parent, self.folder):
            if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
                raise BenchError(f"{folder} is a link or a file; put a folder in its place")
        for folder in (self.folder.parent, self.folder):
            for name in _names(folder.parent):
                if name != folder.name and name.casefold() == folder.name.casefold():
                    raise BenchError(
                        f"{folder.parent / name} is there, and not every file system tells it from "
                        f"{folder.name!r}; use the same letters"
                    )
        self.store.check_writable()

    def records(self) -> list[Record]:
        """The records that are there. Raises BenchError for one that is broken or of another encoder."""
        return [self.store.read(path) for path in sorted(self.folder.glob("*.json"))]

    def entry(self) -> Entry | None:
        """entry.toml, where there is one. Raises BenchError for a broken one."""
        path = self.folder / FILE
        return read_entry(path) if os.path.lexists(path) else None


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def weights_files(spec: Resolved) -> list[Path]:
    """The files that an encoder's spec names, those of a folder one by one."""
    paths = [Path(path) for path in spec.paths.values()]
    files = [f for path in paths for f in (sorted(path.glob("*")) if path.is_dir() else [path])]
    files = [file for file in files if file.is_file() and not file.name.startswith(".")]
    return files + [file for inner in spec.depends.values() for file in weights_files(inner)]


def lies_in_entry(file: Path) -> bool:
    """May a file of weights lie in the entry?"""
    return file.suffix == WEIGHTS_ENDING and file.stat().st_size <= MOST_WEIGHTS


def described(file: Path, former: Sequence[WeightsFile] = ()) -> WeightsFile:
    """A file of weights for entry.toml: one that does not lie there has the address that it had, else
    an empty one."""
    with file.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    known = [part.url for part in former if (part.name, part.sha256) == (file.name, sha256)]
    url = known[0] if known else (None if lies_in_entry(file) else "")
    return WeightsFile(name=file.name, bytes=file.stat().st_size, sha256=sha256, url=url)


def assemble(
    place: Place, records: Sequence[Record], source: Store, files: Sequence[Path], blank: Entry
) -> list[str]:
    """Write the entry: `records` of the results folder `source` as the owner's, their predictions as they
    are, what its ledger tells of the encoder, and `files` of weights where they are small. entry.toml is
    `blank` where there is none; of one that is there only [[weights]] of changed files are replaced. Gives
    lines that say so.

    All is written beside first. A new folder then takes its name in one step, and in one that is there
    each file does: predictions and weights before the records that name them.
    Raises BenchError where it cannot be written.
    """
    told = list[str]()
    with place.store.board_lock(), _stage(place) as stage:
        folder = stage.folder
        folder.mkdir(parents=True)
        for record in records:
            path = source.path(record.owner, record.encoder.id, record.task.id)
            source.predictions(record)  # they are the record's own
            content = read_bytes(path.with_suffix(".npz"), "predictions", links=False)
            write_atomically(folder / f"{record.task.id}.npz", content)
            stage.store.write(replace(record, owner=place.owner), {})
        for file in filter(lies_in_entry, files):
            write_atomically(folder / file.name, file.read_bytes())
        if looks := _looks(place, source):
            write_ledger(folder / LEDGER, looks)
        former = place.entry()
        weights = tuple(described(file, former.weights if former else ()) for file in files)
        if former is None:
            text = entry_text(replace(blank, weights=weights))
            told.append(f"{place.folder / FILE} is new: fill in what is empty")
        elif former.weights != weights:
            text = _with_weights(place.folder / FILE, former, weights)
            told.append(f"{place.folder / FILE}: [[weights]] are those of the new file")
        else:
            text = ""
        if text:
            write_atomically(folder / FILE, text.encode())
        _move(folder, place.folder)
    return told


def _looks(place: Place, source: Store) -> list[Look]:
    """The looks of the encoder: those that the entry tells of, and those at tasks of this package of which
    the ledger of the runs does. Raises BenchError for an entry's ledger with lines that are no looks."""
    former = read_ledger(place.folder / LEDGER, entered=True)
    if former.problems:
        number, problem = former.problems[0]
        raise BenchError(f"{place.folder / LEDGER}: line {number} {problem}; mend the line")
    packaged = set(names())
    ran = read_ledger(source.root / LEDGER).looks
    return united(
        [former.looks, [x for x in ran if x.encoder == place.encoder and x.task in packaged]]
    )


@contextmanager
def _stage(place: Place) -> Iterator[Place]:
    """A place beside the results, without what a killed process has left in it."""
    root = place.store.root / _STAGE
    _remove(root)
    try:
        yield replace(place, store=Store(root))
    except OSError as error:
        raise BenchError(
            f"cannot write {place.folder}: {error.strerror}; free or name another folder"
        ) from error
    finally:
        _remove(root)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _move(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.rename(staged, target)
        return
    for file in sorted(staged.iterdir(), key=lambda file: (file.suffix == ".json", file.name)):
        os.replace(file, target / file.name)


def _with_weights(path: Path, entry: Entry, weights: tuple[WeightsFile, ...]) -> str:
    """The text of entry.toml with other tables [[weights]], which are its last; the rest stays."""
    text = read_text(path, "TOML", links=False)
    table = _WEIGHTS_TABLE.search(text)
    rest = (text[: table.start()] if table else text).rstrip()
    text = f"{rest}\n\n{weights_text(weights)}" if weights else f"{rest}\n"
    with suppress(ValueError):
        if tomllib.loads(text) == tomllib.loads(entry_text(replace(entry, weights=weights))):
            return text
    raise BenchError(f"{path}: put its weights into tables [[weights]], the last of the file")


# --- Places of this machine


def without_places(record: Record, folders: Sequence[str]) -> Record:
    """The record without `folders` of this machine in what was measured. Raises BenchError where they are
    in another part of it, which its digest covers."""
    record = replace(record, measured=_plain(record.measured, folders))
    text = next((t for t in _strings(record.to_json()) if any(f in t for f in folders)), None)
    if text is not None:
        raise BenchError(
            f"the record of {record.name} holds a folder of this machine: {text!r:.120}"
        )
    return record


def _plain(value: Any, folders: Sequence[str]) -> Any:
    if isinstance(value, str):
        for folder in folders:
            value = value.replace(folder, "")
        return value
    if isinstance(value, Mapping):
        return {key: _plain(part, folders) for key, part in value.items()}
    return [_plain(part, folders) for part in value] if isinstance(value, list | tuple) else value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from (str(key), *_strings(part))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)
