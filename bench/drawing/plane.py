"""Points and arrows in a plane, by altair."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from bench.drawing.charts import in_order, load_altair, svg


def quiver(
    arrows: Sequence[Mapping[str, Any]],
    points: Sequence[tuple[float, float]],
    *,
    down: str,
    side: str,
    colour: str,
    ends: tuple[float, float],
) -> bytes:
    """An SVG: arrows over a curve in square panels, in order of first appearance.

    arrows: dictionaries with the keys x, y, x2, y2 (tail and tip) and the three below
    points: (x, y) of the curve, joined in their order
    down, side: keys of the panel's row and column
    colour: key of a number in [-1, 1], pale at 0, red below and blue above; title of the legend
    ends: lowest and highest value of both axes
    """
    altair = load_altair()
    # One path for all arrows of a colour rounded to 0.1, with breaks: a path an arrow makes large files.
    rows = [
        {"down": a[down], "side": a[side], "colour": round(a[colour], 1), "x": x, "y": y}
        for a in arrows
        for x, y in _outline(*(float(a[key]) for key in ("x", "y", "x2", "y2")))
    ]
    for i, row in enumerate(rows):
        row["i"] = i
    order = in_order(rows, "down", "side")
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
    shafts = base.mark_line(strokeWidth=1.1, aria=False).encode(
        detail="colour:N",
        order=altair.Order("i:Q"),
        color=altair.Color("colour:Q", title=colour, scale=scale),
    )
    header = altair.Header(labelFontSize=13, labelFontWeight="bold", title=None)
    chart = altair.layer(under, shafts, data=altair.Data(values=rows))
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
    """A PNG, since there are many points: rows of panels.

    rows: name, points (n, 2) by title of the panel, and whether the panels of the row share axes
    labels: (n,) classes of the points in every panel, shown as colours
    colour: title of the legend
    circle: radius of a circle about 0
    """
    altair = load_altair()
    classes = list(dict.fromkeys(sorted(labels)))
    turn = [2 * math.pi * i / 90 for i in range(91)]
    ring = [
        {"x": circle * math.cos(t), "y": circle * math.sin(t), "i": i} for i, t in enumerate(turn)
    ]

    def panel(name: str, title: str, points: Any, limit: float) -> Any:
        values = [
            {"x": round(float(x), 5), "y": round(float(y), 5), "c": label}
            for (x, y), label in zip(points, labels, strict=True)
        ]
        scale = altair.Scale(domain=[-limit, limit], nice=False)
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

    figure_rows = []
    for name, panels, has_common_axes in rows:
        limits = {title: 1.05 * float(abs(points).max()) for title, points in panels.items()}
        common = max(limits.values()) if has_common_axes else None
        figure_rows.append(
            altair.hconcat(*(panel(name, t, p, common or limits[t]) for t, p in panels.items()))
        )
    file, smaller = io.BytesIO(), io.BytesIO()
    altair.vconcat(*figure_rows).save(file, format="png", scale_factor=1.25)
    Image.open(file).convert("RGB").quantize(128).save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def labelled_points(points: Sequence[tuple[str, float, float, str]], *, kind: str) -> bytes:
    """An SVG of points (name, x, y, kind), without axes since only distances matter, in one scale. Names
    stand at the left or right edge, so that none hides another; `kind` is the title of the legend."""
    altair = load_altair()
    wide, edge, gap = 420, 16, 20
    across, down = [p[1] for p in points], [p[2] for p in points]
    scale = (wide - 40) / (max(max(across) - min(across), max(down) - min(down)) or 1.0)
    high = max(40 + scale * (max(down) - min(down)), gap * (len(points) / 2 + 1))
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "kind": point_kind,
            "x": wide / 2 + scale * (x - (max(across) + min(across)) / 2),
            "y": high / 2 + scale * (y - (max(down) + min(down)) / 2),
        }
        for name, x, y, point_kind in points
    ]
    rows.sort(key=lambda row: float(row["x"]))
    for half, at, align in (
        (rows[: len(rows) // 2], -edge, "right"),
        (rows[len(rows) // 2 :], wide + edge, "left"),
    ):
        half.sort(key=lambda row: float(row["y"]))
        for row, y in zip(half, _separated([row["y"] for row in half], gap, high), strict=True):
            row |= {"at": at, "label y": y, "align": align}
    x_scale, y_scale = (altair.Scale(domain=[0, end], nice=False) for end in (wide, high))
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
    """Five points that draw the shaft of an arrow and its head, a third as long, then a break."""
    u, v = x2 - x, y2 - y
    back = [(x2 - 0.35 * u + s * 0.2 * v, y2 - 0.35 * v - s * 0.2 * u) for s in (1, -1)]
    line = [(x, y), (x2, y2), back[0], (x2, y2), back[1]]
    return [*((round(a, 3), round(b, 3)) for a, b in line), (None, None)]


def _separated(targets: Sequence[float], gap: float, upper: float) -> list[float]:
    """Positions near the targets, in rising order, at least `gap` apart and at most `upper`."""
    positions: list[float] = []
    for target in targets:
        positions.append(max(target, positions[-1] + gap) if positions else target)
    for i in reversed(range(len(positions))):
        positions[i], upper = min(positions[i], upper), min(positions[i], upper) - gap
    return positions
