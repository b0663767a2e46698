"""Signatures of classes from word vectors: text files such as those of GloVe and word2vec."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.data.samples import Array
from bench.data.semantics import LARGEST, Semantics, composed
from bench.errors import BenchError
from bench.files.reading import text_encoding

_LONGEST = 2**22  # characters of a line, with its word and its numbers


def from_vectors(path: Path, classes: Sequence[str]) -> Semantics:
    """A table of these classes by the mean vectors of their names' words.

    The file has lines "word number number ...", below a line "count width" or not. Names are split at
    spaces and at / - _ +; a word is looked for as it stands, then in lower case. Lines of other words
    are skipped unread, so that a file may be larger than memory. Raises BenchError for words that
    it lacks, and for lines of another form.
    """
    classes = [composed(name) for name in classes]
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise BenchError(f"classes {list(classes)!r}: expected two or more different names")
    words = {name: [word for word in re.split(r"[\s/_+-]+", name) if word] for name in classes}
    vectors = _read_vectors(path, {word for parts in words.values() for word in parts})
    absent = []
    for name, parts in words.items():
        missing = [word for word in parts if not {word, word.lower()} & vectors.keys()]
        if missing or not parts:
            absent.append(f"{', '.join(map(repr, missing)) or 'any word'} of class {name!r}")
    if absent:
        raise BenchError(
            f"{path} has no vector for {'; '.join(absent)}: add a line for it, or use another file"
        )
    rows = [
        np.mean(
            [vectors[word] if word in vectors else vectors[word.lower()] for word in parts], axis=0
        )
        for parts in words.values()
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


def _read_vectors(path: Path, words: set[str]) -> dict[str, Array]:
    """Vectors (width,) of those of `words`, as they stand or in lower case, that the file has."""
    accepted = words | {word.lower() for word in words}
    vectors: dict[str, Array] = {}
    width = 0
    for number, line in _lines(path):
        word, _, numbers = line.partition(" ")
        if not word.isascii():
            word = composed(word)
        if number == 1:
            counts = line.split()
            if len(counts) == 2 and all(map(str.isdecimal, counts)):
                width = int(counts[1])
                continue
        if width and number > 2 and (word not in accepted or word in vectors):
            continue
        try:
            vector = np.array(numbers.split(), dtype=np.float64)
        except ValueError:
            vector = np.array([np.nan])
        width = width or len(vector)
        if not width or len(vector) != width or not (np.abs(vector) <= LARGEST).all():
            expected = f"{width} finite numbers" if width > 1 else "finite numbers"
            raise BenchError(
                f"{path}, line {number}: {line.strip()[:40]!r} is not valid; "
                f"expected a word and {expected}"
            )
        if word in accepted:
            vectors.setdefault(word, vector)
        if len(vectors) >= len(words) and words <= vectors.keys():
            break
    if not width:
        raise BenchError(f"{path} is empty; expected lines 'word number number ...'")
    return vectors


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines by their number from 1; only "\\n" ends one, since words may hold other separators."""
    try:
        if (
            path.exists() and not path.is_file()
        ):  # a pipe, which cannot be read from its start again
            raise BenchError(f"{path} cannot be read: it is not a regular file; name a file")
        # Lines that are not UTF-8 are of words that no class has.
        with path.open("rb") as start:
            encoding = text_encoding(start.read(4))
        with path.open(encoding=encoding, errors="replace", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST), ""), start=1):
                if len(line) == _LONGEST:
                    raise BenchError(f"{path}, line {number} has {_LONGEST} characters or more")
                yield number, line
    except FileNotFoundError:
        raise BenchError(f"no file {str(path)!r}") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
