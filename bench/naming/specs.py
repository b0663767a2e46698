"""Specs: `name,key=value,...@source~budget` names a component with its arguments, safely."""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.images import REVISION as IMAGES_REVISION
from bench.digests import digest, file_digest
from bench.errors import BenchError, unknown
from bench.naming.grammar import Spec, escape, format_budget
from bench.naming.neighbours import opened_by
from bench.naming.readings import read_spec, settable
from bench.naming.registry import REQUIRED, Component, Kind, Parameter, find

LEVELS = ("code", "trunk", "multi")
DEFAULT_BUDGET = 300_000


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
