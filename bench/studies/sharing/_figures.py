"""The figures of the study of sharing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from bench.drawing.charts import heat, lines
from bench.statistics.intervals import student_interval

if TYPE_CHECKING:
    from bench.studies.sharing._report import Affinity, Curve, Found, Sweep

__all__ = ["figures"]

Array = npt.NDArray[Any]
GAIN = "gain, points"


def figures(found: Found) -> dict[str, bytes]:
    """By coupling, by labels, and pair by pair: by the names that the report has for them."""
    return {
        "sharing.svg": _curve_figure(found.curves),
        "labels.svg": _sweep_figure(found.sweeps),
        "affinity.svg": _affinity_figure(found.affinity),
    }


def _curve_figure(curves: Sequence[Curve]) -> bytes:
    points = [
        {
            "encoder": curve.encoder,
            "coupling": name,
            "side": f"mean over {len(curve.targets)} targets",
            **_drawn(curve.gains[place]),
        }
        for curve in curves
        for place, name in enumerate(curve.names)
    ]
    return lines(points, x="coupling", y=GAIN, ends=("low", "high"), line="encoder", side="side")


def _sweep_figure(sweeps: Sequence[Sweep]) -> bytes:
    x = f"labels a class of {sweeps[0].first}"
    points = [
        {"labels of the others": kind, x: f"{n:g}", "encoder": s.encoder, **_drawn(gains)}
        for s in sweeps
        for kind, arm in (("true", s.shared), ("shuffled", s.shuffled))
        for n, gains in zip(s.labels, 100 * (arm - s.alone), strict=True)
    ]
    ends = ("low", "high")
    return lines(points, x=x, y=GAIN, ends=ends, line="labels of the others", side="encoder")


def _drawn(gains: Array) -> dict[str, float]:
    interval = student_interval(gains.tolist())
    return {GAIN: interval.value, "low": interval.low, "high": interval.high}


def _affinity_figure(affinity: Affinity) -> bytes:
    cells = []
    for one in affinity.alone:
        for other, alone in affinity.alone.items():
            value, label = 0.0, f"{100 * alone.mean():.2f}\nalone"
            if other != one:
                gain = student_interval(affinity.gains((one, other)).tolist())
                value = gain.value
                label = f"{value:+.2f}\n{gain.low:+.2f} to {gain.high:+.2f}"
            cells.append(
                {
                    "trained with": one,
                    "gain of": other,
                    "side": affinity.encoder,
                    GAIN: value,
                    "label": label,
                }
            )
    return heat(cells, x="gain of", y="trained with", side="side", colour=GAIN, label="label")
