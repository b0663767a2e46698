"""What the figures of estimates share: numbers with intervals, groups of marks, one look, plain SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from bench.drawing.charts import load_altair, svg
from bench.errors import printable

REVISION = 1  # raised by every edit that moves what a figure looks like
INK, QUIET, PAPER = "#1f2328", "#57606a", "white"
SMALL, LARGE = 11, 15  # pixels of the smallest text and of the title
LETTER = 0.58 * SMALL  # pixels of a letter of the smallest text, rather too many
LONGEST = 44  # characters of a name that is drawn
WIDE = 104  # characters of a line below the title


@dataclass(frozen=True, slots=True)
class Group:
    """Estimates with one mark. shape: a name of Vega's. filled: else a ring."""

    name: str
    colour: str
    shape: str = "circle"
    filled: bool = True


@dataclass(frozen=True, slots=True)
class Estimate:
    """value, low, high: on the scale that is drawn. text: what stands beside it."""

    name: str
    value: float
    low: float
    high: float
    group: Group
    text: str = ""


def drawn_text(text: str, most: int = 300) -> str:
    """A text of others as it is drawn: one line of at most so many characters, which all print."""
    line = printable(text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 1]}…"


def text_width(text: str) -> float:
    """Pixels of a text in the smallest size, rather too many."""
    return LETTER * len(text)


def span(numbers: Sequence[float], share: float = 0.04) -> tuple[float, float]:
    """The ends of an axis: those of the numbers and a share of their range more."""
    low, high = min(numbers), max(numbers)
    margin = share * (high - low) or abs(low) or 1.0
    return low - margin, high + margin


def tick_names(ticks: Sequence[tuple[float, str]]) -> str:
    """An expression of Vega's that names the places of an axis; names are letters, digits and signs of our
    own, never others'."""
    words = ", ".join(f"'{place:.6f}': {name!r}" for place, name in ticks)
    return f"({{{words}}})[format(datum.value, '.6f')]"


def mark_encodings(of_estimates: Iterable[Group]) -> dict[str, Any]:
    """Colour, fill and shape of points by their key `group`, with one legend if there are several."""
    altair = load_altair()
    groups = sorted(set(of_estimates), key=lambda g: (not g.filled, g.shape, g.name))
    names = [group.name for group in groups]
    legend = None
    if len(groups) > 1:
        legend = altair.Legend(
            title=None, orient="top", symbolSize=64, symbolOpacity=1, labelLimit=320
        )
    ranges = {
        "stroke": (altair.Stroke, [group.colour for group in groups]),
        "fill": (altair.Fill, [group.colour if group.filled else PAPER for group in groups]),
        "shape": (altair.Shape, [group.shape for group in groups]),
    }
    return {
        key: channel(
            "group:N", title=None, scale=altair.Scale(domain=names, range=values), legend=legend
        )
        for key, (channel, values) in ranges.items()
    }


def finished(chart: Any, title: str, notes: Sequence[str], description: str) -> bytes:
    """The SVG of a chart of altair under a title and notes, described for screen readers."""
    altair = load_altair()
    lines = [line for note in notes for line in textwrap.wrap(drawn_text(note), WIDE)]
    heading = altair.TitleParams(
        textwrap.wrap(drawn_text(title), round(WIDE * SMALL / LARGE)),
        subtitle=lines,
        anchor="start",
        frame="bounds",
        fontSize=LARGE,
        color=INK,
        subtitleFontSize=SMALL + 1,
        subtitleColor=QUIET,
        subtitlePadding=6,
        offset=10,
    )
    words = {"labelColor": INK, "titleColor": INK, "labelFontSize": SMALL, "titleFontSize": 12}
    chart = (
        chart.properties(title=heading, background=PAPER)
        .configure(aria=False)
        .configure_axis(**words, titleFontWeight="normal", gridColor="#e6e8eb", tickColor="#888")
        .configure_legend(labelColor=INK, labelFontSize=12)
        .configure_title(fontWeight="bold")
        .configure_view(stroke="#c8ccd1")
    )
    content = svg(chart).decode()
    head, _, rest = content.partition(">")
    name, summary = escape(drawn_text(title)), escape(drawn_text(description, 8000))
    about = f"<title>{name}</title><desc>{summary}</desc>"
    return f'{head} role="img">{about}{rest}\n'.encode()
