"""Lists and tables of words and numbers, as authors of data sets write them into text files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

Array = npt.NDArray[Any]
MOST = 100.001  # percent: a hundred, written with a rounding error


def other(name: str, what: str) -> BenchError:
    """The error for files of the data set `name` that are not its authors'."""
    return BenchError(f"the files of {name} are not the known ones: {what}; fetch it again")


def words(name: str, path: Path) -> list[list[str]]:
    """The words of each line that is not empty. Raises BenchError for what is no ASCII text."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror or type(error).__name__ if isinstance(error, OSError) else "not ASCII"
        raise other(name, f"{path.name} cannot be read as text ({told})") from error
    return [found for line in text.splitlines() if (found := line.split())]


def numbered(name: str, path: Path, count: int | None = None) -> list[str]:
    """The words of a list whose lines are a number and a word, in the numbers' order. Raises BenchError
    unless the numbers are 1 to the list's length, each once; that length is `count`, where given."""
    lines = words(name, path)
    for line in lines:
        if len(line) != 2 or not line[0].isdecimal():
            raise other(
                name, f"{path.name} has the line {' '.join(line)[:60]!r}; a number and a word"
            )
    found = {int(number): word for number, word in lines}
    size = len(lines) if count is None else count
    if not lines or len(lines) != size or sorted(found) != list(range(1, size + 1)):
        wanted = f"1 to {size}" if size else "1, 2, 3 and so on"
        raise other(name, f"{path.name} has {len(lines)} lines; {wanted}, each once, are wanted")
    return [found[number] for number in range(1, size + 1)]


def different(name: str, path: Path, found: Sequence[str]) -> tuple[str, ...]:
    """The words themselves. Raises BenchError where one stands twice."""
    twice, count = Counter(found).most_common(1)[0] if found else ("", 0)
    if count > 1:
        raise other(name, f"{path.name} names {twice!r} {count} times")
    return tuple(found)


def shares(name: str, path: Path) -> Array:
    """A table of percentages, a row a line, as shares: float64 (rows, columns) in [0, 1]; NaN where it
    has -1, which means that nobody was asked. Raises BenchError for any other number or shape."""
    try:
        table = np.array([[float(word) for word in line] for line in words(name, path)])
    except ValueError as error:  # no number, or lines of several lengths
        told = f"{path.name} is no table of numbers, with as many in each line"
        raise other(name, told) from error
    if table.ndim != 2:
        raise other(name, f"{path.name} has no lines of numbers")
    table[table == -1] = np.nan
    odd = ~(np.isnan(table) | ((table >= 0) & (table <= MOST)))
    if odd.any():
        row, column = (int(each[0]) for each in np.nonzero(odd))
        told = f"{path.name} has {table[row, column]:g} in line {row + 1}"
        raise other(name, f"{told}; 0 to 100 percent, or -1 where missing, is wanted")
    result: Array = np.minimum(table / 100, 1)
    return result
