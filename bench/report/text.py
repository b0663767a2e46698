"""Cells and tables in Markdown; text from records of others is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from bench.statistics.intervals import Interval


def interval_text(interval: Interval, sign: str = "", *, digits: int = 2, scale: float = 1) -> str:
    """`value [low, high]`, times `scale`; `sign` "+" writes the sign of positive numbers too."""
    ends = (interval.value, interval.low, interval.high)
    value, low, high = (f"{scale * end:{sign}.{digits}f}" for end in ends)
    return f"{value} [{low}, {high}]"


def percent_text(interval: Interval, sign: str = "") -> str:
    """An interval of shares, or of their differences, in per cent."""
    return interval_text(interval, sign, scale=100)


def series_text(name: str, values: Iterable[float]) -> str:
    """A name, and numbers of four digits with commas between."""
    return f"{name} {', '.join(f'{value:.4g}' for value in values)}"


def scaled(interval: Interval, by: float) -> Interval:
    return Interval(by * interval.value, by * interval.low, by * interval.high)


def names_text(names: Iterable[str], *, limit: int = 3) -> str:
    """The first `limit` distinct names, and the number of further ones."""
    unique = list(dict.fromkeys(names))
    further = f" and {len(unique) - limit} more" if len(unique) > limit else ""
    return ", ".join(unique[:limit]) + further


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table; all cells are escaped."""
    cells = [[_plain(cell) for cell in line] for line in lines]
    return tabulate(
        cells, headers=[_plain(cell) for cell in head], tablefmt="github", disable_numparse=True
    )


def sorted_table(head: Iterable[str], lines: Iterable[tuple[float, Sequence[str]]]) -> str:
    """A table of lines with their sort keys, the lowest first."""
    return table(head, [line for _, line in sorted(lines)])


def printable(text: str) -> str:
    """One line, in which spaces stand for what a terminal or a table would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _plain(text: str) -> str:
    """One line of Markdown that shows `text` and has no links, images or HTML."""
    text = html.escape(printable(text), quote=False)
    return (
        text.replace("\\", "\\\\").replace("|", "\\|").replace("[", "\\[" if "](" in text else "[")
    )
