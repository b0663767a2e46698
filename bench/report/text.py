"""Cells and tables in Markdown; text from records of others is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from bench.errors import printable
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


def cut(text: str, most: int) -> str:
    """`text`, or the first of so many characters with a mark that more follow."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table; all cells are escaped."""
    cells = [[escaped(cell) for cell in line] for line in lines]
    return tabulate(
        cells, headers=[escaped(cell) for cell in head], tablefmt="github", disable_numparse=True
    )


def sorted_table(head: Iterable[str], lines: Iterable[tuple[float, Sequence[str]]]) -> str:
    """A table of lines with their sort keys, the lowest first."""
    return table(head, [line for _, line in sorted(lines)])


def escaped(text: str) -> str:
    """One line of Markdown that shows `text`, cut after 600 characters, and has no links, emphasis, code,
    images, formulas or HTML. What GitHub would make a link or a formula also where it is escaped, such as
    addresses, is shown as code, which it leaves alone."""
    text = printable(text)
    text = text if len(text) <= _MOST else f"{text[:_MOST]}..."
    parts, end = list[str](), 0
    for address in _ADDRESS.finditer(text):
        parts += [_escaped(text[end : address.start()], text), f"`{address[0]}`"]
        end = address.end()
    return "".join([*parts, _escaped(text[end:], text)])


def code(text: str) -> str:
    """`text` as code in Markdown, in a paragraph."""
    return f"`{printable(text).replace('`', ' ')}`"


_MOST = 600  # characters of a cell: tables are as wide as their widest
_PLAIN = r"[^\s<>&|\\`\[\]()!*]*"
_ADDRESS = re.compile(
    rf"{_PLAIN}(?:://|www\.|mailto:|xmpp:|@[\w.-]*\.|\$){_PLAIN}", re.ASCII | re.IGNORECASE
)
_BESIDE_WORDS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside of words they mean nothing


def _escaped(part: str, whole: str) -> str:
    text = html.escape(part, quote=False).replace("\\", "\\\\")
    marks = "`*|" + ("[" if "](" in whole else "") + ("~" if whole.count("~") > 1 else "")
    text = "".join(f"\\{c}" if c in marks else c for c in text)
    return _BESIDE_WORDS.sub(r"\\_", text)
