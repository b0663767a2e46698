"""Curves with bands of intervals over a logarithmic axis, each with its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.drawing.charts import load_altair
from bench.drawing.figures import SMALL, drawn_text, finished, span, tick_names

WIDTH, HEIGHT = 470, 430
GAP = 10  # pixels between the frame and a name
LINE = 15  # pixels between names, at least
COLOURS = (
    "#0072b2", "#d55e00", "#007a5a", "#a0478c", "#1f2328", "#8a6d00", "#2b8cc4", "#b3002d",
    "#5b5bd6", "#6b7280",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Curve:
    """points: x above 0, value, and the ends of its interval, x ascending."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """title: what is shown. notes: lines below it. x, y: titles of the axes, with units.
    ticks: places on the x axis and their names. At most as many curves as COLOURS."""

    title: str
    notes: tuple[str, ...]
    x: str
    y: str
    ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]

    def draw(self) -> bytes:
        """An SVG."""
        altair = load_altair()
        ends = [end for curve in self.curves for point in curve.points for end in point[1:]]
        low, high = span(ends)
        points = [
            {"x": x, "y": y, "low": below, "high": above, "curve": number}
            for number, curve in enumerate(self.curves)
            for x, y, below, above in curve.points
        ]
        places = [tick for tick, _ in self.ticks]
        first, last = min(places), max(places)
        across = altair.Scale(type="log", domain=[first / 1.25, last * 1.25], nice=False)
        axis = altair.Axis(values=places, labelExpr=tick_names(self.ticks), grid=True)
        up = altair.Scale(domain=[low, high], nice=False, zero=False)
        x = altair.X("x:Q", title=self.x, scale=across, axis=axis)
        y = {"title": self.y, "scale": up}
        numbers = list(range(len(self.curves)))
        colours = altair.Scale(domain=numbers, range=list(COLOURS[: len(numbers)]))
        dashes = [[5, 3] if curve.dashed else [1, 0] for curve in self.curves]
        base = altair.Chart().encode(x=x, color=altair.Color("curve:N", scale=colours, legend=None))
        bands = base.mark_area(opacity=0.11).encode(y=altair.Y("low:Q", **y), y2="high:Q")
        lines = base.mark_line(point={"size": 34, "opacity": 1}, strokeWidth=1.8).encode(
            y=altair.Y("y:Q", **y),
            strokeDash=altair.StrokeDash(
                "curve:N", scale=altair.Scale(domain=numbers, range=dashes), legend=None
            ),
        )
        last_points = [curve.points[-1] for curve in self.curves]
        heights = [HEIGHT * (high - point[1]) / (high - low) for point in last_points]
        labels = [
            {"name": drawn_text(curve.name, 50), "curve": number, "at": at, "from": height}
            for number, (curve, at, height) in enumerate(
                zip(self.curves, spread(heights, LINE, HEIGHT), heights, strict=True)
            )
        ]
        pixels = altair.Scale(domain=[0, HEIGHT], range=[0, HEIGHT], nice=False)
        beside = altair.Chart(altair.Data(values=labels)).encode(
            y=altair.Y("at:Q", scale=pixels, axis=None),
            color=altair.Color("curve:N", scale=colours, legend=None),
        )
        text = beside.mark_text(align="left", baseline="middle", fontSize=SMALL, limit=320)
        text = text.encode(x=altair.value(WIDTH + 2 * GAP), text="name:N")
        leaders = beside.mark_rule(strokeWidth=1).encode(
            x=altair.value(WIDTH + 2), x2=altair.value(WIDTH + 2 * GAP - 3),
            y=altair.Y("from:Q", scale=pixels, axis=None), y2="at:Q",
        )  # fmt: skip
        shown = altair.layer(bands, lines, data=altair.Data(values=points))
        chart = altair.layer(shown, leaders, text).resolve_scale(y="independent")
        chart = chart.properties(width=WIDTH, height=HEIGHT)
        return finished(chart, self.title, self.notes, self.text)

    @property
    def text(self) -> str:
        """All values in words."""
        names = dict(self.ticks)
        parts = [*self.notes]
        for curve in self.curves:
            values = ", ".join(
                f"{names.get(x, f'{x:g}')}: {y:.2f} [{low:.2f}, {high:.2f}]"
                for x, y, low, high in curve.points
            )
            parts.append(f"{curve.name}: {values}.")
        return " ".join(parts)


def spread(places: Sequence[float], apart: float, most: float) -> list[float]:
    """Places from 0 to `most`, moved so that they are at least `apart` from each other, where there is
    room; their order stays.

    >>> spread([50, 52, 10], 10, 100)
    [46.0, 56.0, 10.0]
    """
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    groups: list[list[float]] = []  # [first place, number]: of names that touch
    for i in order:
        groups.append([places[i], 1])
        while len(groups) > 1:
            (start, count), (next_start, next_count) = groups[-2:]
            if start + apart * count <= next_start:
                break
            # Both move to where the sum of squared moves is least.
            wanted = (count * start + next_count * (next_start - apart * count)) / (
                count + next_count
            )
            total = count + next_count
            wanted = min(max(wanted, 0.0), max(0.0, most - apart * (total - 1)))
            groups[-2:] = [[wanted, total]]
    moved = [start + apart * k for start, count in groups for k in range(int(count))]
    return [moved[order.index(i)] for i in range(len(places))]
