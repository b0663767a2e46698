"""Charts as SVG, by altair, which is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import BenchError

__all__ = ["curve", "drawing", "forest", "heat", "lines", "matrix", "svg"]

# In pixels. Whoever looks at an SVG may have a wider font than it was laid out in.
PADDING = {"left": 45, "right": 45, "top": 5, "bottom": 5}
TITLE = 14  # and so row names come nearer to the title of their axis


def drawing() -> Any:
    """The module altair. Raises BenchError where it is not installed, before long work begins."""
    try:
        import altair
        import vl_convert  # noqa: F401  # makes the SVG
    except ImportError as error:
        raise BenchError(
            f'charts need altair and vl-convert ({error}): pip install "reptransfer[page]"'
        ) from error
    return altair


def curve(points: Sequence[Mapping[str, Any]], *, x: str, y: str, label: str, title: str) -> bytes:
    """An SVG: points joined in their order, each with its `label`; `x` and `y` name the axes too."""
    altair = drawing()
    rows = [
        {"x": p[x], "y": p[y], "label": str(p[label]), "order": i} for i, p in enumerate(points)
    ]
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=altair.X("x:Q", title=x, scale=altair.Scale(zero=False)),
        y=altair.Y("y:Q", title=y, scale=altair.Scale(zero=False)),
    )
    line = base.mark_line(point=True).encode(order="order:Q")
    text = base.mark_text(dx=6, dy=-8, align="left").encode(text="label:N")
    return svg((line + text).properties(width=420, height=280, title=title))


def heat(
    cells: Sequence[Mapping[str, Any]], *, x: str, y: str, side: str, colour: str, label: str
) -> bytes:
    """An SVG: matrices side by side, one for each value of `side`, rows and columns as they first come.

    `colour` is a number, pale at 0, red below and blue above, on one scale; `label`, of a line or
    more, is written in the cell. `x`, `y` and `colour` name axes and legend too.
    """
    altair = drawing()
    rows = [
        {"x": c[x], "y": c[y], "side": c[side], "colour": c[colour], "label": c[label].split("\n")}
        for c in cells
    ]
    most = max(abs(row["colour"]) for row in rows) or 1.0
    order = {key: list(dict.fromkeys(row[key] for row in rows)) for key in ("x", "y", "side")}
    base = altair.Chart().encode(
        x=altair.X("x:N", title=x, sort=order["x"], axis=altair.Axis(labelAngle=0, orient="top")),
        y=altair.Y("y:N", title=y, sort=order["y"], axis=altair.Axis(titlePadding=TITLE)),
    )
    scale = altair.Scale(scheme="redblue", domain=[-most, most])
    fill = base.mark_rect().encode(color=altair.Color("colour:Q", title=colour, scale=scale))
    dark = f"abs(datum.colour) > {0.6 * most}"
    ink = altair.condition(dark, altair.value("white"), altair.value("black"))
    text = base.mark_text(lineHeight=14, dy=-3).encode(text="label:N", color=ink)
    width, height = 96 * len(order["x"]), 48 * len(order["y"])
    chart = altair.layer(fill, text, data=altair.Data(values=rows))
    header = altair.Header(labelFontSize=13, labelFontWeight="bold")
    column = altair.Column("side:N", title=None, sort=order["side"], header=header)
    return svg(chart.properties(width=width, height=height).facet(column=column))


def lines(
    points: Sequence[Mapping[str, Any]],
    *,
    x: str,
    y: str,
    ends: tuple[str, str],
    line: str,
    side: str,
) -> bytes:
    """An SVG: panels side by side, one for each value of `side`, each with a y axis of its own.

    In each the points of equal `line` are joined over `x`, with a bar from one of the `ends` to the
    other; `x`, panels and lines come as they first do, and `x` and `y` name the axes too. Lines stand
    beside each other, so that none hides another.
    """
    altair = drawing()
    rows = [
        {
            "x": p[x],
            "y": p[y],
            "low": p[ends[0]],
            "high": p[ends[1]],
            "line": p[line],
            "side": p[side],
        }
        for p in points
    ]
    order = {key: list(dict.fromkeys(row[key] for row in rows)) for key in ("x", "line", "side")}
    scale = altair.Scale(zero=False)
    base = altair.Chart().encode(
        x=altair.X("x:O", title=x, sort=order["x"], axis=altair.Axis(labelAngle=0)),
        xOffset=altair.XOffset("line:N", sort=order["line"], scale=altair.Scale(paddingOuter=1)),
        color=altair.Color("line:N", title=line, sort=order["line"]),
    )
    value = altair.Y("y:Q", title=y, scale=scale)
    joined = base.mark_line(point=True).encode(y=value)
    bars = base.mark_rule().encode(y=altair.Y("low:Q", title=y, scale=scale), y2="high:Q")
    chart = altair.layer(joined, bars, data=altair.Data(values=rows))
    header = altair.Header(labelFontSize=13, labelFontWeight="bold")
    column = altair.Column("side:N", title=None, sort=order["side"], header=header)
    panels = chart.properties(width=240, height=260).facet(column=column)
    return svg(panels.resolve_scale(y="independent"))


def matrix(names: Sequence[str], values: Sequence[Sequence[float]], *, colour: str) -> bytes:
    """An SVG: a square table of values in [0, 1] (those below are drawn as 0), white to blue, each
    written in its cell in hundredths; names and numbers stand at the rows, numbers at the columns.
    `colour` names what the values are."""
    altair = drawing()
    numbers = [str(number) for number in range(1, len(names) + 1)]
    heads = [f"{name}   {number}" for name, number in zip(names, numbers, strict=True)]
    rows = [
        {"row": head, "column": number, "value": max(0.0, value), "label": f"{100 * value:.0f}"}
        for head, line in zip(heads, values, strict=True)
        for number, value in zip(numbers, line, strict=True)
    ]
    y_axis = altair.Axis(labelLimit=400)
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=altair.X(
            "column:O", title=None, sort=numbers, axis=altair.Axis(labelAngle=0, orient="top")
        ),
        y=altair.Y("row:N", title=None, sort=heads, axis=y_axis),
    )
    scale = altair.Scale(scheme="blues", domain=[0, 1])
    fill = base.mark_rect().encode(color=altair.Color("value:Q", title=colour, scale=scale))
    ink = altair.condition("datum.value > 0.6", altair.value("white"), altair.value("black"))
    text = base.mark_text(fontSize=11).encode(text="label:N", color=ink)
    side = 34 * len(names)
    return svg((fill + text).properties(width=side, height=side))


def forest(
    points: Sequence[Mapping[str, Any]],
    *,
    value: str,
    ends: tuple[str, str],
    row: str,
    side: str,
    colour: str | None = None,
    at: float = 0.0,
) -> bytes:
    """An SVG: panels side by side, one for each value of `side`, rows as they first come, and in each a
    dot for every value with a bar from one of the `ends` to the other; `colour` tells dots of one row
    apart, which lie below each other. A line stands `at` what is nothing.
    """
    altair = drawing()
    series = [str(p[colour]) if colour else "" for p in points]
    rows = [
        {
            "value": p[value],
            "low": p[ends[0]],
            "high": p[ends[1]],
            "row": p[row],
            "side": p[side],
            "series": s,
        }
        for p, s in zip(points, series, strict=True)
    ]
    order = {
        key: list(dict.fromkeys(each[key] for each in rows)) for key in ("row", "side", "series")
    }
    axis = altair.Axis(labelLimit=320, grid=True, tickBand="extent")
    base = altair.Chart().encode(y=altair.Y("row:N", title=None, sort=order["row"], axis=axis))
    if colour:
        base = base.encode(
            yOffset=altair.YOffset(
                "series:N", sort=order["series"], scale=altair.Scale(paddingOuter=0.6)
            ),
            color=altair.Color(
                "series:N", title=colour, sort=order["series"], legend=altair.Legend(labelLimit=300)
            ),
        )
    across = altair.X("value:Q", title=value, scale=altair.Scale(zero=False))
    bars = base.mark_rule().encode(x=altair.X("low:Q", title=value), x2="high:Q")
    dots = base.mark_circle(size=42, opacity=1).encode(x=across)
    line = altair.Chart().mark_rule(color="#888", strokeDash=[3, 3]).encode(x=altair.datum(at))
    chart = altair.layer(line, bars, dots, data=altair.Data(values=rows))
    height = max(16, 11 * len(order["series"]) + 8) * len(order["row"])
    header = altair.Header(labelFontSize=13, labelFontWeight="bold")
    column = altair.Column("side:N", title=None, sort=order["side"], header=header)
    return svg(chart.properties(width=260, height=height).facet(column=column))


def svg(chart: Any) -> bytes:
    """A chart of altair as an SVG."""
    import io

    file = io.StringIO()
    chart.properties(padding=PADDING).save(file, format="svg")
    return file.getvalue().encode()
