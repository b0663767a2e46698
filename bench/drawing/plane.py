"""Points and arrows of a plane, by altair."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from bench.drawing.charts import drawing, svg

__all__ = ["places", "quiver", "scatter"]


def quiver(
    arrows: Sequence[Mapping[str, Any]],
    points: Sequence[tuple[float, float]],
    *,
    down: str,
    side: str,
    colour: str,
    ends: tuple[float, float],
) -> bytes:
    """An SVG: arrows from (x, y) to (x2, y2) over `points`, in panels of one square, whose sides go
    from one of the `ends` to the other.

    Rows of panels are the values of `down`, columns those of `side`, as they first come. `colour` is a
    number in [-1, 1], pale at 0, red below and blue above, and names the legend too.
    """
    altair = drawing()
    # Arrows of one tenth of the colours are one path, broken between them: a line each would be heavy.
    rows = [
        {"down": a[down], "side": a[side], "colour": round(a[colour], 1), "x": x, "y": y}
        for a in arrows
        for x, y in _outline(*(float(a[key]) for key in ("x", "y", "x2", "y2")))
    ]
    for i, row in enumerate(rows):
        row["i"] = i
    order = {key: list(dict.fromkeys(row[key] for row in rows)) for key in ("down", "side")}
    axes = {
        name: {"title": None, "scale": altair.Scale(domain=ends, nice=False)} for name in ("x", "y")
    }
    base = altair.Chart().encode(
        x=altair.X("x:Q", axis=altair.Axis(tickCount=5), **axes["x"]),
        y=altair.Y("y:Q", axis=altair.Axis(tickCount=5), **axes["y"]),
    )
    path = [{"x": x, "y": y, "order": i} for i, (x, y) in enumerate(points)]
    under = (
        altair.Chart(altair.Data(values=path))
        .mark_line(color="#d9b400", opacity=0.45, strokeWidth=5, aria=False)
        .encode(x="x:Q", y="y:Q", order="order:O")
    )
    scale = altair.Scale(scheme="redblue", domain=[-1, 1])
    drawn = base.mark_line(strokeWidth=1.1, aria=False).encode(
        detail="colour:N",
        order=altair.Order("i:Q"),
        color=altair.Color("colour:Q", title=colour, scale=scale),
    )
    header = altair.Header(labelFontSize=13, labelFontWeight="bold", title=None)
    chart = altair.layer(under, drawn, data=altair.Data(values=rows))
    return svg(
        chart.properties(width=250, height=250).facet(
            column=altair.Column("side:N", sort=order["side"], header=header),
            row=altair.Row("down:N", sort=order["down"], header=header),
        )
    )


def scatter(
    rows: Sequence[tuple[str, Mapping[str, Any], bool]],
    labels: Sequence[str],
    *,
    colour: str,
    circle: float,
) -> bytes:
    """A PNG, since there are many points: rows of panels, each a name, points (n, 2) by panel, and
    whether the panels have common axes.

    `labels` (n,) colour the points of every panel, `colour` names the legend; a circle of radius
    `circle` lies around 0.
    """
    altair = drawing()
    classes = list(dict.fromkeys(sorted(labels)))
    turn = [2 * math.pi * i / 90 for i in range(91)]
    ring = [
        {"x": circle * math.cos(t), "y": circle * math.sin(t), "i": i} for i, t in enumerate(turn)
    ]

    def panel(name: str, title: str, points: Any, most: float) -> Any:
        values = [
            {"x": round(float(x), 5), "y": round(float(y), 5), "c": label}
            for (x, y), label in zip(points, labels, strict=True)
        ]
        scale = altair.Scale(domain=[-most, most], nice=False)
        base = altair.Chart().encode(
            x=altair.X("x:Q", title=None, scale=scale, axis=altair.Axis(tickCount=5)),
            y=altair.Y("y:Q", title=None, scale=scale, axis=altair.Axis(tickCount=5)),
        )
        dots = base.mark_circle(size=9, opacity=0.65, clip=True).encode(
            color=altair.Color(
                "c:N", title=colour, sort=classes, scale=altair.Scale(scheme="tableau10")
            )
        )
        around = base.mark_line(color="black", strokeWidth=1, clip=True).encode(order="i:O")
        parts = altair.layer(
            dots.properties(data=altair.Data(values=values)),
            around.properties(data=altair.Data(values=ring)),
        )
        return parts.properties(width=250, height=250, title=[title, name])

    drawn = []
    for name, panels, common in rows:
        ends = {title: 1.05 * float(abs(points).max()) for title, points in panels.items()}
        most = max(ends.values()) if common else None
        drawn.append(
            altair.hconcat(*(panel(name, t, p, most or ends[t]) for t, p in panels.items()))
        )
    file, smaller = io.BytesIO(), io.BytesIO()
    altair.vconcat(*drawn).save(file, format="png", scale_factor=1.25)
    Image.open(file).convert("RGB").quantize(128).save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def places(points: Sequence[tuple[str, float, float, str]], *, kind: str) -> bytes:
    """An SVG: points (name, x, y, kind) on one scale for both axes, which mean nothing else. Names stand
    at the left or right edge beside their points, so that none hides another; `kind` heads the legend.
    """
    altair = drawing()
    wide, edge, gap = 420, 16, 20
    across, down = [p[1] for p in points], [p[2] for p in points]
    scale = (wide - 40) / (max(max(across) - min(across), max(down) - min(down)) or 1.0)
    high = max(40 + scale * (max(down) - min(down)), gap * (len(points) / 2 + 1))
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "kind": what,
            "x": wide / 2 + scale * (x - (max(across) + min(across)) / 2),
            "y": high / 2 + scale * (y - (max(down) + min(down)) / 2),
        }
        for name, x, y, what in points
    ]
    rows.sort(key=lambda row: float(row["x"]))
    for some, at, align in (
        (rows[: len(rows) // 2], -edge, "right"),
        (rows[len(rows) // 2 :], wide + edge, "left"),
    ):
        some.sort(key=lambda row: float(row["y"]))
        for row, y in zip(some, _apart([row["y"] for row in some], gap, high), strict=True):
            row |= {"at": at, "label y": y, "align": align}
    x_scale, y_scale = (altair.Scale(domain=[0, most], nice=False) for most in (wide, high))
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=altair.X("x:Q", axis=None, scale=x_scale), y=altair.Y("y:Q", axis=None, scale=y_scale)
    )
    order, legend = list(dict.fromkeys(p[3] for p in points)), altair.Legend(orient="bottom")
    colour = altair.Color("kind:N", title=kind, sort=order, legend=legend)
    layers = [
        base.mark_rule(color="#999", strokeWidth=0.6).encode(x2="at:Q", y2="label y:Q"),
        base.mark_circle(size=90, opacity=1).encode(color=colour),
    ]
    for align in ("right", "left"):
        text = base.transform_filter(altair.datum.align == align).mark_text(
            align=align, fontSize=11
        )
        layers.append(text.encode(x="at:Q", y="label y:Q", text="name:N"))
    return svg(altair.layer(*layers).properties(width=wide, height=high))


def _outline(x: float, y: float, x2: float, y2: float) -> list[tuple[float | None, float | None]]:
    """The shaft of an arrow and its head, a third as long, as one line of five points, and a break."""
    u, v = x2 - x, y2 - y
    back = [(x2 - 0.35 * u + s * 0.2 * v, y2 - 0.35 * v - s * 0.2 * u) for s in (1, -1)]
    line = [(x, y), (x2, y2), back[0], (x2, y2), back[1]]
    return [*((round(a, 3), round(b, 3)) for a, b in line), (None, None)]


def _apart(wanted: Sequence[float], gap: float, most: float) -> list[float]:
    """Places in rising order, `gap` apart or more, near the wanted ones and none above `most`."""
    found: list[float] = []
    for value in wanted:
        found.append(max(value, found[-1] + gap) if found else value)
    for i in reversed(range(len(found))):
        found[i], most = min(found[i], most), min(found[i], most) - gap
    return found
