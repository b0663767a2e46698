"""Files that may come from anybody, read within limits: text in any encoding, JSON, TOML."""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from bench.errors import BenchError

_MOST_TEXT = 2**28  # bytes of a text file that is read whole


def text_encoding(start: bytes) -> str:
    """The encoding of a text that starts with these bytes (four will do): UTF-16 or UTF-32 by its byte
    order mark, UTF-16 without one where one of the first two bytes is 0, else UTF-8 with or without one.

    >>> text_encoding(b"\\xff\\xfea\\0"), text_encoding(b"a\\0b\\0"), text_encoding(b"ab")
    ('utf-16', 'utf-16-le', 'utf-8-sig')
    """
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) > 1 and (start[0] == 0) != (start[1] == 0):
        return "utf-16-be" if start[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def read_bytes(
    path: Path, form: str = "text", *, most: int = _MOST_TEXT, links: bool = True
) -> bytes:
    """The content of a regular file of at most `most` bytes; where not `links`, no link to one either.

    A file from somebody else may be a link, a pipe that never ends or a device: nothing of it is opened.
    Raises BenchError, which calls the file by `path` and its `form`.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        facts = os.stat(path, follow_symlinks=links)
        if stat.S_ISREG(facts.st_mode) and facts.st_size <= most:
            descriptor = os.open(path, flags | (0 if links else getattr(os, "O_NOFOLLOW", 0)))
            with open(descriptor, "rb") as file:
                facts = os.fstat(descriptor)  # of what was opened
                if stat.S_ISREG(facts.st_mode) and facts.st_size <= most:
                    return file.read(facts.st_size)
    except FileNotFoundError:
        raise BenchError(f"no file {str(path)!r}") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read as {form}: {error.strerror}") from error
    except ValueError as error:  # a path with a NUL
        raise BenchError(f"{str(path)!r} cannot be read as {form}: {error}") from error
    if stat.S_ISREG(facts.st_mode):
        problem = f"it has {facts.st_size} bytes; at most {most} are read"
    else:
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link"}
        problem = (
            f"it is {kinds.get(stat.S_IFMT(facts.st_mode), 'not a regular file')}; name a file"
        )
    raise BenchError(f"{path} cannot be read as {form}: {problem}")


def left_by_download(start: bytes) -> str:
    """What a download leaves in place of a binary file that starts with these bytes (256 will do), and
    what to do; "" for none of that.

    >>> left_by_download(b"<html>"), left_by_download(b"\\x89PNG")
    ('a web page or another text; fetch the file itself', '')
    """
    if not start:
        return "empty; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer to the file and not the file; fetch it with `git lfs pull`"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{"):
        return "a web page or another text; fetch the file itself"
    return ""


def read_text(path: Path, form: str = "text", *, most: int = _MOST_TEXT, links: bool = True) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 as `text_encoding` tells, without a byte order
    mark; line ends become "\n". Raises BenchError as `read_bytes` does, and for what is not such text."""
    content = read_bytes(path, form, most=most, links=links)
    try:
        text = content.decode(text_encoding(content[:4]))
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path} cannot be read as {form}: byte {error.start} is not {error.encoding.upper()}; save "
            "it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, *, most: int, values: int = 10**6) -> Any:
    """The value of a JSON file, which may come from anybody: no link, at most `most` bytes, and what
    `parse_json` takes. Raises BenchError for any other file."""
    return parse_json(
        read_bytes(path, "JSON", most=most, links=False), path, most=most, values=values
    )


def parse_json(content: bytes, path: Path, *, most: int, values: int = 10**6) -> Any:
    """The value of JSON in UTF-8, read from `path`: at most `most` bytes (a fourth of that where it is not
    ASCII: in memory a character may take four) and about `values` values, no key twice in an object, no
    NaN or infinity. Raises BenchError for any other content."""
    if sum(map(content.count, (b",", b"[", b"{"))) > values:
        raise BenchError(f"{path} is no JSON of a size that is read: at most {values} values are")
    if len(content) > most // 4 and not content.isascii():
        raise BenchError(
            f"{path} is no JSON of a size that is read: write other letters as \\uXXXX"
        )
    try:
        text = content.decode("utf-8")
        del content
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise BenchError(
            f"{path} is no JSON that is read: its brackets are nested too deeply"
        ) from None
    except ValueError as error:
        raise BenchError(f"{path} is no JSON: {_without_advice(error)}") from error


def read_toml(path: Path, *, most: int, links: bool = True) -> dict[str, Any]:
    """The table of a TOML file of at most `most` bytes. Raises BenchError for any other file, for numbers
    of thousands of digits, and for keys or brackets that no file of ours has and that take very long."""
    import tomllib  # not at the top: `list` needs none

    text = read_text(path, "TOML", most=most, links=links)
    try:
        if max(text.count("["), text.count("=")) > _MOST_MARKS:
            raise ValueError(f"more than {_MOST_MARKS} keys or brackets")
        if _LONG_KEY.search(text):
            raise ValueError("a key of very many parts")
        table = tomllib.loads(text)
        _check_integers(table)
    except RecursionError:
        raise BenchError(
            f"{path} cannot be read as TOML: its brackets are nested too deeply"
        ) from None
    except ValueError as error:
        raise BenchError(f"{path} cannot be read as TOML: {_without_advice(error)}") from error
    return table


# tomllib takes seconds for more of them, and minutes and gigabytes for one key of 50,000 parts.
_MOST_MARKS = 30_000
_KEY_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_LONG_KEY = re.compile(rf"""(?<![\w"'-])(?:{_KEY_PART}){{5}}""", re.ASCII)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values of one key a reader sees the first and a program the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r:.80} is there twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}")


def _check_integers(value: Any) -> None:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_integers(part)
    elif isinstance(value, int) and value.bit_length() > 13_000:  # hexadecimal ones have no limit
        raise ValueError("a number has too many digits")


def _without_advice(error: ValueError) -> str:
    """Python's words; where a number has too many digits they speak to programmers."""
    return "a number has too many digits" if "int_max_str_digits" in str(error) else str(error)
