"""Curves with bands of intervals over a logarithmic axis, each with its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.drawing.figures import (
    SMALL,
    Spec,
    drawn_text,
    finished,
    linear,
    nominal,
    quantitative,
    span,
    tick_names,
)

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

    def spec(self) -> Spec:
        """In Vega-Lite."""
        ends = [end for curve in self.curves for point in curve.points for end in point[1:]]
        low, high = span(ends)
        points = [
            {"x": x, "y": y, "low": below, "high": above, "curve": number}
            for number, curve in enumerate(self.curves)
            for x, y, below, above in curve.points
        ]
        places = [tick for tick, _ in self.ticks]
        first, last = min(places), max(places)
        across = {"type": "log", "domain": [first / 1.25, last * 1.25], "nice": False}
        axis = {"values": places, "labelExpr": tick_names(self.ticks), "grid": True}
        x = quantitative("x", title=self.x, scale=across, axis=axis)
        y = {"title": self.y, "scale": linear(low, high)}
        numbers = list(range(len(self.curves)))
        shades = {"domain": numbers, "range": list(COLOURS[: len(numbers)])}
        colour = nominal("curve", scale=shades, legend=None)
        dashes = [[5, 3] if curve.dashed else [1, 0] for curve in self.curves]
        last_points = [curve.points[-1] for curve in self.curves]
        heights = [HEIGHT * (high - point[1]) / (high - low) for point in last_points]
        labels = [
            {"name": drawn_text(curve.name, 50), "curve": number, "at": at, "from": height}
            for number, (curve, at, height) in enumerate(
                zip(self.curves, spread(heights, LINE, HEIGHT), heights, strict=True)
            )
        ]
        bands_and_lines = [
            {
                "mark": {"type": "area", "opacity": 0.11},
                "encoding": {
                    "x": x, "y": quantitative("low", **y), "y2": {"field": "high"}, "color": colour,
                },
            },
            {
                "mark": {
                    "type": "line", "point": {"size": 34, "opacity": 1}, "strokeWidth": 1.8,
                },
                "encoding": {
                    "x": x, "y": quantitative("y", **y), "color": colour,
                    "strokeDash": nominal(
                        "curve", scale={"domain": numbers, "range": dashes}, legend=None
                    ),
                },
            },
        ]  # fmt: skip
        pixels = {"scale": linear(0, HEIGHT, range=[0, HEIGHT]), "axis": None}
        leaders = {
            "data": {"values": labels},
            "mark": {"type": "rule", "strokeWidth": 1},
            "encoding": {
                "x": {"value": WIDTH + 2}, "x2": {"value": WIDTH + 2 * GAP - 3},
                "y": quantitative("from", **pixels), "y2": {"field": "at"}, "color": colour,
            },
        }  # fmt: skip
        names = {
            "data": {"values": labels},
            "mark": {
                "type": "text", "align": "left", "baseline": "middle", "fontSize": SMALL,
                "limit": 320,
            },
            "encoding": {
                "x": {"value": WIDTH + 2 * GAP}, "y": quantitative("at", **pixels), "color": colour,
                "text": nominal("name"),
            },
        }  # fmt: skip
        chart = {
            "width": WIDTH,
            "height": HEIGHT,
            "layer": [
                {"data": {"values": points}, "layer": bands_and_lines}, leaders, names,
            ],
            "resolve": {"scale": {"y": "independent"}},
        }  # fmt: skip
        return finished(chart, self.title, self.notes)

    @property
    def text(self) -> str:
        """All values in words."""
        names = dict(self.ticks)
        parts = [drawn_text(note) for note in self.notes]
        for curve in self.curves:
            values = ", ".join(
                f"{names.get(x, f'{x:g}')}: {y:.2f} [{low:.2f}, {high:.2f}]"
                for x, y, low, high in curve.points
            )
            parts.append(f"{drawn_text(curve.name, 50)}: {values}.")
        return " ".join(parts)


def spread(places: Sequence[float], apart: float, most: float) -> list[float]:
    """Places from 0 to `most`, moved so that they are at least `apart` from each other, where there is
    room; their order stays.

    >>> spread([50.0, 52.0, 10.0], 10, 100)
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
