"""Predictions as they lie in a file: what the other arrays tell of one is taken out of it first, and
replicates of one shape lie side by side.

Most predictions are right, so that what is left is mostly zero, and at the same rows: it compresses well.
Nothing is lost, and the digest of predictions is that of the arrays before.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["pack", "unpack"]

Array = npt.NDArray[Any]
_NUMBER = re.compile("0|[1-9][0-9]{0,5}")
_RUNS = re.compile("(?=.*[,-])[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*")

# Of a top probability in steps of 1/255 its negative logarithm in steps of 1/16: no entry lies so
# close to a half that another machine's logarithm would round it otherwise.
_LOGARITHMS = np.round(-16 * np.log(np.arange(1, 256) / 255)).clip(0, 255).astype(np.int64)
_LOGARITHMS = np.concatenate([[255], _LOGARITHMS])


def pack(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """`class` and `best_seen` less the true class, and where it is right `true` less what `top` tells of
    it, both modulo the range of their types; then replicates that are alike but for their numbers as one
    array, along a last axis of their own: 0/label/class to 2/label/class are 0-2/label/class."""
    packed = {name: _shifted(name, array, arrays, -1) for name, array in arrays.items()}
    alike = dict[tuple[Any, ...], list[int]]()
    for name, array in packed.items():
        number, _, rest = name.partition("/")
        if rest and _NUMBER.fullmatch(number):
            alike.setdefault((rest, array.shape, array.dtype.str), []).append(int(number))
    for (rest, *_), numbers in alike.items():
        parts = [packed.pop(f"{number}/{rest}") for number in sorted(numbers)]
        packed[f"{_runs(sorted(numbers))}/{rest}"] = np.stack(parts, -1) if parts[1:] else parts[0]
    return packed


def unpack(packed: Mapping[str, Array]) -> dict[str, Array]:
    """`pack` undone, also where replicates lie by themselves, as they did once. Raises ValueError for an
    array that has not as many replicates as its name, and for numbers that do not rise."""
    arrays = {k: v for name, array in packed.items() for k, v in _split(name, array)}
    names = list(arrays)
    for field in ("class", "best_seen", "true"):  # the last asks for the first
        for name in names:
            if name.endswith(f"/{field}"):
                arrays[name] = _shifted(name, arrays[name], arrays, 1)
    return arrays


def _runs(numbers: list[int]) -> str:
    """Rising numbers, neighbours as a range: 0-2,5 for 0, 1, 2 and 5."""
    runs = list[tuple[int, int]]()
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def _split(name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """The replicates of a packed array, by name."""
    numbers, _, rest = name.partition("/")
    if not rest or not _RUNS.fullmatch(numbers):
        yield name, array
        return
    runs = [[int(number) for number in run.split("-")] for run in numbers.split(",")]
    ends = [end for run in runs for end in (run[0], run[-1] + 1)]
    count = sum(run[-1] - run[0] + 1 for run in runs)
    if any(a > b for a, b in itertools.pairwise(ends)):  # names are a stranger's
        raise ValueError(f"{name[:80]}: its numbers do not rise")
    if not array.ndim or array.shape[-1] != count:
        raise ValueError(f"{name[:80]} has shape {array.shape}, and is to have {count} replicates")
    found = (number for run in runs for number in range(run[0], run[-1] + 1))
    for place, number in enumerate(found):
        yield f"{number}/{rest}", np.ascontiguousarray(array[..., place])


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
