"""Records on disk: written whole or not at all, checked when read."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.digests import arrays_digest, digest
from bench.errors import BenchError, printable
from bench.files.locks import locked
from bench.files.reading import parse_json, read_bytes, read_json
from bench.files.writing import leftovers, write_atomically
from bench.results.archive import MOST_PACKED, packed, unpacked
from bench.results.predictions import check_arrays, check_packed, pack, unpack
from bench.results.record import Record
from bench.tasks.cell import LOCAL, OURS

Array = npt.NDArray[Any]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_,=@~%.+-]*")
# Names that Windows gives to devices, with any ending.
DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}
ENCODING = "npz/3"  # by `pack`; npz/1 and npz/2 are of no committed record
# Limits of what anybody may have written, far above all that runs of a million test rows write.
MOST_JSON = 2**24  # bytes of a record
_MOST_NAMED = 10  # broken records that are named
STUDIES = "studies"
BOARDS, PLOTS = "boards", "plots"  # folders that `leaderboard` makes
_LOCKS = ".locks"
TASKS = "tasks"  # definitions of the user's own tasks
EXPORTS = "exports"  # encoders as networks and features, made by `enter`
VERIFIED = "verified.json"  # the maintainers' marks of records
LEDGER = "ledger.jsonl"  # looks at test splits; also in the folder of an entry
_FILES = ("leaderboard.md", "page.html", "bad-images.txt")
# What else lies in a results folder: no owner's name, in any case of its letters.
RESERVED = frozenset({STUDIES, TASKS, EXPORTS, VERIFIED, LEDGER, BOARDS, PLOTS, *_FILES})
SHEET = "pictures.png"  # an encoder's pictures, beside its records
log = logging.getLogger(__name__)
_NAMED = set[str]()  # errors that this process has named in the log


def is_reserved(owner: str) -> bool:
    """Is it the name of something else in a results folder?"""
    return owner.lower() in RESERVED or owner.startswith(".")


class Store:
    """A results folder: <owner>/<encoder spec>/<task>.json, with .npz beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, owner: str, encoder: str, task: str) -> Path:
        """Where a record lies. Raises BenchError for names that are no single safe folder."""
        for name in (owner, encoder, task):
            if not _NAME.fullmatch(name) or len(name) > 200 or is_reserved(owner):
                raise BenchError(f"{name!r} is no safe name of a folder")
            if name.endswith(".") or name.partition(".")[0].lower() in DEVICES:
                raise BenchError(
                    f"{name!r} cannot be a folder's name on Windows; rename the file that it is of"
                )
        return self.root / owner / encoder / f"{task}.json"

    def check_writable(self) -> None:
        """Raise BenchError now rather than after an hour of work."""
        probe = self.root / ".writable"
        write_atomically(probe, b"")
        probe.unlink(missing_ok=True)  # another run may have been as quick

    @contextmanager
    def claimed(self, owner: str, encoder: str, task: str, *, wait: bool = False) -> Iterator[bool]:
        """The right to write this cell's record, which no other run has meanwhile.

        Gives False at once where another run has it and `wait` is False.
        """
        self._check_case(owner, encoder, task)
        self._check_folders(self.path(owner, encoder, task))
        begun = self._begun(owner, encoder, task)
        with self._locked(f"{begun.stem}.lock", wait=wait) as mine:
            if not mine:
                yield False
                return
            path = self.path(owner, encoder, task)
            for old in leftovers(path.parent, f"{path.stem}.*", owned=True):
                old.unlink(missing_ok=True)
            write_atomically(begun, b"")
            try:
                yield True
            finally:  # a process that is killed does not come here
                begun.unlink(missing_ok=True)

    def _check_case(self, *names: str) -> None:
        """Raise BenchError where the file of a cell is that of one with a name in other case: macOS and
        Windows do not tell them apart."""
        path = self.path(*names)
        try:
            value = read_json(path, most=MOST_JSON)
            present = (value["owner"], value["encoder"]["id"], value["task"]["id"])
            alike = "/".join(present).lower() == "/".join(names).lower()
        except (BenchError, KeyError, TypeError):
            return
        if alike and present != names:
            raise BenchError(
                f"{path} holds the record of {'/'.join(present)}, and this file system does not tell the "
                "names apart; name another results folder"
            )

    def was_killed(self, owner: str, encoder: str, task: str) -> bool:
        """Did a run die in this cell, or is one at it? Memory may have been short."""
        return self._begun(owner, encoder, task).exists()

    def note_places(self, record: Record, places: Mapping[str, Path]) -> None:
        """Keep where the files lie that an encoder opened, for this machine: a record has their names."""
        path = self._begun(record.owner, record.encoder.id, record.task.id).with_suffix(".places")
        if places:
            texts = {name: os.fspath(place) for name, place in places.items()}
            write_atomically(path, json.dumps(texts, indent=1, sort_keys=True).encode())
        else:
            path.unlink(missing_ok=True)

    def places(self, record: Record) -> dict[str, Path]:
        """What `note_places` was given for a record; empty on another machine."""
        path = self._begun(record.owner, record.encoder.id, record.task.id).with_suffix(".places")
        try:
            texts = read_json(path, most=MOST_JSON)
            return {str(name): Path(str(place)) for name, place in texts.items()}
        except (BenchError, AttributeError):
            return {}

    def _begun(self, owner: str, encoder: str, task: str) -> Path:
        self.path(owner, encoder, task)  # its names are safe
        return self.root / _LOCKS / f"{digest([owner, encoder, task])}.begun"

    def _check_folders(self, path: Path) -> None:
        """Raise BenchError where a folder on the way to a record or a lock is a link: a checkout may have
        one to any folder of this machine."""
        for folder in (path.parent, path.parent.parent):
            if folder != self.root and folder.is_symlink():
                raise BenchError(f"{folder} is a link; put a folder in its place")

    @contextmanager
    def board_lock(self, *, wait: bool = True) -> Iterator[bool]:
        """The right to write what is made of all records; False where another process has it and `wait`
        is False."""
        with self._locked("board.lock", wait=wait) as held:
            yield held

    @contextmanager
    def names_lock(self) -> Iterator[None]:
        """The right to write tasks and the index of places."""
        with self._locked("names.lock"):
            yield

    @contextmanager
    def ledger_lock(self) -> Iterator[None]:
        """The right to add to the ledger."""
        with self._locked("ledger.lock"):
            yield

    @contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        path = self.root / _LOCKS / name
        self._check_folders(path)
        with locked(path, wait=wait) as held:
            yield held

    def write(self, record: Record, arrays: Mapping[str, Array]) -> Record:
        """Keep a record; the predictions first, so that the JSON file never promises what is not there.

        Gives the record as written. Raises TooLarge, before anything is written, for predictions that
        `predictions` would not read.
        """
        path = self.path(record.owner, record.encoder.id, record.task.id)
        self._check_folders(path)
        if arrays and record.predictions is not None:
            predictions = path.with_suffix(".npz")
            stored = replace(
                record.predictions,
                file=predictions.name,
                digest=arrays_digest(arrays),
                encoding=ENCODING,
            )
            record = replace(record, predictions=stored)
            write_atomically(predictions, packed(pack(arrays)))
        begun = self._begun(record.owner, record.encoder.id, record.task.id)
        begun.unlink(missing_ok=True)  # first: nobody claims a finished cell again to do so
        write_atomically(path, _text(record).encode())
        return record

    def read(self, path: Path) -> Record:
        """One record. Raises BenchError for a file that is no record of this schema."""
        return self._record(self._content(path), path)

    def _record(self, content: bytes, path: Path) -> Record:
        record = Record.from_json(parse_json(content, path, most=MOST_JSON), str(path))
        if self.path(record.owner, record.encoder.id, record.task.id) != path:
            raise BenchError(f"{path} holds the record of another cell")
        return record

    def _content(self, path: Path) -> bytes:
        """The bytes of a record's file or of its predictions. Raises BenchError where they cannot be read,
        are too many, or where a folder on the way is a link."""
        self._check_folders(path)
        if path.suffix == ".json":
            return read_bytes(path, "JSON", most=MOST_JSON, links=False)
        return read_bytes(path, "predictions", most=MOST_PACKED, links=False)

    def find(self, owner: str, encoder: str, task: str) -> Record | None:
        """The record of a cell, or None where there is none."""
        path = self.path(owner, encoder, task)
        return self.read(path) if os.path.lexists(path) else None

    def paths(self) -> list[Path]:
        """The files of all records, sorted; studies keep their own."""
        return self._scanned()[0]

    def _scanned(self) -> tuple[list[Path], list[Path]]:
        """The files of records, and the links that lie where folders of records should, each sorted."""
        files, links, folders = list[Path](), list[Path](), [(str(self.root), 0)]
        while folders:
            folder, depth = folders.pop()
            for entry in _entries(folder):
                if depth == 0 and is_reserved(entry.name):
                    continue
                if depth == 2:
                    files += [Path(entry.path)] if entry.name.endswith(".json") else []
                elif entry.is_dir():
                    if entry.is_symlink():
                        links.append(Path(entry.path))
                    else:
                        folders.append((entry.path, depth + 1))
        return sorted(files), sorted(links)

    def records(self) -> Iterator[Record | BenchError]:
        """All records in the order of their paths; for a broken one the error that says why. Links to
        folders come last, as errors."""
        files, links = self._scanned()
        for path in files:
            try:
                yield self.read(path)
            except BenchError as error:
                yield error
        for path in links:
            yield BenchError(f"{path} is a link; records are read from folders alone")

    def readable(self) -> list[Record]:
        """All records but the broken ones, which are named in the log."""
        everything = list(self.records())
        self.name_broken(r for r in everything if isinstance(r, BenchError))
        return [r for r in everything if isinstance(r, Record)]

    @staticmethod
    def name_broken(errors: Iterable[BenchError]) -> None:
        """A line in the log, which goes to standard error, for each of the first errors that this process
        has not named yet, and the number of further ones."""
        texts = [text for text in map(str, errors) if text not in _NAMED]
        for text in texts[:_MOST_NAMED]:
            log.warning("left out: %s", printable(text))
        if len(texts) > _MOST_NAMED:
            log.warning("left out: %d more that cannot be read", len(texts) - _MOST_NAMED)
        _NAMED.update(texts)

    def has_predictions(self, record: Record) -> bool:
        """Is there a file, of whatever kind, where its predictions should lie?"""
        path = self.path(record.owner, record.encoder.id, record.task.id).with_suffix(".npz")
        return os.path.lexists(path)

    def predictions(self, record: Record) -> dict[str, Array]:
        """The stored predictions. Raises BenchError where they are missing, broken or another's."""
        if record.predictions is None:
            raise BenchError(f"{record.name} has no predictions")
        path = self.path(record.owner, record.encoder.id, record.task.id).with_suffix(".npz")
        kinds, n = record.predictions.kinds, record.data.rows.get("test", 0)
        entered = record.owner not in (OURS, LOCAL)

        def check(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
            return check_packed(name, dtype, shape, kinds, n, len(record.replicates))

        try:
            if record.predictions.encoding != ENCODING:
                raise ValueError(f"its encoding is {record.predictions.encoding!r}, not {ENCODING}")
            arrays = unpack(unpacked(self._content(path), check, entered=entered))
            check_arrays(arrays, kinds, n)
        except Exception as error:  # zipfile and bz2 have many words for a broken file
            raise BenchError(f"{path} cannot be read: {error}; run the cell again") from error
        if arrays_digest(arrays) != record.predictions.digest:
            raise BenchError(f"{path} does not match its record; run the cell again")
        return arrays


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds; nothing of one that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _text(record: Record) -> str:
    """A record as JSON, to be read by people too: a line a value, and a line a replicate."""
    value = {**record.to_json(), "digest": record.digest}
    lines = [json.dumps(r, sort_keys=True, allow_nan=False) for r in value["replicates"]]
    text = json.dumps({**value, "replicates": []}, indent=1, sort_keys=True, allow_nan=False)
    if lines:  # no string holds a line break: JSON escapes them
        own = '\n "replicates": ['
        text = text.replace(own, f"{own}\n  " + ",\n  ".join(lines) + "\n ", 1)
    return text + "\n"
