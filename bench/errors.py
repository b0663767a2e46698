"""Errors that are the user's to mend, told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["BenchError", "Declined", "unknown"]


class BenchError(Exception):
    """A mistake in what was given: what was given, what is allowed, what to do. Exit status 2."""


class Declined(BenchError):
    """This cell cannot be, by rule or for want of data: recorded with its reason, counted as no row."""


def unknown(what: str, name: str, known: Iterable[str]) -> BenchError:
    """The error for a name that is not known, with the nearest known one offered."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return BenchError(f"no {what} {name!r}{hint} (known: {', '.join(known) or 'none'})")
