"""entry.toml: what the makers of an entered encoder say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files.reading import read_toml
from bench.files.writing import write_atomically
from bench.results.layout import OPTIONAL, from_json, to_json

FILE = "entry.toml"
SCHEMA = "reptransfer.entry/1"
MOST = 2**16  # bytes of the file
MOST_WEIGHTS = 5 * 2**20  # bytes of a file of weights that lies in the entry
WEIGHTS_ENDING = ".onnx"  # of such files; others lie elsewhere
_MOST_LINE, _MOST_URL, _MOST_LIST = 200, 1000, 100
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"https://[!-~]+")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A file that is needed to run the encoder: `url` says where it is; None: it lies in the entry."""

    name: str
    bytes: int
    sha256: str  # of its content, in hexadecimal digits
    url: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What entry.toml holds. `trained_with_labels` and `trained_without_labels`: names of data sets."""

    title: str
    authors: tuple[str, ...]
    contact: str  # an e-mail or https address
    licence: str  # of the weights, as by SPDX
    hardware: str  # that the scores were computed on
    trained_with_labels: tuple[str, ...]
    trained_without_labels: tuple[str, ...]
    paper: str | None = field(default=None, metadata=OPTIONAL)
    code: str | None = field(default=None, metadata=OPTIONAL)
    weights: tuple[WeightsFile, ...] = ()


def read_entry(path: Path) -> Entry:
    """The entry in a file, which may come from anybody: `problems` says what is wrong in it.

    Raises BenchError for a file that is no such table: a link, larger than 64 kB, of another schema, with
    missing or unknown keys, or with values of another type.
    """
    table = read_toml(path, most=MOST, links=False)
    if table.get("schema") != SCHEMA:
        raise BenchError(
            f"{path}: unknown schema {table.get('schema')!r:.80} (schema = {SCHEMA!r} is read)"
        )
    values = {"weights": [], **{k: v for k, v in table.items() if k != "schema"}}
    return from_json(Entry, values, str(path))


def write_entry(path: Path, entry: Entry) -> None:
    """Write the file, so that `read_entry` gives the same entry."""
    write_atomically(path, entry_text(entry).encode())


def entry_text(entry: Entry) -> str:
    """What `write_entry` writes."""
    values: dict[str, Any] = to_json(replace(entry, weights=()))
    del values["weights"]
    text = "\n".join(_lines({"schema": SCHEMA, **values})) + "\n"
    return f"{text}\n{weights_text(entry.weights)}" if entry.weights else text


def weights_text(weights: tuple[WeightsFile, ...]) -> str:
    """The tables [[weights]], which are the last of the file."""
    return "\n".join("\n".join(["[[weights]]", *_lines(to_json(part))]) + "\n" for part in weights)


def _lines(table: Mapping[str, Any]) -> list[str]:
    """Keys and values of TOML: its strings and lists of strings are written as in JSON."""
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]


def problems(entry: Entry) -> Iterator[tuple[str, str]]:
    """What is wrong with an entry's values: field and message."""
    lines = {name: getattr(entry, name) for name in ("title", "contact", "licence", "hardware")}
    for name in ("authors", "trained_with_labels", "trained_without_labels"):
        values = getattr(entry, name)
        if len(values) > _MOST_LIST:
            yield name, f"{len(values)} values; at most {_MOST_LIST} are read"
        lines |= {f"{name}[{i}]": value for i, value in enumerate(values[:_MOST_LIST])}
    if not entry.authors:
        yield "authors", 'is empty: give names, as in ["A. Author"]'
    for name, text in lines.items():
        yield from ((name, message) for message in _line_problems(text))
    if entry.contact and "@" not in entry.contact and not _URL.fullmatch(entry.contact):
        yield "contact", f"{entry.contact!r:.80} is no e-mail address and no https address"
    for name, url in (("paper", entry.paper), ("code", entry.code)):
        if url is not None:
            yield from ((name, message) for message in _url_problems(url))
    yield from _weights_problems(entry.weights)


def _line_problems(text: str) -> Iterator[str]:
    if not text.strip():
        yield "is empty"
    elif len(text) > _MOST_LINE:
        yield f"has {len(text)} characters; at most {_MOST_LINE} are read"
    elif not text.isprintable():  # control characters, marks of writing direction, separators
        yield f"{text!a:.120} has characters that are not printed"


def _url_problems(url: str) -> Iterator[str]:
    if len(url) > _MOST_URL or not _URL.fullmatch(url):
        yield f"{url!r:.80} is no https address of at most {_MOST_URL} characters"


def _weights_problems(weights: tuple[WeightsFile, ...]) -> Iterator[tuple[str, str]]:
    if len(weights) > _MOST_LIST:
        yield "weights", f"{len(weights)} files; at most {_MOST_LIST} are read"
    names = [part.name.casefold() for part in weights]
    for number, part in enumerate(weights[:_MOST_LIST]):
        where = f"weights[{number}]"
        if not _NAME.fullmatch(part.name) or len(part.name) > _MOST_LINE:
            yield f"{where}.name", f"{part.name!r:.80} is no plain name of a file"
        elif names.index(part.name.casefold()) != number:
            yield f"{where}.name", f"{part.name!r} is there twice"
        if not _SHA256.fullmatch(part.sha256):
            yield f"{where}.sha256", f"{part.sha256!r:.80} is not 64 hexadecimal digits"
        if part.bytes < 1:
            yield f"{where}.bytes", f"{part.bytes} is below 1"
        if part.url == "":
            yield f"{where}.url", "is empty: give the https address"
        elif part.url is not None:
            yield from ((f"{where}.url", message) for message in _url_problems(part.url))
        elif part.bytes > MOST_WEIGHTS or not part.name.endswith(WEIGHTS_ENDING):
            yield (
                f"{where}.url",
                f"is missing: only {WEIGHTS_ENDING} files of at most {MOST_WEIGHTS} bytes lie in an entry",
            )
