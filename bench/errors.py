"""Errors that the user can mend, each one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_CHOICES = 300  # names that a message lists


class BenchError(Exception):
    """A mistake in what was given: what was given, what is allowed, what to do. Exit status 2."""


class Declined(BenchError):
    """A cell is excluded by a rule or lacks its data: recorded with the reason, without a row."""


def printable(text: str) -> str:
    """One line, in which spaces stand for what a terminal or a table would obey: control characters, and
    marks that turn the direction of writing."""
    return "".join(c if c.isprintable() else " " for c in text)


def unknown(kind: str, name: str, choices: Iterable[str]) -> BenchError:
    """The error for an unknown name; it offers the nearest of `choices`."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices[: 10 * _MOST_CHOICES], n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(choices[:_MOST_CHOICES]) or "none"
    known += f" and {len(choices) - _MOST_CHOICES} more" if len(choices) > _MOST_CHOICES else ""
    return BenchError(f"no {kind} {name!r}{hint} (known: {known})")
