"""Charts as SVG, by altair, which is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import BenchError

# Pixels. A viewer may have a wider font than the one that the SVG was laid out in.
PADDING = {"left": 45, "right": 45, "top": 5, "bottom": 5}
TITLE = 14  # pixels between the row names, which may be wider too, and the title of their axis


def load_altair() -> Any:
    """The module altair, called before long work begins. Raises BenchError where it is not installed."""
    try:
        import altair
        import vl_convert  # noqa: F401  # makes the SVG
    except ImportError as error:
        raise BenchError(
            f'charts need altair and vl-convert ({error}): pip install "reptransfer[page]"'
        ) from error
    return altair


def curve(points: Sequence[Mapping[str, Any]], *, x: str, y: str, label: str, title: str) -> bytes:
    """An SVG: points joined in their order. `x`, `y` and `label` are keys of each point, `x` and `y` also
    the titles of the axes."""
    altair = load_altair()
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
    """An SVG: heat maps side by side, rows and columns in order of first appearance.

    cells: dictionaries with the five keys below
    x, y: keys of column and row, and titles of the axes
    side: key of the heat map's name
    colour: key of a number, pale at 0, red below and blue above, on one scale; title of the legend
    label: key of the text in the cell, which may have several lines
    """
    altair = load_altair()
    rows = [
        {"x": c[x], "y": c[y], "side": c[side], "colour": c[colour], "label": c[label].split("\n")}
        for c in cells
    ]
    largest = max(abs(row["colour"]) for row in rows) or 1.0
    order = in_order(rows, "x", "y", "side")
    base = altair.Chart().encode(
        x=altair.X("x:N", title=x, sort=order["x"], axis=altair.Axis(labelAngle=0, orient="top")),
        y=altair.Y("y:N", title=y, sort=order["y"], axis=altair.Axis(titlePadding=TITLE)),
    )
    scale = altair.Scale(scheme="redblue", domain=[-largest, largest])
    fill = base.mark_rect().encode(color=altair.Color("colour:Q", title=colour, scale=scale))
    dark = f"abs(datum.colour) > {0.6 * largest}"
    ink = altair.condition(dark, altair.value("white"), altair.value("black"))
    text = base.mark_text(lineHeight=14, dy=-3).encode(text="label:N", color=ink)
    width, height = 96 * len(order["x"]), 48 * len(order["y"])
    chart = altair.layer(fill, text, data=altair.Data(values=rows))
    return svg(_panels(chart.properties(width=width, height=height), order["side"]))


def lines(
    points: Sequence[Mapping[str, Any]],
    *,
    x: str,
    y: str,
    ends: tuple[str, str],
    line: str,
    side: str,
) -> bytes:
    """An SVG: panels side by side, each with its own y axis; values of `x`, panels and lines in order of
    first appearance. Lines are shifted sideways, so that none hides another.

    points: dictionaries with the six keys below
    x, y: keys of the coordinates (`x` is a category), and titles of the axes
    ends: keys of the lower and the upper end of the point's error bar
    line: key of the line that joins the point with others; title of the legend
    side: key of the panel's name
    """
    altair = load_altair()
    keys = {"x": x, "y": y, "low": ends[0], "high": ends[1], "line": line, "side": side}
    rows = [{name: point[key] for name, key in keys.items()} for point in points]
    order = in_order(rows, "x", "line", "side")
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
    panels = _panels(chart.properties(width=240, height=260), order["side"])
    return svg(panels.resolve_scale(y="independent"))


def matrix(names: Sequence[str], values: Sequence[Sequence[float]], *, colour: str) -> bytes:
    """An SVG: a square table of values (n, n) in [0, 1] (values below 0 are drawn as 0), white to blue,
    each written in its cell in hundredths. Rows have the n names and a number, columns the number;
    `colour` is the title of the legend."""
    altair = load_altair()
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
    at: float = 0.0,
) -> bytes:
    """An SVG: panels of dots with error bars side by side, rows in order of first appearance.

    points: dictionaries with the keys below
    value: key of the dot's place on the x axis, and title of the axis
    ends: keys of the lower and the upper end of the error bar
    row, side: keys of the row's and the panel's name
    at: where the vertical line of no effect stands
    """
    altair = load_altair()
    keys = {"value": value, "low": ends[0], "high": ends[1], "row": row, "side": side}
    rows = [{name: point[key] for name, key in keys.items()} for point in points]
    order = in_order(rows, "row", "side")
    axis = altair.Axis(labelLimit=320, grid=True, tickBand="extent")
    base = altair.Chart().encode(y=altair.Y("row:N", title=None, sort=order["row"], axis=axis))
    across = altair.X("value:Q", title=value, scale=altair.Scale(zero=False))
    bars = base.mark_rule().encode(x=altair.X("low:Q", title=value), x2="high:Q")
    dots = base.mark_circle(size=42, opacity=1).encode(x=across)
    line = altair.Chart().mark_rule(color="#888", strokeDash=[3, 3]).encode(x=altair.datum(at))
    chart = altair.layer(line, bars, dots, data=altair.Data(values=rows))
    height = 19 * len(order["row"])
    return svg(_panels(chart.properties(width=260, height=height), order["side"]))


def in_order(rows: Sequence[Mapping[str, Any]], *keys: str) -> dict[str, list[Any]]:
    """Key -> its values in order of first appearance."""
    return {key: list(dict.fromkeys(row[key] for row in rows)) for key in keys}


def _panels(chart: Any, names: Sequence[str]) -> Any:
    """A chart for each value of `side`, side by side."""
    altair = load_altair()
    header = altair.Header(labelFontSize=13, labelFontWeight="bold")
    column = altair.Column("side:N", title=None, sort=names, header=header)
    return chart.facet(column=column)


def svg(chart: Any) -> bytes:
    """A chart of altair as an SVG."""
    import io

    file = io.StringIO()
    chart.properties(padding=PADDING).save(file, format="svg")
    return file.getvalue().encode()
