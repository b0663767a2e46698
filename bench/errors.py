"""Errors that the user can mend, each one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake in what was given: what was given, what is allowed, what to do. Exit status 2."""


class Declined(BenchError):
    """A cell is excluded by a rule or lacks its data: recorded with the reason, without a row."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> BenchError:
    """The error for an unknown name; it offers the nearest of `choices`."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return BenchError(f"no {kind} {name!r}{hint} (known: {', '.join(choices) or 'none'})")
