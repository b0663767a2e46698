"""A check is a function whose docstring is its rule; it raises `Finding` where the rule is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from bench.naming import registry
from bench.naming.specs import Resolved, resolve

__all__ = ["Check", "Finding", "example", "require", "run_checks"]

T = TypeVar("T")
Check = Callable[[T], None]


class Finding(AssertionError):
    """A rule that does not hold: what was seen, what is wanted, what to do."""


def require(ok: bool, what: str) -> None:
    """Raise `Finding` unless `ok`."""
    if not ok:
        raise Finding(what)


def example(kind: Literal["encoders", "protocols"], name: str) -> Resolved:
    """The component at its defaults, or with the arguments of its `EXAMPLE`: what the kit's few tiny
    images can teach."""
    given = registry.find(kind, name).constants.get("EXAMPLE")
    return resolve(kind, f"{name},{given}" if given else name)


def run_checks(checks: Sequence[Check[T]], subject: T) -> Iterator[Mapping[str, str]]:
    """Each check's name, rule, and finding ("" where the rule holds)."""
    for check in checks:
        finding = ""
        try:
            check(subject)
        except Finding as error:
            finding = str(error)
        except Exception as error:  # a fault of the component under check
            finding = f"{type(error).__name__}: {error}".splitlines()[0]
        rule = " ".join((check.__doc__ or "").split())
        yield {"check": check.__name__.removeprefix("check_"), "rule": rule, "finding": finding}
