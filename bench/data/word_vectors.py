"""Signatures of classes from word vectors: text files such as those of GloVe and word2vec."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.semantics import LARGEST, Semantics
from bench.errors import BenchError

__all__ = ["from_vectors"]

Array = npt.NDArray[Any]


def from_vectors(path: Path, classes: Sequence[str]) -> Semantics:
    """A table of these classes by the mean vectors of their names' words.

    The file has lines "word number number ...", below a line "count width" or not. Names are split at
    spaces and at / - _ +; a word is looked for as it stands, then in lower case. Lines of other words
    are passed over unread, so that a file may be larger than memory. Raises BenchError for words that
    it has not, and for lines that are otherwise.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise BenchError(f"classes {list(classes)!r}: two or more different names are wanted")
    words = {name: [word for word in re.split(r"[\s/_+-]+", name) if word] for name in classes}
    found = _found(path, {word for some in words.values() for word in some})
    absent = []
    for name, some in words.items():
        missing = [word for word in some if word not in found and word.lower() not in found]
        if missing or not some:
            absent.append(f"{', '.join(map(repr, missing)) or 'any word'} of class {name!r}")
    if absent:
        raise BenchError(
            f"{path} has no vector for {'; '.join(absent)}: add a line for it, or take another file"
        )
    rows = [
        np.mean([found[word] if word in found else found[word.lower()] for word in some], axis=0)
        for some in words.values()
    ]
    return Semantics(
        name=path.stem,
        title=f"Word vectors of {path.name}",
        source=f"means over the words of a class's name, from {path.name}",
        classes=tuple(classes),
        attributes=tuple(f"v{number}" for number in range(len(rows[0]))),
        table=np.array(rows, dtype=np.float32),
        splits={},
    )


def _found(path: Path, words: set[str]) -> dict[str, Array]:
    """Vectors (width,) of those of `words`, as they stand or in lower case, that the file has."""
    wanted = words | {word.lower() for word in words}
    found: dict[str, Array] = {}
    width = 0
    for number, line in _lines(path):
        word, _, rest = line.partition(" ")
        if number == 1:
            counts = line.split()
            if len(counts) == 2 and all(each.isdecimal() for each in counts):
                width = int(counts[1])
                continue
        if width and number > 2 and (word not in wanted or word in found):
            continue
        try:
            vector = np.array(rest.split(), dtype=np.float64)
        except ValueError:
            vector = np.array([np.nan])
        width = width or len(vector)
        if not width or len(vector) != width or not (np.abs(vector) <= LARGEST).all():
            many = f"{width} finite numbers" if width > 1 else "finite numbers"
            raise BenchError(
                f"{path}, line {number}: {line.strip()[:40]!r} does not fit; a word and {many} are wanted"
            )
        if word in wanted:
            found.setdefault(word, vector)
        if len(found) >= len(words) and words <= found.keys():
            break
    if not width:
        raise BenchError(f"{path} is empty; lines 'word number number ...' are wanted")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines by their number from 1; only "\\n" ends one, since words may hold other separators."""
    try:
        # What is no UTF-8 belongs to words that nobody asks for.
        with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
            yield from enumerate(file, start=1)
    except FileNotFoundError:
        raise BenchError(f"no file {str(path)!r}") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
