"""Trained weights and features on disk, by the keys of their recipes.

Weights are always kept, features where they took more than five seconds. Runs side by side take a lock
for each training; the system frees it when its owner dies.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.digests import arrays_digest, digest
from bench.errors import BenchError
from bench.files.locks import locked
from bench.files.paths import user_cache
from bench.files.writing import leftovers, replacing

Array = npt.NDArray[Any]
Kind = Literal["weights", "features"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class StoredArrays:
    """Arrays by name, memory-mapped where they are large, and the notes kept beside them."""

    arrays: Mapping[str, Array]
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file of the cache: its notes, its bytes, and when it was last used (s since the epoch)."""

    path: Path
    kind: str
    notes: Mapping[str, Any]
    size: int
    last_used: float


class Cache:
    """A folder <kind>/<key>.safetensors: each file checked against its own digest when read.

    A broken file is logged and removed, so that its content is computed anew. Where all files together
    would take more than `most_bytes`, those used longest ago are removed. A run goes on where nothing
    can be kept.
    """

    def __init__(self, root: Path, *, most_bytes: int = 20 * 2**30) -> None:
        self.root, self._most = root, most_bytes

    def path(self, kind: Kind, key: str) -> Path:
        return self.root / kind / f"{key}.safetensors"

    def get(self, kind: Kind, key: str) -> StoredArrays | None:
        """What was kept under `key`; None where there is nothing, or nothing whole."""
        path = self.path(kind, key)
        if not path.is_file():
            return None
        try:
            stored = _read(path)
        except _BROKEN as error:
            log.warning("%s is broken (%s); its content is computed anew", path, error)
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(path)
        return stored

    @contextmanager
    def making(self, kind: Kind, key: str) -> Iterator[None]:
        """Other processes that need the same wait, then find it. Without a lock file nobody waits."""
        with ExitStack() as stack:
            with suppress(BenchError):
                stack.enter_context(locked(self.root / ".locks" / f"{kind}-{key}.lock"))
            yield

    def put(self, kind: Kind, key: str, arrays: Mapping[str, Array], notes: Any) -> None:
        """Keep arrays with notes (JSON). Where the folder cannot be written, that is logged."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        text = json.dumps({"digest": _digest(whole, notes), "notes": notes}, sort_keys=True)
        path = self.path(kind, key)
        try:
            with replacing(path) as temporary:
                save_file(whole, temporary, metadata={"notes": text})
            self._shrink(path)
        except (BenchError, OSError, SafetensorError) as error:
            log.warning("%s of this run are not kept: %s", kind, error)

    def entries(self) -> list[CacheFile]:
        """All files, those used longest ago first; notes are empty where they cannot be read."""
        entries = []
        for path in self.root.glob("*/*.safetensors"):
            with suppress(OSError):  # another run may remove it now
                status = path.stat()
                entry = CacheFile(
                    path, path.parent.name, _notes(path), status.st_size, status.st_mtime
                )
                entries.append(entry)
        return sorted(entries, key=lambda entry: (entry.last_used, entry.path))

    def verify(self) -> Iterator[tuple[CacheFile, str]]:
        """Each file read whole, and what is wrong with it, "" if nothing; the broken are removed."""
        for entry in self.entries():
            try:
                _read(entry.path)
            except _BROKEN as error:
                entry.path.unlink(missing_ok=True)
                yield entry, str(error) or type(error).__name__
            else:
                yield entry, ""

    def collect(self, *, days: float | None = None) -> list[Path]:
        """Remove leftovers of killed runs, files not used for `days`, and what exceeds `most_bytes`: the
        paths.
        """
        removed = [path for folder in self.root.glob("*") for path in leftovers(folder)]
        if days is not None:
            before = time.time() - 86_400 * days
            removed += [entry.path for entry in self.entries() if entry.last_used < before]
        for path in removed:
            path.unlink(missing_ok=True)
        return removed + self._shrink(None)

    def _shrink(self, spared: Path | None) -> list[Path]:
        """Remove the files used longest ago until the rest fit."""
        entries, removed = self.entries(), []
        total = sum(entry.size for entry in entries)
        for entry in entries:
            if total > self._most and entry.path != spared:
                entry.path.unlink(missing_ok=True)
                removed.append(entry.path)
                total -= entry.size
        return removed


_BROKEN = (OSError, ValueError, LookupError, TypeError, RuntimeError)


def _read(path: Path) -> StoredArrays:
    """Arrays and notes of a file; raises one of `_BROKEN` unless both are as they were written."""
    from safetensors import SafetensorError, safe_open

    try:
        # As tensors of PyTorch: these are memory-mapped, those of NumPy copied.
        with safe_open(path, framework="pt", device="cpu") as file:
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
            content = json.loads(file.metadata()["notes"])
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if _digest(arrays, content["notes"]) != content["digest"]:
        raise ValueError("its digest does not match")
    return StoredArrays(arrays, content["notes"])


def _notes(path: Path) -> Mapping[str, Any]:
    """The notes in a file's head, without its arrays and unchecked: for lists and plans."""
    try:
        with path.open("rb") as file:
            [length] = struct.unpack("<Q", file.read(8))  # the format of safetensors: length, JSON
            head = json.loads(file.read(min(length, 10**8)))
        notes = json.loads(head["__metadata__"]["notes"])["notes"]
    except (*_BROKEN, struct.error):
        return {}
    return notes if isinstance(notes, dict) else {}


def _digest(arrays: Mapping[str, Array], notes: object) -> str:
    return digest([arrays_digest(arrays), notes])


def cache_root(folder: str | Path | None = None) -> Path:
    """Where weights and features are kept: `folder`, else REPTRANSFER_CACHE, else the user's cache
    folder."""
    folder = folder or os.environ.get("REPTRANSFER_CACHE")
    if folder:
        return Path(os.path.expanduser(folder))
    return user_cache() / "reptransfer" / "computed"
