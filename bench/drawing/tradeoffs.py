"""Scores against costs, with the Pareto front and names where there is room."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.drawing.figures import (
    INK,
    LONGEST,
    QUIET,
    SMALL,
    Estimate,
    Spec,
    drawn_text,
    finished,
    linear,
    mark_encodings,
    nominal,
    quantitative,
    span,
    text_width,
    tick_names,
)

WIDTH, HEIGHT = 680, 330
DOT = 5  # pixels of a point's radius, with a margin
CLEAR = 4  # pixels by which a name is nearer to its own point than to others
Point = tuple[float, float]  # pixels from the left and from the top
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True, slots=True)
class Costs:
    """axis: title with the unit. costs: of each estimate, 0 or more."""

    axis: str
    costs: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoff:
    """title: what is shown. notes: lines below it. y: title of the axis of estimates, with the unit.
    estimates: those to name first come first. panels: their costs."""

    title: str
    notes: tuple[str, ...]
    y: str
    estimates: tuple[Estimate, ...]
    panels: tuple[Costs, ...]

    def spec(self) -> Spec:
        """In Vega-Lite, a panel for each kind of cost; higher estimates and lower costs are better."""
        marks = mark_encodings(e.group for e in self.estimates)
        charts = [self._panel(panel, marks) for panel in self.panels]
        return finished({"vconcat": charts, "spacing": 18}, self.title, self.notes)

    @property
    def text(self) -> str:
        """All values in words."""
        parts = [drawn_text(note) for note in self.notes]
        for number, e in enumerate(self.estimates):
            costs = ", ".join(f"{panel.axis} {panel.costs[number]:g}" for panel in self.panels)
            parts.append(f"{drawn_text(e.name, LONGEST)}, {e.group.name}: {e.text}, {costs}.")
        return " ".join(parts)

    def _panel(self, panel: Costs, marks: Spec) -> Spec:
        places, ticks = log_places(panel.costs)
        first, last = min(places), max(places)
        margin = 0.05 * (last - first) or 0.5
        left, right = first - margin, last + margin
        low, high = span([end for e in self.estimates for end in (e.low, e.high)])
        points = [
            {
                "x": x,
                "y": e.value,
                "low": e.low,
                "high": e.high,
                "group": e.group.name,
                "colour": e.group.colour,
            }
            for x, e in zip(places, self.estimates, strict=True)
        ]
        names = {x: name for x, name in ticks if left <= x <= right}
        axis = {"values": list(names), "labelExpr": tick_names(list(names.items())), "grid": True}
        x = quantitative("x", title=panel.axis, scale=linear(left, right), axis=axis)
        y = {"title": self.y, "scale": linear(low, high)}
        front = pareto_front(panel.costs, [e.value for e in self.estimates])
        corners = [(places[i], self.estimates[i].value) for i in front]
        corners.append((right, corners[-1][1]))
        steps = [{"x": x, "y": y, "order": order} for order, (x, y) in enumerate(corners)]

        def pixel(x: float, y: float) -> Point:
            return WIDTH * (x - left) / (right - left), HEIGHT * (high - y) / (high - low)

        pixels = [pixel(x, e.value) for x, e in zip(places, self.estimates, strict=True)]
        lines = [
            _box(pixel(x, e.low), pixel(x, e.high))
            for x, e in zip(places, self.estimates, strict=True)
        ]
        for (x1, y1), (x2, y2) in pairwise(corners):
            lines += [_box(pixel(x1, y1), pixel(x2, y1)), _box(pixel(x2, y1), pixel(x2, y2))]
        order = [*front, *(i for i in range(len(pixels)) if i not in front)]
        texts = [(drawn_text(self.estimates[i].name, LONGEST), pixels[i]) for i in order]
        labels = [
            {"at": at, "down": down, "name": name}
            for name, (at, down) in placed(texts, pixels, lines, (WIDTH, HEIGHT), first=len(front))
        ]
        lines_and_points = [
            {
                "data": {"values": steps},
                "mark": {
                    "type": "line", "interpolate": "step-after", "color": QUIET,
                    "strokeDash": [4, 3], "strokeWidth": 1.4,
                },
                "encoding": {"x": x, "y": quantitative("y", **y), "order": quantitative("order")},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.55},
                "encoding": {
                    "x": x, "y": quantitative("low", **y), "y2": {"field": "high"},
                    "color": nominal("colour", scale=None),
                },
            },
            {
                "mark": {"type": "point", "size": 46, "opacity": 1, "strokeWidth": 1.6},
                "encoding": {"x": x, "y": quantitative("y", **y), **marks},
            },
        ]  # fmt: skip
        text = {
            "data": {"values": labels},
            "mark": {
                "type": "text", "align": "left", "baseline": "middle", "fontSize": SMALL,
                "color": INK, "limit": 320,
            },
            "encoding": {
                "x": quantitative("at", axis=None, scale=linear(0, WIDTH)),
                "y": quantitative("down", axis=None, scale=linear(HEIGHT, 0)),
                "text": nominal("name"),
            },
        }  # fmt: skip
        return {
            "width": WIDTH,
            "height": HEIGHT,
            "layer": [{"data": {"values": points}, "layer": lines_and_points}, text],
            "resolve": {"scale": {"x": "independent", "y": "independent"}},
        }


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Numbers of those that no other beats in both value and cost, the cheapest first; of equal ones the
    first.

    >>> pareto_front([1, 2, 3, 3], [5, 4, 6, 9])
    [0, 3]
    """
    front = list[int]()
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i], i)):
        if not front or values[i] > values[front[-1]]:
            front.append(i)
    return front


def log_places(costs: Sequence[float]) -> tuple[list[float], list[tuple[float, str]]]:
    """log10 of each cost, and ticks with their names. 0 stands half a decade below the least cost that
    is above 0, under its own tick.

    >>> log_places([0, 10, 10_000])
    ([0.0, 1.0, 4.0], [(0.0, '0'), (1.0, '10'), (2.0, '100'), (3.0, '1k'), (4.0, '10k')])
    """
    positive = [cost for cost in costs if cost > 0] or [1.0]
    least, most = math.log10(min(positive)), math.log10(max(positive))
    zero = math.floor(least) - (0.5 if least - math.floor(least) > 0.2 else 1.0)
    ticks = [(zero, "0")] if 0 in costs else []
    decades = range(math.floor(least), math.ceil(most) + 1)
    steps = (1, 3) if most - least < 2.5 else (1,)
    ticks += [
        (math.log10(step * 10.0**power), short_number(step * 10.0**power))
        for power in decades
        for step in steps
        if step * 10.0**power >= min(positive) * 0.5
    ]
    return [math.log10(cost) if cost > 0 else zero for cost in costs], ticks


def short_number(number: float) -> str:
    """
    >>> short_number(0.3), short_number(300), short_number(30_000), short_number(1e6)
    ('0.3', '300', '30k', '1M')
    """
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"


def placed(
    texts: Sequence[tuple[str, Point]],
    points: Sequence[Point],
    lines: Sequence[Box],
    size: tuple[float, float],
    *,
    first: int,
) -> list[tuple[str, Point]]:
    """Names with the left end and the middle of their line in pixels, beside their points: each inside of
    the frame where it covers no point, no line and no name before it, and is nearest to its own point.
    Of the `first` names those without such a place may cover a line; others are left out."""
    taken = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in points]
    names = list[tuple[str, Point]]()
    for number, (name, own) in enumerate(texts):
        others = [point for point in points if point != own]
        places = [
            (at, box)
            for at, box in _places(own, text_width(name))
            if min(box) > 0 and box[2] < size[0] and box[3] < size[1]
            if not any(_touch(box, other) for other in taken)
            if all(_gap(box, point) >= _gap(box, own) + CLEAR for point in others)
        ]
        free = [place for place in places if not any(_touch(place[1], line) for line in lines)]
        for at, box in [*free, *(places if number < first else ())][:1]:
            taken.append(box)
            names.append((name, at))
    return names


def _places(point: Point, wide: float) -> Iterator[tuple[Point, Box]]:
    """Where the text of a point may stand, the best first, and its box."""
    x, y = point
    half = SMALL / 2 + 2
    shifts = [(DOT + 3, 0.0), (-DOT - 3 - wide, 0.0)]
    for down in (-13.0, 13.0, -18.0, 18.0):
        shifts += [(3, down), (-wide - 3, down), (-wide / 2, down)]
    for right, down in shifts:
        left, middle = x + right, y + down
        yield (left, middle), (left, middle - half, left + wide, middle + half)


def _box(a: Point, b: Point) -> Box:
    """Around a horizontal or vertical line."""
    (x1, y1), (x2, y2) = a, b
    return min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _gap(box: Box, point: Point) -> float:
    """Pixels between a box and a point, 0 inside."""
    x, y = point
    return math.hypot(max(box[0] - x, x - box[2], 0.0), max(box[1] - y, y - box[3], 0.0))
