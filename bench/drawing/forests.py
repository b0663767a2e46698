"""Forest plots: estimates below each other, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass

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
    wrapped,
)

ROW = 19  # pixels of a row with one estimate
LINE = 15  # pixels of each of several
WIDTH = 300
HEADING = 56  # characters of a heading's line, which starts at the frame
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

    def spec(self) -> Spec:
        """In Vega-Lite; all panels have one axis of values."""
        estimates = [e for _, rows in self.panels for row in rows for e in row]
        ends = [end for e in estimates for end in (e.value, e.low, e.high)]
        domain = span([*ends, *([] if self.line is None else [self.line])])
        marks = mark_encodings(e.group for e in estimates)
        charts = [self._panel(heading, rows, domain, marks) for heading, rows in self.panels]
        return finished({"vconcat": charts, "spacing": 18}, self.title, self.notes)

    @property
    def text(self) -> str:
        """All values in words."""
        parts = [drawn_text(note) for note in self.notes]
        for heading, rows in self.panels:
            values = "; ".join(
                f"{drawn_text(e.name, LONGEST)}, {e.group.name}: {e.text}"
                for row in rows
                for e in row
            )
            parts.append(f"{drawn_text(heading, 150)}: {values}." if heading else f"{values}.")
        return " ".join(parts)

    def _panel(
        self,
        heading: str,
        rows: tuple[tuple[Estimate, ...], ...],
        domain: tuple[float, float],
        marks: Spec,
    ) -> Spec:
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
        down = linear(-0.5, len(rows) - 0.5, reverse=True)
        across = {"title": self.axis, "scale": linear(*domain)}
        across["axis"] = {"tickCount": 6, "grid": True}
        y = quantitative("at", scale=down, axis=None)
        colour = nominal("colour", scale=None)
        words = {
            "type": "text",
            "baseline": "middle",
            "fontSize": SMALL,
            "color": INK,
            "limit": 320,
        }
        layers = [
            {
                "mark": {"type": "rule", "strokeWidth": 1.6},
                "encoding": {
                    "x": quantitative("low", **across), "x2": {"field": "high"}, "y": y, "color": colour,
                },
            },
            {
                "mark": {"type": "point", "size": 46, "opacity": 1, "strokeWidth": 1.6},
                "encoding": {"x": quantitative("value", **across), "y": y, **marks},
            },
            {
                "mark": {**words, "align": "right"},
                "encoding": {
                    "x": {"value": -GAP},
                    "y": quantitative("row", scale=down, axis=None),
                    "text": nominal("name"),
                },
            },
            {
                "mark": {**words, "align": "left"},
                "encoding": {"x": {"value": WIDTH + GAP}, "y": y, "text": nominal("text")},
            },
        ]  # fmt: skip
        if self.line is not None:
            rule = {
                "data": {"values": [{"value": self.line}]},
                "mark": {"type": "rule", "color": QUIET, "strokeDash": [4, 3]},
                "encoding": {"x": quantitative("value", **across)},
            }
            layers.insert(0, rule)
        chart = {"width": WIDTH, "height": height, "data": {"values": points}, "layer": layers}
        if heading:
            style = {"fontSize": 12, "anchor": "start", "frame": "group", "color": INK, "offset": 6}
            chart["title"] = {"text": wrapped(heading, HEADING, 150), **style}
        return chart
