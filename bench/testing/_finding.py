"""A check is a function whose docstring is its rule; it raises `Finding` where the rule is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from bench.naming import registry
from bench.naming.specs import Resolved, resolve

T = TypeVar("T")
Check = Callable[[T], None]


class Finding(AssertionError):
    """A broken rule in one line: what was seen, what is expected, what to do."""


def require(holds: bool, finding: str) -> None:
    """Raise `Finding` unless the rule holds."""
    if not holds:
        raise Finding(finding)


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def example(kind: Literal["encoders", "protocols"], name: str) -> Resolved:
    """The component with the arguments of its `EXAMPLE`, which suit the kit's few tiny images; with its
    defaults where it has none."""
    arguments = registry.find(kind, name).constants.get("EXAMPLE")
    return resolve(kind, f"{name},{arguments}" if arguments else name)


def run_checks(checks: Sequence[Check[T]], subject: T) -> Iterator[Mapping[str, str]]:
    """Each check's name, rule, and finding ("" where the rule holds)."""
    for check in checks:
        finding = ""
        try:
            check(subject)
        except Finding as error:
            finding = str(error)
        except Exception as error:  # a fault of the component under check
            finding = first_line(error)
        rule = " ".join((check.__doc__ or "").split())
        yield {"check": check.__name__.removeprefix("check_"), "rule": rule, "finding": finding}
