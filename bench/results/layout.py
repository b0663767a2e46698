"""Frozen dataclasses from JSON and back, every value checked against its annotation."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from bench.errors import BenchError

T = TypeVar("T")
Parser = Callable[[Any, str], Any]  # of a JSON value and its place, for messages
# Metadata of a field that JSON leaves out where it is None; of one that it may also have as null.
OPTIONAL, NULLABLE = {"optional": "missing"}, {"optional": "missing or null"}
# Limits of values that anybody may have written, far beyond all that a run writes: of numbers (NaN and
# infinity are beyond it; sums and squares of floats stay finite), of a text's characters, of nesting.
_LARGEST = {int: 2**63 - 1, float: 1e100}
_MOST_TEXT, _MOST_KEY, _DEEPEST = 20_000, 1_000, 32


def to_json(value: Any) -> Any:
    """A dataclass as a JSON object, tuples as lists."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, tuple):
        return [to_json(part) for part in value]
    if isinstance(value, Mapping):
        return {k: list(part) if isinstance(part, tuple) else part for k, part in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    kind: Any = type(value)
    return {
        name: to_json(part)
        for name, optional in _fields(kind)
        if (part := getattr(value, name)) is not None or not optional
    }


def from_json(kind: type[T], value: object, where: str) -> T:
    """The dataclass that `to_json` gave; numbers keep their type, as they enter digests.

    Raises BenchError, naming `where`, for what is missing or unknown, of another type, or beyond the
    limits of numbers, texts and nesting.
    """
    hint: Any = kind
    parsed: T = _parser(hint)(value, where)
    return parsed


def of_accepted(kind: type[T], value: Mapping[str, Any]) -> T:
    """What `from_json` gives of a value that it has taken before: nothing is checked again."""
    hint: Any = kind
    built: T = _builder(hint)(value)
    return built


def _as_it_is(value: Any) -> Any:
    return value


@cache
def _builder(hint: Any) -> Callable[[Any], Any]:
    """From JSON, without checks."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        part = _builder(next(a for a in arguments if a is not types.NoneType))
        return part if part is _as_it_is else lambda v: None if v is None else part(v)
    if origin is tuple:
        part = _builder(arguments[0]) if ... in arguments else _as_it_is
        return tuple if part is _as_it_is else lambda values: tuple(map(part, values))
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        part = _builder(arguments[1])
        return part if part is _as_it_is else lambda vs: {k: part(v) for k, v in vs.items()}
    if not dataclasses.is_dataclass(hint):
        return _as_it_is
    made: Any = hint
    hints = get_type_hints(made)
    parts = {name: part for name in hints if (part := _builder(hints[name])) is not _as_it_is}
    return lambda value: made(
        **{name: parts[name](inner) if name in parts else inner for name, inner in value.items()}
    )


@cache
def _fields(kind: Any) -> tuple[tuple[str, str], ...]:
    """Names, and how None is written where that is not null alone."""
    return tuple((f.name, f.metadata.get("optional", "")) for f in dataclasses.fields(kind))


@cache
def _parser(hint: Any) -> Parser:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _any
    if origin is types.UnionType:
        part = _parser(next(a for a in arguments if a is not types.NoneType))
        return lambda value, where: None if value is None else part(value, where)
    if origin is Literal:
        return _choice(arguments)
    if origin is tuple:
        return _list(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_parser(arguments[1]))
    return _object(hint) if dataclasses.is_dataclass(hint) else _plain(hint)


def _choice(allowed: tuple[str, ...]) -> Parser:
    def parse(value: Any, where: str) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise BenchError(f"{where} is not one of {', '.join(allowed)}")
        return value

    return parse


def _list(hints: tuple[Any, ...]) -> Parser:
    """tuple[X, ...], or one value a hint."""
    parsers = [_parser(hint) for hint in hints if hint is not ...]
    size = None if ... in hints else len(parsers)

    def parse(value: Any, where: str) -> Any:
        if not isinstance(value, list) or (size is not None and len(value) != size):
            raise BenchError(f"{where} is not a list" + ("" if size is None else f" of {size}"))
        of_values = parsers if size else parsers * len(value)
        return tuple(
            p(v, f"{where}[{i}]") for i, (p, v) in enumerate(zip(of_values, value, strict=True))
        )

    return parse


def _mapping(part: Parser) -> Parser:
    def parse(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise BenchError(f"{where} is not an object")
        return {
            _key(key, where): part(inner, f"{where}[{key!r:.80}]") for key, inner in value.items()
        }

    return parse


def _key(key: str, where: str) -> str:
    if len(key) > _MOST_KEY:
        raise BenchError(
            f"{where} has a key of {len(key)} characters; at most {_MOST_KEY} are read"
        )
    return key


def _any(value: Any, where: str, depth: int = 0) -> Any:
    """Any JSON value, within the limits of all values."""
    if depth > _DEEPEST:
        raise BenchError(f"{where:.200} is nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            _key(key, where)
            _any(inner, where, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _any(inner, where, depth + 1)
    elif value is not None:
        kind: Any = type(value)
        _plain(kind)(value, where)
    return value


def _object(kind: Any) -> Parser:
    hints = get_type_hints(kind)
    for name, optional in _fields(kind):
        if optional == OPTIONAL["optional"]:  # written in one way
            hints[name] = next(a for a in get_args(hints[name]) if a is not types.NoneType)
    parsers = {name: _parser(hints[name]) for name, _ in _fields(kind)}
    needed = {name for name, optional in _fields(kind) if not optional}

    def parse(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise BenchError(f"{where} is not an object")
        if odd := (needed - set(value)) | (set(value) - set(parsers)):
            names = ", ".join(name if name in parsers else f"{name!r:.80}" for name in sorted(odd))
            raise BenchError(f"{where}: missing or unknown fields: {names}")
        return kind(**{k: parsers[k](inner, f"{where}.{k}") for k, inner in value.items()})

    return parse


@cache
def _plain(kind: Any) -> Parser:
    kinds, largest = (int, float) if kind is float else (kind,), _LARGEST.get(kind)
    word = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]

    def parse(value: Any, where: str) -> Any:
        if type(value) not in kinds:
            raise BenchError(f"{where} is not {word}")
        if largest is not None and not -largest <= value <= largest:
            raise BenchError(f"{where} is not finite, or too large")
        if kind is str and len(value) > _MOST_TEXT:
            raise BenchError(f"{where} has {len(value)} characters; at most {_MOST_TEXT} are read")
        return value

    return parse
