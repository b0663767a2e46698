"""What the figures of estimates share: numbers with intervals, groups of marks, one look, plain SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.drawing.charts import PADDING
from bench.errors import printable

Spec = dict[str, Any]  # a part of a chart in Vega-Lite's JSON
REVISION = 2  # raised by every edit that moves what a figure looks like
INK, QUIET, PAPER = "#1f2328", "#57606a", "white"
# Of one width, by which vl-convert lays out; a viewer without them may take a wider one.
FONT = "Arial, Helvetica, Liberation Sans, sans-serif"
SMALL, LARGE = 11, 15  # pixels of the smallest text and of the title
LETTER = 0.58 * SMALL  # pixels of a letter of the smallest text, rather too many
LONGEST = 44  # characters of a name that is drawn
WIDE = 92  # characters of a line below the title


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


def wrapped(text: str, wide: int, most: int = 300) -> list[str]:
    """A text of others in lines of so many characters, without breaks inside of names."""
    return textwrap.wrap(drawn_text(text, most), wide, break_on_hyphens=False)


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


def quantitative(field: str, **channel: Any) -> Spec:
    """A channel of Vega-Lite's that shows a number."""
    return {"field": field, "type": "quantitative", **channel}


def nominal(field: str, **channel: Any) -> Spec:
    """A channel of Vega-Lite's that shows a category."""
    return {"field": field, "type": "nominal", **channel}


def linear(low: float, high: float, **more: Any) -> Spec:
    """A scale with these ends."""
    return {"domain": [low, high], "nice": False, "zero": False, **more}


def mark_encodings(of_estimates: Iterable[Group]) -> Spec:
    """Colour, fill and shape of points by their key `group`, with one legend if there are several."""
    groups = sorted(set(of_estimates), key=lambda g: (not g.filled, g.shape, g.name))
    names = [group.name for group in groups]
    words = {"title": None, "orient": "top", "symbolSize": 64, "columnPadding": 36}
    legend = {**words, "symbolOpacity": 1, "labelLimit": 320} if len(groups) > 1 else None
    ranges = {
        "stroke": [group.colour for group in groups],
        "fill": [group.colour if group.filled else PAPER for group in groups],
        "shape": [group.shape for group in groups],
    }
    return {
        key: nominal("group", title=None, scale={"domain": names, "range": r}, legend=legend)
        for key, r in ranges.items()
    }


def finished(chart: Spec, title: str, notes: Sequence[str]) -> Spec:
    """A chart of Vega-Lite under a title and notes. It is written without altair, whose copies and checks
    take most of the time of a small one."""
    lines = [line for note in notes for line in wrapped(note, WIDE)]
    heading = {
        "text": wrapped(title, round(WIDE * SMALL / LARGE)),
        "subtitle": lines,
        "anchor": "start",
        "frame": "bounds",
        "fontSize": LARGE,
        "color": INK,
        "subtitleFontSize": SMALL + 1,
        "subtitleColor": QUIET,
        "subtitlePadding": 6,
        "offset": 10,
    }
    config = {
        "aria": False,
        "font": FONT,
        "axis": {
            "labelColor": INK, "titleColor": INK, "labelFontSize": SMALL, "titleFontSize": 12,
            "titleFontWeight": "normal", "gridColor": "#e6e8eb", "tickColor": "#888",
        },
        "legend": {"labelColor": INK, "labelFontSize": 12},
        "title": {"fontWeight": "bold"},
        "view": {"stroke": "#c8ccd1"},
    }  # fmt: skip
    return {**chart, "title": heading, "background": PAPER, "padding": PADDING, "config": config}
