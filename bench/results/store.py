"""Records on disk: written whole or not at all, checked when read."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.digests import arrays_digest, digest
from bench.errors import BenchError
from bench.files import folder_path, leftovers, locked, write_atomically
from bench.results.predictions import check_arrays, pack, unpack
from bench.results.record import Record
from bench.tasks.task import Coords, Task

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_,=@~%.+-]*")
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}
ENCODING = "npz/3"  # by `pack`; npz/1 and npz/2 are of no committed record
MOST = 2**30  # bytes of predictions that are read: a small file may hold as many zeros as one likes
STUDIES = "studies"
TASKS = "tasks"  # definitions of the user's own tasks
# What else lies in a results folder: no owner's name, in any case of its letters.
RESERVED = frozenset({STUDIES, TASKS, "boards", "leaderboard.md", "bad-images.txt"})
SHEET = "pictures.png"  # an encoder's pictures, beside its records


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
            if name.endswith(".") or name.partition(".")[0].lower() in _DEVICES:
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
        begun = self._begun(owner, encoder, task)
        with locked(begun.with_suffix(".lock"), wait=wait) as mine:
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
            value = json.loads(path.read_text(encoding="utf-8"))
            present = (value["owner"], value["encoder"]["id"], value["task"]["id"])
            alike = "/".join(present).lower() == "/".join(names).lower()
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
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
            texts = json.loads(path.read_text(encoding="utf-8"))
            return {str(name): Path(str(place)) for name, place in texts.items()}
        except (OSError, ValueError, RecursionError, AttributeError):
            return {}

    def _begun(self, owner: str, encoder: str, task: str) -> Path:
        self.path(owner, encoder, task)  # its names are safe
        return self.root / ".locks" / f"{digest([owner, encoder, task])}.begun"

    @contextmanager
    def board_lock(self) -> Iterator[None]:
        """The right to write what is made of all records."""
        with locked(self.root / ".locks" / "board.lock"):
            yield

    @contextmanager
    def names_lock(self) -> Iterator[None]:
        """The right to write tasks and the index of places."""
        with locked(self.root / ".locks" / "names.lock"):
            yield

    def write(self, record: Record, arrays: Mapping[str, Array]) -> Record:
        """Keep a record; the predictions first, so that the JSON file never promises what is not there.

        Gives the record as written.
        """
        path = self.path(record.owner, record.encoder.id, record.task.id)
        if arrays and record.predictions is not None:
            predictions = path.with_suffix(".npz")
            stored = replace(
                record.predictions,
                file=predictions.name,
                digest=arrays_digest(arrays),
                encoding=ENCODING,
            )
            record = replace(record, predictions=stored)
            write_atomically(predictions, _packed(arrays))
        begun = self._begun(record.owner, record.encoder.id, record.task.id)
        begun.unlink(missing_ok=True)  # first: nobody claims a finished cell again to do so
        write_atomically(path, _text(record).encode())
        return record

    def read(self, path: Path) -> Record:
        """One record. Raises BenchError for a file that is no record of this schema."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BenchError(f"{path} is no JSON: {error}") from error
        record = Record.from_json(value, str(path))
        if self.path(record.owner, record.encoder.id, record.task.id) != path:
            raise BenchError(f"{path} holds the record of another cell")
        return record

    def find(self, owner: str, encoder: str, task: str) -> Record | None:
        """The record of a cell, or None where there is none."""
        path = self.path(owner, encoder, task)
        return self.read(path) if path.is_file() else None

    def paths(self) -> list[Path]:
        """The files of all records, sorted; studies keep their own."""
        found = self.root.glob("*/*/*.json")
        return sorted(path for path in found if not is_reserved(path.parent.parent.name))

    def records(self) -> Iterator[Record | BenchError]:
        """All records in the order of their paths; for a broken one the error that says why."""
        for path in self.paths():
            try:
                yield self.read(path)
            except BenchError as error:
                yield error

    def predictions(self, record: Record) -> dict[str, Array]:
        """The stored predictions. Raises BenchError where they are missing, broken or another's."""
        if record.predictions is None:
            raise BenchError(f"{record.name} has no predictions")
        path = self.path(record.owner, record.encoder.id, record.task.id).with_suffix(".npz")
        try:
            if record.predictions.encoding != ENCODING:
                raise ValueError(f"its encoding is {record.predictions.encoding!r}, not {ENCODING}")
            with path.open("rb") as handle:
                with zipfile.ZipFile(handle) as file:
                    if (size := sum(member.file_size for member in file.infolist())) > MOST:
                        raise ValueError(f"it holds {size} bytes, and {MOST} are the most allowed")
                handle.seek(0)
                with np.load(handle, allow_pickle=False) as file:
                    arrays = unpack({name: file[name] for name in file.files})
            check_arrays(arrays, record.predictions.kinds, record.data.rows["test"])
        except Exception as error:  # zipfile and zlib have many words for a broken file
            raise BenchError(f"{path} cannot be read: {error}; run the cell again") from error
        if arrays_digest(arrays) != record.predictions.digest:
            raise BenchError(f"{path} does not match its record; run the cell again")
        return arrays


def _packed(arrays: Mapping[str, Array]) -> bytes:
    """An .npz file, the same for the same arrays on any day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in sorted(pack(arrays).items()):
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_BZIP2  # a tenth less than by deflate
            with file.open(member, "w") as handle:
                np.lib.format.write_array(handle, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _text(record: Record) -> str:
    """A record as JSON, to be read by people too: a line a value, and a line a replicate."""
    value = {**record.to_json(), "digest": record.digest}
    lines = [json.dumps(r, sort_keys=True, allow_nan=False) for r in value["replicates"]]
    text = json.dumps({**value, "replicates": []}, indent=1, sort_keys=True, allow_nan=False)
    if lines:  # no string holds a line break: JSON escapes them
        own = '\n "replicates": ['
        text = text.replace(own, f"{own}\n  " + ",\n  ".join(lines) + "\n ", 1)
    return text + "\n"


class Predictions(Protocol):
    """A source of stored predictions."""

    def predictions(self, record: Record) -> dict[str, Array]: ...


class Results:
    """Records in memory, their predictions, and as data frames.

    predictions: the store that has them, or arrays by the name of the record's task, where the records
    are of one encoder; None: there are none. tasks: definitions by name of those that were run.
    """

    def __init__(
        self,
        records: list[Record],
        *,
        predictions: Store | Mapping[str, Mapping[str, Array]] | None = None,
        tasks: Mapping[str, Task] | None = None,
    ) -> None:
        self.records, self._predictions, self.tasks = records, predictions, dict(tasks or {})

    def predictions(self, record: Record) -> dict[str, Array]:
        """What is kept of the predictions of one of the records. Raises BenchError where nothing is."""
        if isinstance(self._predictions, Store):
            return self._predictions.predictions(record)
        if self._predictions is None or not self._predictions.get(record.task.id):
            raise BenchError(f"{record.name} has no predictions")
        return dict(self._predictions[record.task.id])

    def __len__(self) -> int:
        return len(self.records)

    def frame(self, *, long: bool = False) -> pd.DataFrame:
        """One row a record, or with `long` one row a replicate, target and metric.

        Columns: owner, encoder, task, protocol, family, status, supervision, metric, score, low,
        high, n_test, replicates, seconds; long: the replicate's coordinates, target, metric, score.
        """
        import pandas as pd

        rows = [row for r in self.records for row in (_long(r) if long else [_row(r)])]
        return pd.DataFrame(rows, columns=_LONG if long else _WIDE)

    def __repr__(self) -> str:
        return f"Results({len(self.records)} records)"


_HEAD = ["owner", "encoder", "task"]
_WIDE = [*_HEAD, "protocol", "family", "status", "supervision", "metric", "score", "low", "high"]
_WIDE += ["n_test", "replicates", "seconds"]
_LONG = [*_HEAD, *(f.name for f in fields(Coords)), "target", "metric", "score"]


def _row(record: Record) -> dict[str, Any]:
    primary = record.primary
    return {
        "owner": record.owner,
        "encoder": record.encoder.id,
        "task": record.task.id,
        "protocol": record.protocol.id,
        "family": record.task.family,
        "status": record.status,
        "supervision": record.supervision,
        "metric": primary and primary.metric,
        "score": primary and primary.value,
        "low": primary and primary.low,
        "high": primary and primary.high,
        "n_test": record.data.rows.get("test"),
        "replicates": len(record.replicates),
        "seconds": record.seconds.get("total"),
    }


def _long(record: Record) -> Iterator[dict[str, Any]]:
    head = {"owner": record.owner, "encoder": record.encoder.id, "task": record.task.id}
    for replicate in record.replicates:
        for target, metrics in replicate.scores.items():
            for metric, value in metrics.items():
                yield {
                    **head,
                    **asdict(replicate.coords),
                    "target": target,
                    "metric": metric,
                    "score": value,
                }


def load_results(path: str | Path) -> Results:
    """All readable records of a results folder. Raises BenchError where there is no such folder."""
    root = folder_path(path, "path")
    if not root.is_dir():
        raise BenchError(f"no folder {str(root)!r}; name a results folder")
    store = Store(root)
    return Results([r for r in store.records() if isinstance(r, Record)], predictions=store)
