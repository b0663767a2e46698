"""Cells and tables in Markdown, with everything that strangers wrote made inert."""

from __future__ import annotations

import html
from collections.abc import Iterable

from tabulate import tabulate

from bench.statistics.intervals import Interval

__all__ = ["interval_text", "names_text", "percent_text", "scale_of", "table"]


def interval_text(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"


def percent_text(interval: Interval, sign: str = "") -> str:
    """An interval of shares, or of their differences, in per cent."""
    parts = (100 * each for each in (interval.value, interval.low, interval.high))
    return interval_text(Interval(*parts), sign)


def scale_of(metric: str) -> float:
    """What a metric is shown in: per cent, but for those that have no ceiling."""
    return 1.0 if metric in ("mse", "nll") else 100.0


def names_text(names: Iterable[str], *, most: int = 3) -> str:
    """The first names, each once, and how many more there are."""
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - most} more" if len(each) > most else ""
    return ", ".join(each[:most]) + more


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table; what strangers wrote is escaped."""
    cells = [[_plain(cell) for cell in line] for line in lines]
    return tabulate(
        cells, headers=[_plain(cell) for cell in head], tablefmt="github", disable_numparse=True
    )


def _plain(text: str) -> str:
    """One line of Markdown that says what `text` says, and does nothing."""
    text = html.escape("".join(c if c.isprintable() else " " for c in text), quote=False)
    return (
        text.replace("\\", "\\\\").replace("|", "\\|").replace("[", "\\[" if "](" in text else "[")
    )
