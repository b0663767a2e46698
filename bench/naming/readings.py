"""Which component and arguments a spec means where a path in it may hold any character."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from bench.errors import BenchError, unknown
from bench.naming.grammar import (
    Spec,
    escape,
    parse_budget,
    parse_source,
    split_name,
    unquoted,
)
from bench.naming.registry import Component, Kind, Parameter, find

_FROM_RUNNER: Mapping[Kind, frozenset[str]] = {  # parameters of `build` that no spec sets
    "encoders": frozenset({"source"}),
    "protocols": frozenset({"meta", "trunk", "seed"}),
    "datasets": frozenset({"root", "skip_bad"}),
    "diagnostics": frozenset(),
    "studies": frozenset({"setting"}),
}
_RESERVED = frozenset({"level", "source", "budget"})  # arguments of every encoder's spec


def settable(entry: Component) -> dict[str, Parameter]:
    """The parameters that a spec sets; the others come from the runner."""
    runner = _FROM_RUNNER[entry.kind]
    return {key: p for key, p in entry.parameters.items() if key not in runner}


def read_spec(kind: Kind, text: str) -> tuple[Spec, Component]:
    """A spec in its parts, and its component, of which the signature says which values are paths. Nothing
    but the form is checked; `source` and `budget` are those of the keys source=... and budget=... too.

    A path runs to the next `,key=` of the component, and @ and ~ in it belong to it. Where a path in the
    strict grammar of `Spec.parse`, perhaps before a source and a budget, is as good a reading, it goes
    first; but the reading of which all files exist goes before that.
    """
    spec, entry = _closest_reading(kind, text)
    return (_with_reserved(spec, entry, text) if kind == "encoders" else spec), entry


def _closest_reading(kind: Kind, text: str) -> tuple[Spec, Component]:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise BenchError(f"{text!r} is not a valid spec: it holds half a character") from error
    name, tail = split_name(text)
    entry = find(kind, name)
    schema = settable(entry)
    paths = {key for key in schema if "Path" in schema[key].annotation}
    if not paths or not re.search(f",({'|'.join(sorted(paths))})=", tail):
        return Spec.parse(text), entry
    keys = schema.keys() | (_RESERVED if kind == "encoders" else set())
    parsed, refusals = list[Spec](), list[BenchError]()
    for form in (text, name + _escaped_paths(tail, keys, paths)):
        try:
            parsed.append(Spec.parse(form, paths))
        except BenchError as error:
            refusals.append(error)
    readings = [spec for spec in parsed if _may_be_meant(spec, entry, keys)]
    for spec in readings:
        if all(_exists(spec.arguments[key]) for key in paths & spec.arguments.keys()):
            return spec, entry
    if not parsed:
        raise refusals[-1]
    if not readings:
        return parsed[0], entry  # refused by `resolve`, which says why
    for key in paths & readings[0].arguments.keys():
        unknown_key = re.search(r",([A-Za-z_]\w*)=", readings[0].arguments[key])
        if unknown_key:
            raise unknown(f"argument of {entry.name}", unknown_key[1], keys)
    return readings[0], entry


def _may_be_meant(spec: Spec, entry: Component, keys: Collection[str]) -> bool:
    """Does a reading have arguments, a source and a budget that the component can have?"""
    if entry.training == "none" and (spec.source is not None or spec.budget is not None):
        return False
    if entry.training == "closed_form" and spec.budget is not None:
        return False
    return spec.arguments.keys() <= set(keys)


def _exists(path: str) -> bool:
    return os.path.exists(os.path.expanduser(path))


def _escaped_paths(tail: str, keys: Collection[str], paths: Collection[str]) -> str:
    """What follows the name, with the values of `paths` written %XX; each runs to the next of `keys`."""
    pieces, position = list[str](), 0
    start_of_path = re.compile(f",({'|'.join(sorted(paths))})=")
    start_of_next = re.compile(f",({'|'.join(sorted(keys))})=")
    while match := start_of_path.search(tail, position):
        following = start_of_next.search(tail, match.end())
        end = following.start() if following else len(tail)
        literal = tail[match.end() : end]
        decoded = unquoted(literal)
        path = literal if _exists(literal) and not _exists(decoded) else decoded
        pieces += [tail[position : match.end()], escape(path)]
        position = end
    return "".join(pieces) + tail[position:]


def _with_reserved(spec: Spec, entry: Component, text: str) -> Spec:
    """The spec with the source and the budget that its arguments hold as source=... and budget=..., which
    are taken from there. Raises BenchError for an encoder that has such parameters of its own."""
    if taken := entry.parameters.keys() & (_RESERVED - _FROM_RUNNER["encoders"]):
        raise BenchError(
            f"{entry.path}: build has a parameter {min(taken)!r}, which every spec has; rename it"
        )
    arguments = dict(spec.arguments)
    source, budget = arguments.pop("source", None), arguments.pop("budget", None)
    if (source is not None and spec.source is not None) or (
        budget is not None and spec.budget is not None
    ):
        raise BenchError(f"{text!r} is not a valid spec: it has two sources or two budgets")
    return replace(
        spec,
        arguments=arguments,
        source=spec.source if source is None else parse_source(escape(source), text),
        budget=spec.budget if budget is None else parse_budget(budget, text),
    )
