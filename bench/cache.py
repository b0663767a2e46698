"""What was computed once: trained weights and features on disk, by their recipes' keys."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.digests import arrays_digest, digest
from bench.errors import BenchError
from bench.files import replacing

__all__ = ["Cache", "Kept", "cache_root"]

Array = npt.NDArray[Any]
Kind = Literal["weights", "features"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Arrays by name, memory-mapped where they are large, and the notes kept beside them."""

    arrays: Mapping[str, Array]
    notes: Mapping[str, Any]


class Cache:
    """A folder <kind>/<key>.safetensors: each file checked against its own digest when read.

    A broken file is told and removed, so that what it held is computed anew. What was used longest
    ago leaves first where all files together would take more than `most_bytes`. Nothing that cannot
    be kept stops a run.
    """

    def __init__(self, root: Path, *, most_bytes: int = 20 * 2**30) -> None:
        self.root, self._most = root, most_bytes

    def path(self, kind: Kind, key: str) -> Path:
        return self.root / kind / f"{key}.safetensors"

    def get(self, kind: Kind, key: str) -> Kept | None:
        """What was kept under `key`; None where there is nothing, or nothing whole."""
        path = self.path(kind, key)
        if not path.is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            # As tensors of PyTorch: these are memory-mapped, those of NumPy copied.
            with safe_open(path, framework="pt", device="cpu") as file:
                arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
                told = json.loads(file.metadata()["notes"])
            notes = told["notes"]
            if _digest(arrays, notes) != told["digest"]:
                raise ValueError("its digest is another")
        except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
            log.warning("%s is broken (%s); what it held is computed anew", path, error)
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(path)
        return Kept(arrays, notes)

    def put(self, kind: Kind, key: str, arrays: Mapping[str, Array], notes: Any) -> None:
        """Keep arrays with notes (JSON). A folder that cannot be written is told, not raised."""
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

    def _shrink(self, spared: Path) -> None:
        """Remove the files used longest ago until the rest fit."""
        found = sorted(
            (status.st_mtime, status.st_size, path)
            for path in self.root.glob("*/*.safetensors")
            if (status := path.stat())
        )
        total = sum(size for _, size, _ in found)
        for _, size, path in found:
            if total <= self._most:
                return
            if path != spared:
                path.unlink(missing_ok=True)
                total -= size


def _digest(arrays: Mapping[str, Array], notes: object) -> str:
    return digest([arrays_digest(arrays), notes])


def cache_root(given: str | Path | None = None) -> Path:
    """Where weights and features are kept: what is given, else REPTRANSFER_CACHE, else the user's
    cache folder."""
    named = given or os.environ.get("REPTRANSFER_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "reptransfer" / "computed"
