"""Forest plots: estimates below each other, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.drawing.charts import load_altair
from bench.drawing.figures import (
    INK,
    LONGEST,
    QUIET,
    SMALL,
    Estimate,
    drawn_text,
    finished,
    mark_encodings,
    span,
)

ROW = 19  # pixels of a row with one estimate
LINE = 15  # pixels of each of several
WIDTH = 300
GAP = 10  # pixels between a text and the frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """title: what is shown. notes: lines below it. axis: of the values, with their unit.
    panels: headings, and rows from the top; the estimates of a row have one name.
    line: a value that is marked, such as no difference."""

    title: str
    notes: tuple[str, ...]
    axis: str
    panels: tuple[tuple[str, tuple[tuple[Estimate, ...], ...]], ...]
    line: float | None = None

    def draw(self) -> bytes:
        """An SVG; all panels have one axis of values."""
        altair = load_altair()
        estimates = [e for _, rows in self.panels for row in rows for e in row]
        ends = [end for e in estimates for end in (e.value, e.low, e.high)]
        domain = span([*ends, *([] if self.line is None else [self.line])])
        marks = mark_encodings(e.group for e in estimates)
        charts = [self._panel(heading, rows, domain, marks) for heading, rows in self.panels]
        return finished(altair.vconcat(*charts, spacing=18), self.title, self.notes, self.text)

    @property
    def text(self) -> str:
        """All values in words."""
        parts = [*self.notes]
        for heading, rows in self.panels:
            values = "; ".join(f"{e.name}, {e.group.name}: {e.text}" for row in rows for e in row)
            parts.append(f"{heading}: {values}." if heading else f"{values}.")
        return " ".join(parts)

    def _panel(
        self,
        heading: str,
        rows: tuple[tuple[Estimate, ...], ...],
        domain: tuple[float, float],
        marks: dict[str, Any],
    ) -> Any:
        altair = load_altair()
        most = max(len(row) for row in rows)
        height = (ROW if most == 1 else LINE * most + 4) * len(rows)
        share = LINE * len(rows) / height  # of a row, between two of its estimates
        points = [
            {
                "value": e.value,
                "low": e.low,
                "high": e.high,
                "at": number + share * (place - (len(row) - 1) / 2),
                "row": number,
                "name": drawn_text(e.name, LONGEST) if place == 0 else "",
                "group": e.group.name,
                "colour": e.group.colour,
                "text": e.text,
            }
            for number, row in enumerate(rows)
            for place, e in enumerate(row)
        ]
        down = altair.Scale(domain=[-0.5, len(rows) - 0.5], reverse=True, nice=False)
        across = altair.Scale(domain=list(domain), nice=False, zero=False)
        axis = {"title": self.axis, "scale": across, "axis": altair.Axis(tickCount=6, grid=True)}
        y = altair.Y("at:Q", scale=down, axis=None)
        base = altair.Chart().encode(y=y)
        bars = base.mark_rule(strokeWidth=1.6).encode(
            x=altair.X("low:Q", **axis), x2="high:Q", color=altair.Color("colour:N", scale=None)
        )
        dots = base.mark_point(size=46, opacity=1, strokeWidth=1.6)
        dots = dots.encode(x=altair.X("value:Q", **axis), **marks)
        words = {"baseline": "middle", "fontSize": SMALL, "color": INK, "limit": 320}
        names = base.mark_text(align="right", **words).encode(
            x=altair.value(-GAP), y=altair.Y("row:Q", scale=down, axis=None), text="name:N"
        )
        values = base.mark_text(align="left", **words)
        values = values.encode(x=altair.value(WIDTH + GAP), text="text:N")
        layers = [bars, dots, names, values]
        if self.line is not None:
            place = altair.Data(values=[{"value": self.line}])
            rule = altair.Chart(place).mark_rule(color=QUIET, strokeDash=[4, 3])
            layers.insert(0, rule.encode(x=altair.X("value:Q", **axis)))
        chart = altair.layer(*layers, data=altair.Data(values=points))
        chart = chart.properties(width=WIDTH, height=height)
        if heading:
            words = {"fontSize": 12, "anchor": "start", "frame": "group", "color": INK}
            small = altair.TitleParams([drawn_text(heading, 100)], offset=6, **words)
            chart = chart.properties(title=small)
        return chart
