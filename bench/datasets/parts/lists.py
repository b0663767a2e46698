"""Readers for the text files of data sets: lists of words and tables of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data.samples import Array
from bench.errors import BenchError
from bench.files.reading import read_text

MAX_PERCENT = 100.001  # 100 with a rounding error


def invalid_files(name: str, problem: str) -> BenchError:
    """The error for files of the data set `name` that are not as its authors published them."""
    return BenchError(f"the files of {name} are not valid: {problem}; fetch the data set again")


def read_words(name: str, path: Path) -> list[list[str]]:
    """The words of each line that is not empty. Raises BenchError for a file that is not ASCII text."""
    try:
        text = read_text(path).encode("ascii").decode("ascii")
    except UnicodeError as error:
        raise invalid_files(name, f"{path.name} cannot be read as text (not ASCII)") from error
    except BenchError as error:
        raise invalid_files(name, str(error).replace(str(path), path.name)) from error
    return [words for line in text.splitlines() if (words := line.split())]


def read_numbered(name: str, path: Path, count: int | None = None) -> list[str]:
    """The words of a list with a number and a word in each line, in the order of the numbers.

    Raises BenchError unless the numbers are 1 to `count` (None: the number of lines), each once.
    """
    lines = read_words(name, path)
    for line in lines:
        if len(line) != 2 or not line[0].isdecimal():
            text = " ".join(line)[:60]
            raise invalid_files(name, f"{path.name} has the line {text!r}, not a number and a word")
    by_number = {int(number): word for number, word in lines}
    size = len(lines) if count is None else count
    if not lines or len(lines) != size or sorted(by_number) != list(range(1, size + 1)):
        numbers = f"1 to {size}" if size else "1, 2, 3 and so on"
        problem = f"{path.name} has {len(lines)} lines; they must be numbered {numbers}, each once"
        raise invalid_files(name, problem)
    return [by_number[number] for number in range(1, size + 1)]


def require_unique(name: str, path: Path, words: Sequence[str]) -> tuple[str, ...]:
    """The `words` of the file `path`, as a tuple. Raises BenchError where one occurs twice."""
    word, count = Counter(words).most_common(1)[0] if words else ("", 0)
    if count > 1:
        raise invalid_files(name, f"{path.name} names {word!r} {count} times")
    return tuple(words)


def read_shares(name: str, path: Path) -> Array:
    """A table of percentages as shares, float64 (lines, columns) in [0, 1]; NaN where it has -1, which
    marks missing values. Raises BenchError for other numbers and for lines of several lengths."""
    try:
        table = np.array([[float(word) for word in line] for line in read_words(name, path)])
    except ValueError as error:  # not a number, or lines of several lengths
        problem = f"{path.name} is not a table of numbers, equally many in each line"
        raise invalid_files(name, problem) from error
    if table.ndim != 2:
        raise invalid_files(name, f"{path.name} has no lines of numbers")
    table[table == -1] = np.nan
    invalid = ~(np.isnan(table) | ((table >= 0) & (table <= MAX_PERCENT)))
    if invalid.any():
        row, column = (int(indices[0]) for indices in np.nonzero(invalid))
        problem = f"{path.name} has {table[row, column]:g} in line {row + 1}"
        raise invalid_files(name, f"{problem}; it must be 0 to 100 percent, or -1 where missing")
    shares: Array = np.minimum(table / 100, 1)
    return shares
