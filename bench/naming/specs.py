"""Specs: `name,key=value,...@source~budget` names a component with its arguments, safely."""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from bench.data.images import REVISION as IMAGES_REVISION
from bench.digests import digest, file_digest
from bench.errors import BenchError, unknown
from bench.naming.neighbours import opened_by
from bench.naming.registry import REQUIRED, Component, Kind, Parameter, find

LEVELS = ("code", "trunk", "multi")
DEFAULT_BUDGET = 300_000
_FROM_RUNNER: Mapping[Kind, frozenset[str]] = {  # parameters of `build` that no spec sets
    "encoders": frozenset({"source"}),
    "protocols": frozenset({"meta", "trunk", "seed"}),
    "datasets": frozenset({"root", "skip_bad"}),
    "diagnostics": frozenset(),
    "studies": frozenset({"setting"}),
}
_RESERVED = frozenset({"level", "source", "budget"})  # arguments of every encoder's spec
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
        rest, *pairs = tail.split(",")
        if rest:
            raise BenchError(
                f"{text!r} is not a valid spec: write a comma between the path and {rest!r}"
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
        return cls(head, arguments, _source(source, text) if at else None, images)


def split_name(text: str) -> tuple[str, str]:
    """The component's name, or the path of its .py file, and what follows. A path is the shortest one
    that exists; one that does not ends before the first comma."""
    for match in re.finditer(r"\.py(?=[,@~]|$)", text):
        for path in dict.fromkeys((text[: match.end()], _unquoted(text[: match.end()]))):
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
        text = _unquoted(value) if any_bytes else unquote(value, errors="strict")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _unquoted(path: str) -> str:
    """A path with %XX replaced by bytes, as the operating system's functions take it."""
    return os.fsdecode(unquote_to_bytes(path.encode("utf-8", "surrogateescape")))


def _source(text: str, spec: str) -> str:
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


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec checked against its component: every argument typed, every default filled in."""

    entry: Component
    arguments: Mapping[str, Any]
    level: str | None = None
    source: str | None = None  # canonical data set spec; None: the task's own training rows
    budget: int | None = None  # None: nothing is trained by images seen
    depends: Mapping[str, Resolved] = field(default_factory=dict)
    training_data: Resolved | None = None  # `source` with paths that can be read
    source_digest: str | None = None  # of a source in a folder of the user's own: its fingerprint
    alias: str | None = None  # stands for the canonical spec in records and boards

    @property
    def text(self) -> str:
        """The canonical spec: only what differs from the defaults, of a path its last part. It is also a
        folder's name."""
        return self.alias or self._text({k: _last(v) for k, v in self.paths.items()})

    @property
    def full_text(self) -> str:
        """The canonical spec with absolute paths."""
        paths = {key: os.path.abspath(value) for key, value in self.paths.items()}
        head = str(self.entry.path) if self.entry.content else self.entry.name
        return head + self._text(paths).removeprefix(self.entry.name)

    @property
    def paths(self) -> dict[str, str]:
        """The arguments that name files or folders."""
        return {
            key: value
            for key, value in self.arguments.items()
            if value is not None and "Path" in self.entry.parameters[key].annotation
        }

    @property
    def path_digests(self) -> dict[str, str]:
        """The digests of what these arguments name. Raises BenchError for what is missing."""
        return {key: _content(key, value) for key, value in self.paths.items()}

    @property
    def local(self) -> bool:
        """Does it need files of the user's own: a Python file, a path, or a folder to train on?"""
        source = self.training_data is not None and bool(self.training_data.paths)
        inner = any(spec.local for spec in self.depends.values())
        return bool(self.entry.group == "local" or self.alias or self.paths or source or inner)

    def _text(self, paths: Mapping[str, str]) -> str:
        changed = [
            f",{key}={escape(_format(paths.get(key, value)))}"
            for key, value in self.arguments.items()
            if value != self.entry.parameters[key].default
        ]
        level = f",level={self.level}" if self.level else ""
        source = f"@{escape(self.source)}" if self.source else ""
        budget = "" if self.budget in (None, DEFAULT_BUDGET) else f"~{format_budget(self.budget)}"
        return self.entry.name + "".join(changed) + level + source + budget

    @property
    def identity(self) -> dict[str, Any]:
        """The canonical spec, REVISION, every resolved argument, and a digest over them."""
        revisions = dict(self.entry.revisions)
        if self.entry.kind == "encoders":
            revisions["images"] = IMAGES_REVISION
        parts: dict[str, Any] = {
            # A path is that of this machine; the content of its file is what counts.
            "arguments": {**self.arguments, **self.path_digests},
            "revisions": revisions,
        }
        if self.entry.content:
            parts["content"] = self.entry.content
        if self.entry.kind == "encoders":
            parts |= {"level": self.level, "source": self.source, "budget": self.budget}
            parts["depends"] = {k: v.identity["digest"] for k, v in self.depends.items()}
            if self.source_digest is not None:
                parts["depends"]["source"] = self.source_digest
        named = {"name": self.entry.name, **parts}
        version = self.entry.constants.get("REVISION", 1)
        return {"id": self.text, "version": version, "digest": digest(named), **parts}

    @property
    def opened(self) -> Mapping[str, tuple[Path, str]]:
        """Path and digest of each file that a component outside the package, or an encoder that it
        depends on, opened in this process while it was imported or built, by a name without folders of
        this machine. They are no part of `identity`, which is known before anything is built."""
        files: dict[str, tuple[Path, str]] = {}
        parts = [spec.opened for spec in self.depends.values()]
        if self.entry.content:
            parts.append(opened_by(self.entry.path, self.entry.content, self.entry.kind))
        for name, file in (item for part in parts for item in part.items()):
            while files.get(name, file) != file:
                name += "'"
            files[name] = file
        return files

    @property
    def training_digest(self) -> str:
        """Digest of what the fitted weights depend on: the identity without the level that is read out."""
        return digest({**self.identity, "id": None, "digest": None, "level": None})


def share_images(first: str, second: str) -> bool:
    """Do two data sets, given by their specs, show the same images, whole or in part? A data set's file
    names in IMAGES the data sets whose images it shows.

    >>> share_images("cifar10_kinds", "cifar10_jpeg"), share_images("cifar10", "cifar100")
    (True, False)
    """
    return not _shown(first).isdisjoint(_shown(second))


def _shown(text: str) -> set[str]:
    """Specs of the data sets whose images a data set shows, itself among them."""
    try:
        entry = find("datasets", Spec.parse(text).name)
    except BenchError:  # a record may name a data set that this package does not have
        return {text}
    return {text, *entry.constants.get("IMAGES", ())}


def _last(path: str) -> str:
    """The name of a file or folder, without where it lies."""
    return os.path.basename(os.path.abspath(path)) or "root"


def _content(key: str, value: str) -> str:
    if not (os.path.isfile(value) or os.path.isdir(value)):
        raise BenchError(f"no file or folder {value!r} ({key}=...)")
    try:
        return file_digest(Path(value))
    except OSError as error:
        raise BenchError(f"{value!r} cannot be read ({key}=...): {error.strerror}") from error


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
        decoded = _unquoted(literal)
        path = literal if _exists(literal) and not _exists(decoded) else decoded
        pieces += [tail[position : match.end()], escape(path)]
        position = end
    return "".join(pieces) + tail[position:]


def resolve(kind: Kind, text: str) -> Resolved:
    """Check a spec against its component; imports nothing.

    Raises BenchError for unknown names and keys (the nearest offered), values of the wrong type,
    missing arguments, and a source or budget where nothing is trained, or a source within an argument.
    """
    spec, entry = read_spec(kind, text)
    values = dict(spec.arguments)
    level = values.pop("level", None) if kind == "encoders" else None
    if level is not None and level not in LEVELS:
        raise unknown("level", level, LEVELS)
    if kind != "encoders" and (spec.source is not None or spec.budget is not None):
        raise BenchError(f"{text!r}: only an encoder has a source (@) or a budget (~)")
    if entry.training == "none" and (spec.source is not None or spec.budget is not None):
        raise BenchError(f"{text!r}: {entry.name} is not trained; leave out @ and ~")
    if entry.training == "closed_form" and spec.budget is not None:
        raise BenchError(f"{text!r}: {entry.name} is solved in one pass; leave out ~")
    schema = settable(entry)
    for key in values:
        if key not in schema:
            raise unknown(f"argument of {entry.name}", key, schema)
    arguments: dict[str, Any] = {}
    depends: dict[str, Resolved] = {}
    for key, parameter in schema.items():
        if key in values:
            value = _read(parameter, values[key], text)
            # 2.0 where the default is written 2, and -0.0: one text, so one identity.
            arguments[key] = parameter.default if value == parameter.default else value
        elif parameter.default is REQUIRED:
            raise BenchError(f"{text!r}: {entry.name} needs {key}=... ({parameter.annotation})")
        else:
            arguments[key] = parameter.default
        if parameter.annotation.startswith("Encoder") and arguments[key] is not None:
            depends[key] = resolve("encoders", arguments[key])
            if depends[key].source is not None:
                raise BenchError(
                    f"{text!r}: the encoder in {key} is trained on the same rows as {entry.name}; "
                    "leave out @ there"
                )
            arguments[key] = depends[key].text
    data = resolve("datasets", spec.source) if spec.source is not None else None
    source = data.text if data is not None else None
    budget = DEFAULT_BUDGET if spec.budget is None else spec.budget
    if kind != "encoders" or entry.training != "budget":
        return Resolved(entry, arguments, level, source, None, depends, data)
    return Resolved(entry, arguments, level, source, budget, depends, data)


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
        source=spec.source if source is None else _source(escape(source), text),
        budget=spec.budget if budget is None else parse_budget(budget, text),
    )


def _read(parameter: Parameter, text: str, spec: str) -> Any:
    """A value by its annotation: int, float, bool, str, Path, Encoder, Literal[...], `| None`."""
    parts = [p.strip() for p in parameter.annotation.split("|")]
    if "None" in parts and text == "none":
        return None
    for part in parts:
        if part == "bool" and text in ("true", "false"):
            return text == "true"
        if part == "int" and re.fullmatch(r"[+-]?\d{1,4000}", text):
            return int(text)
        if part == "float" and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text.lower()):
            if not math.isfinite(float(text)):
                continue
            return float(text)
        if part.startswith("Literal["):
            options = ast.literal_eval("(" + part.removeprefix("Literal[").removesuffix("]") + ",)")
            if text in (str(option) for option in options):
                return next(option for option in options if str(option) == text)
        if part == "Path":
            return text if os.path.exists(text) else os.path.expanduser(text)
        if part in ("str", "Encoder"):
            return text
    expected = parameter.annotation.replace("bool", "true or false").replace("None", "none")
    raise BenchError(f"{spec!r}: {parameter.name}={text!r} is not valid; expected {expected}")


def _format(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
