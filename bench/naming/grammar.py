"""The grammar of specs: `name,key=value,...@source~budget` in its parts and back."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from urllib.parse import unquote, unquote_to_bytes

from bench.errors import BenchError

_SAFE = re.compile(r"[A-Za-z0-9._+-]*")


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec in its parts, as given: nothing is checked against a component yet."""

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    budget: int | None = None

    @classmethod
    def parse(cls, text: str, paths: Collection[str] = ()) -> Spec:
        """Read `name,key=value@source~budget`; other characters are written %XX, which in the values of
        `paths` may stand for bytes of any encoding.

        >>> Spec.parse("vae,beta=4@mnist~60k")
        Spec(name='vae', arguments={'beta': '4'}, source='mnist', budget=60000)
        """
        head, tail = split_name(text)
        tail, tilde, budget = tail.partition("~")
        tail, at, source = tail.partition("@")
        after_name, *pairs = tail.split(",")
        if after_name:
            raise BenchError(
                f"{text!r} is not a valid spec: write a comma between the path and {after_name!r}"
            )
        arguments: dict[str, str] = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            decoded = _decoded(value, any_bytes=key in paths)
            if not equals or not key.isidentifier() or key in arguments or decoded is None:
                raise BenchError(
                    f"{text!r} is not a valid spec: {pair!r} must be a new key=value of letters, digits "
                    "and ._+-, other characters as %XX"
                )
            arguments[key] = decoded
        images = parse_budget(budget, text) if tilde else None
        return cls(head, arguments, parse_source(source, text) if at else None, images)


def split_name(text: str) -> tuple[str, str]:
    """The component's name, or the path of its .py file, and what follows. A path is the shortest one
    that exists; one that does not ends before the first comma."""
    for match in re.finditer(r"\.py(?=[,@~]|$)", text):
        for path in dict.fromkeys((text[: match.end()], unquoted(text[: match.end()]))):
            if os.path.isfile(os.path.expanduser(path)):
                return path, text[match.end() :]
    if local := re.match(r"[^,]*?\.py(?=[,@~]|$)", text, re.DOTALL):
        return local[0], text[local.end() :]
    name = re.split("[,@~]", text, maxsplit=1)[0]
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise BenchError(
            f"{text!r} is not a valid spec: the name {name!r} must be letters, digits and _, or "
            "the path of a .py file; write name,key=value@source~budget"
        )
    return name, text[len(name) :]


def _decoded(value: str, *, any_bytes: bool = False) -> str | None:
    """A value with %XX replaced; None where it has other characters, a NUL, or bytes that are not UTF-8
    where not `any_bytes` are allowed."""
    if not _SAFE.fullmatch(re.sub(r"%[0-9A-Fa-f]{2}", "", value)):
        return None
    try:
        text = unquoted(value) if any_bytes else unquote(value, errors="strict")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def unquoted(path: str) -> str:
    """A path with %XX replaced by bytes, as the operating system's functions take it."""
    return os.fsdecode(unquote_to_bytes(path.encode("utf-8", "surrogateescape")))


def parse_source(text: str, spec: str) -> str:
    """The spec of a data set, from its form after @."""
    if not re.fullmatch(r"[A-Za-z0-9_]+(%2C[A-Za-z0-9_]+%3D[A-Za-z0-9._+%-]+)*", text):
        raise BenchError(
            f"{spec!r} is not a valid spec: {text!r} after @ is not the name of a data set"
        )
    return unquote(text)


def escape(value: str) -> str:
    """A value with every character but letters, digits and ._+- written %XX. Bytes of a path that are not
    UTF-8 are what they are."""
    return "".join(
        c
        if _SAFE.fullmatch(c)
        else "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogateescape"))
        for c in value
    )


def parse_budget(text: str, spec: str) -> int:
    """Images seen: `0`, `10k`, `1.2m`.

    >>> parse_budget("1.2m", ""), parse_budget("300k", "")
    (1200000, 300000)
    """
    match = re.fullmatch(r"(\d{1,13}(?:\.\d{1,13})?)([km]?)", text, re.ASCII)
    unit = {"": 1, "k": 1_000, "m": 1_000_000}
    value = Fraction(match[1]) * unit[match[2]] if match else Fraction(-1)
    if not 0 <= value <= 10**12 or value != int(value):
        raise BenchError(
            f"{spec!r}: the budget {text!r} is not a count of images such as 0, 60k or 1.2m"
        )
    return int(value)


def format_budget(images: int) -> str:
    """The shortest of `300000`, `300k`, `0.3m` that `parse_budget` reads back.

    >>> format_budget(1_200_000), format_budget(60_000), format_budget(10), format_budget(0)
    ('1.2m', '60k', '10', '0')
    """
    for unit, name in ((1_000_000, "m"), (1_000, "k")):
        whole, remainder = divmod(images, unit)
        text = f"{whole}.{remainder:0{len(str(unit)) - 1}}".rstrip("0").rstrip(".") + name
        if whole and len(text) < len(str(images)):
            return text
    return str(images)
