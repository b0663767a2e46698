"""Digests: what a thing is, by its content. Equal content, equal digest, on any machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

_LENGTH = 32  # hexadecimal digits: 128 bits of sha256


def canonical_json(value: object) -> str:
    """JSON with sorted keys, shortest round-trip floats and no NaN (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """32 hexadecimal digits that name a JSON value.

    >>> digest({"b": 1, "a": [1.5]}) == digest({"a": [1.5], "b": 1})
    True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:_LENGTH]


def arrays_digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """32 hexadecimal digits over names, types, shapes and little-endian bytes, in the names' order."""
    import numpy as np  # not at the top: `list` needs digests of files, and no NumPy

    state = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        state.update(canonical_json([name, array.dtype.str, list(array.shape)]).encode())
        state.update(array.data if array.size else b"")
    return state.hexdigest()[:_LENGTH]


def file_digest(path: Path) -> str:
    """32 hexadecimal digits over a file's bytes; over names and bytes of all files of a folder."""
    state = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        state.update(canonical_json(file.relative_to(path).as_posix()).encode())
        with file.open("rb") as handle:
            state.update(hashlib.file_digest(handle, "sha256").digest())
    return state.hexdigest()[:_LENGTH]
