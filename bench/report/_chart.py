"""Charts as SVG, by altair, which is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import BenchError

__all__ = ["curve", "drawing"]


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
    import io

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
    chart = (line + text).properties(width=420, height=280, title=title)
    file = io.StringIO()
    chart.save(file, format="svg")
    return file.getvalue().encode()
