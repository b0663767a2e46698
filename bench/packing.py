"""Predictions as they lie in a file: what the other arrays tell of one is taken out of it first.

Most predictions are right, so that what is left is mostly zero and compresses well. Nothing is lost,
every array keeps its name, shape and type, and a record's digest is that of the arrays before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["pack", "unpack"]

Array = npt.NDArray[Any]

# Of a top probability in steps of 1/255 its negative logarithm in steps of 1/16: no entry lies so
# close to a half that another machine's logarithm would round it otherwise.
_LOGARITHMS = np.round(-16 * np.log(np.arange(1, 256) / 255)).clip(0, 255).astype(np.int64)
_LOGARITHMS = np.concatenate([[255], _LOGARITHMS])


def pack(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """`class` and `best_seen` less the true class, and where it is right `true` less what `top` tells of
    it, both modulo the range of their types. Other arrays stay as they are."""
    return {name: _shifted(name, array, arrays, -1) for name, array in arrays.items()}


def unpack(packed: Mapping[str, Array]) -> dict[str, Array]:
    """`pack` undone."""
    arrays = dict(packed)
    for field in ("class", "best_seen", "true"):  # the last asks for the first
        for name in packed:
            if name.endswith(f"/{field}"):
                arrays[name] = _shifted(name, packed[name], arrays, 1)
    return arrays


def _shifted(name: str, array: Array, arrays: Mapping[str, Array], sign: int) -> Array:
    number, target, field = name.split("/") if name.count("/") == 2 else ("", "", "")
    truth = arrays.get(f"truth/{target}")
    if truth is None or truth.shape != array.shape:
        return array
    if field in ("class", "best_seen"):
        by = truth.astype(np.int64)
    elif field == "true":
        right = arrays[f"{number}/{target}/class"] == truth
        by = np.where(right, _LOGARITHMS[arrays[f"{number}/{target}/top"]], 0)
    else:
        return array
    return (array.astype(np.int64) + sign * by).astype(array.dtype)
