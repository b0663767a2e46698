"""A check is a function whose docstring is its rule; it raises `Finding` where the rule is broken."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from bench.errors import BenchError
from bench.naming import registry
from bench.naming.specs import Resolved, resolve
from bench.tasks.files import line_of_fault
from bench.testing._places import causes, line_of, raised_at
from bench.testing._scope import SCOPES

T = TypeVar("T")
Check = Callable[[T], None]


class Finding(AssertionError):
    """A broken rule in one line: what was seen, what is expected, what to do.

    at: the place in the file that it is about, as in `bench.testing._scope.Scope`, or its line
    """

    def __init__(self, finding: str, *, at: str | int | None = None) -> None:
        super().__init__(finding)
        self.at = at


def require(holds: bool, finding: str, *, at: str | int | None = None) -> None:
    """Raise `Finding` unless the rule holds."""
    if not holds:
        raise Finding(finding, at=at)


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def example(kind: Literal["encoders", "protocols"], name: str) -> Resolved:
    """The component with the arguments of its `EXAMPLE`, which suit the kit's few tiny images; with its
    defaults where it has none. A path in it is relative to the component's file."""
    entry = registry.find(kind, name)
    arguments = entry.constants.get("EXAMPLE", "")
    for key in (k for k, p in entry.parameters.items() if "Path" in p.annotation):
        arguments = re.sub(rf"\b{key}=", lambda at: f"{at[0]}{entry.path.parent}/", arguments)
    return resolve(kind, f"{name},{arguments}" if arguments else name)


class Inspection:
    """The checks of one component, each of whose faults is reported once.

    path: of the file that findings name with a line; None: findings name neither
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        # Check that failed or was not run, and fault -> the check that tells of it.
        self._failed, self._told = dict[str, str](), dict[object, str]()

    def run(self, checks: Sequence[Check[T]], subject: T) -> Iterator[Mapping[str, str]]:
        """Each check's name and rule, its finding ("" where the rule holds), and `after`: the check whose
        finding keeps this one from being run or tells the same fault ("" where there is none)."""
        for check in checks:
            name = check.__name__.removeprefix("check_")
            finding, after = "", self._needs(name)
            if not after:
                try:
                    check(subject)
                except Exception as error:  # a fault of the component under check
                    finding, after = self._told_once(name, error)
            if finding or after:
                self._failed[name] = after or name
            rule = " ".join((check.__doc__ or "").split())
            yield {"check": name, "rule": rule, "finding": finding, "after": after}

    def _needs(self, name: str) -> str:
        needs = SCOPES[name].needs.split() if name in SCOPES else []
        return next((self._failed[need] for need in needs if need in self._failed), "")

    def _told_once(self, name: str, error: Exception) -> tuple[str, str]:
        """The finding and "", or "" and the check that has told this fault."""
        raised = raised_at(error, self._path) if self._path else None
        signs = [sign for sign in (raised, first_line(causes(error)[0])) if sign]
        for sign in signs:
            if sign in self._told:
                return "", self._told[sign]
        self._told |= dict.fromkeys(signs, name)
        text = str(error) if isinstance(error, Finding | BenchError) else first_line(error)
        if self._path is None:
            return text, ""
        path, line = raised or (self._path, self._line(name, error))
        shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path
        text = " ".join(text.removeprefix(f"{self._path}: ").splitlines())
        return f"{shown}:{f'{line}:' if line else ''} {text}", ""

    def _line(self, name: str, error: Exception) -> int | None:
        """The line that a finding is about, where no line of the file has raised an error."""
        assert self._path is not None
        at = error.at if isinstance(error, Finding) else None
        if isinstance(at, int):
            return at
        if self._path.suffix == ".toml" and (line := line_of_fault(self._path, str(error))):
            return line
        call = re.match(r"(?:\w+\.)*(\w+)\(\) (?:got|missing|takes) ", str(causes(error)[0]))
        places = [call[1]] if call else []
        places += (at or "").split() + (SCOPES[name].places.split() if name in SCOPES else [])
        lines = (line_of(self._path, place) for place in places)
        return next((line for line in lines if line), None)


def run_checks(
    checks: Sequence[Check[T]], subject: T, *, path: Path | None = None
) -> Iterator[Mapping[str, str]]:
    """What `Inspection(path).run` yields; `path` is by default the user's file of the subject's spec."""
    spec = getattr(subject, "spec", None)
    if path is None and isinstance(spec, Resolved) and spec.entry.group == "local":
        path = spec.entry.path
    return Inspection(path).run(checks, subject)
