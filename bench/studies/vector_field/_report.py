"""What the study of the vector field says: its table, its claims, its figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.drawing.charts import lines
from bench.drawing.plane import quiver
from bench.report.text import table
from bench.statistics.intervals import Interval, bootstrap_mean, paired_difference
from bench.studies.base import Claim, Report, judged

__all__ = ["DENOISING", "ORDINARY", "Arrows", "Found", "report"]

DENOISING, ORDINARY = "denoising", "ordinary, no noise"
_ALIKE = 0.9  # a cosine that counts as the same direction: 26 degrees

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Networks of one kind at n points of the data with noise of one sigma. By training and point
    (r, n): cosine of their arrows with the exact ones; squared error of the arrows in units of the exact
    ones' mean square; distance from the curve after one arrow. That before and after the exact arrow:
    (n,). `square`: mean cosine over the whole square, one a training."""

    sigma: float
    name: str
    cosine: Array
    error: Array
    away: Array
    before: Array
    best: Array
    square: Sequence[float]


@dataclass(frozen=True, slots=True, eq=False)
class Arrows:
    """A panel of the figure: arrows (n, 2) at places (n, 2), and their cosines (n,) with the exact."""

    sigma: float
    name: str
    places: Array
    arrows: Array
    cosines: Array


def report(
    found: Sequence[Found],
    shown: Sequence[Arrows],
    curve: Sequence[Sequence[float]],
    *,
    side: float,
    asked: Mapping[str, Any],
) -> Report:
    """The study's answer. `curve`: points of the curve in their order, `side` of the figure's square,
    `asked` what was asked of the study."""
    claims, told = judged(_claims(found))
    parts = [
        "# The arrows of a denoising autoencoder",
        f"Data lie around a spiral in the plane from radius 1 to 4, normally with a deviation of "
        f"{asked['width']:g} about it. Networks of "
        f"3 x {asked['units']} hidden units give the clean point back from one with Gaussian noise of "
        f"deviation sigma, {asked['seeds']} trainings of {asked['steps']:,} steps each on new draws. The "
        "best denoiser is known exactly: its arrow r(x) - x is sigma² times the gradient of the log "
        "density of data with noise (Miyasawa 1961; Vincent 2011; Alain and Bengio 2014). Beside it an "
        "ordinary autoencoder: the same network, start and clean points, no noise. Its code is no "
        "narrower than its input, so that it may copy.",
        "![arrows](arrows.svg)",
        "Arrows of the first training, pale where they stand across the exact ones, red where against "
        "them; their length is cut at the step of the grid. Yellow: the curve.",
        table(_HEADS, [_line(each) for each in found]),
        f"Over {asked['points']:,} new points of data with noise, so weighed by their density, with 95 % "
        "intervals over points and trainings. Error: mean squared difference from the exact arrows in "
        "units of their mean square, 0 at best, 1 for arrows of no length. Distance from the curve: "
        "mean, after one arrow; before it; after the exact one. Over the square: cosine at equal steps "
        "over all of the figure, also where there are hardly any points, least and largest training.",
        "![measures](measures.svg)",
        "## What is said of them",
        claims,
    ]
    rows = [
        {
            "sigma": each.sigma,
            "network": each.name,
            **{name: asdict(bootstrap_mean(of)) for name, of in _measures(each).items()},
            "distance before": float(each.before.mean()),
            "distance after the exact arrow": float(each.best.mean()),
            "cosine over the square": list(each.square),
        }
        for each in found
    ]
    figures = {"arrows.svg": _arrows(shown, curve, side), "measures.svg": _figure(found)}
    return Report("\n\n".join(parts), {**asked, "rows": rows, "claims": told}, figures)


_HEADS = [
    "sigma",
    "network",
    "cosine",
    "error",
    "distance after",
    "before",
    "exact",
    "over the square",
]


def _measures(found: Found) -> dict[str, Array]:
    return {"cosine": found.cosine, "error": found.error, "distance": found.away}


def _text(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _line(found: Found) -> list[str]:
    return [
        f"{found.sigma:g}",
        found.name,
        *(_text(bootstrap_mean(rows)) for rows in _measures(found).values()),
        f"{found.before.mean():.3f}",
        f"{found.best.mean():.3f}",
        f"{min(found.square):.2f} to {max(found.square):.2f}",
    ]


def _arrows(shown: Sequence[Arrows], curve: Sequence[Sequence[float]], side: float) -> bytes:
    """Panels of the least and the largest sigma but one, where there are more than two."""
    sigmas = sorted({each.sigma for each in shown})
    chosen = sigmas if len(sigmas) < 3 else [sigmas[1], sigmas[-1]]
    drawn = []
    for panel in shown:
        if panel.sigma in chosen:
            step = 2 * side / len(panel.places) ** 0.5
            length = np.linalg.norm(panel.arrows, axis=1, keepdims=True)
            cut = panel.arrows * np.minimum(1, 0.9 * step / np.maximum(length, 1e-12))
            for place, arrow, cosine in zip(panel.places, cut, panel.cosines, strict=True):
                drawn.append(
                    {
                        "x": place[0],
                        "y": place[1],
                        "x2": place[0] + arrow[0],
                        "y2": place[1] + arrow[1],
                        "network": panel.name,
                        "sigma": f"sigma = {panel.sigma:g}",
                        "cosine with exact": float(cosine),
                    }
                )
    points = [(round(x, 3), round(y, 3)) for x, y in curve[::4]]
    colour, ends = "cosine with exact", (-side, side)
    return quiver(drawn, points, down="sigma", side="network", colour=colour, ends=ends)


def _figure(found: Sequence[Found]) -> bytes:
    names = {
        "cosine": "cosine",
        "error": "error",
        "distance": "distance from the curve after one arrow",
    }
    points = [
        {
            "sigma": f"{each.sigma:g}",
            "network": each.name,
            "measure": names[name],
            "mean": interval.value,
            "low": interval.low,
            "high": interval.high,
        }
        for each in found
        for name, interval in ((n, bootstrap_mean(rows)) for n, rows in _measures(each).items())
    ]
    return lines(points, x="sigma", y="mean", ends=("low", "high"), line="network", side="measure")


def _claims(found: Sequence[Found]) -> list[Claim]:
    learnt = {each.sigma: each for each in found if each.name == DENOISING}
    plain = {each.sigma: each for each in found if each.name == ORDINARY}
    alike = {s: bootstrap_mean(each.cosine) for s, each in learnt.items()}
    more = {s: paired_difference(learnt[s].cosine, plain[s].cosine)[0] for s in learnt}
    less = {s: paired_difference(learnt[s].error, plain[s].error)[0] for s in learnt}
    nearer = {
        s: paired_difference(each.away, np.broadcast_to(each.before, each.away.shape))[0]
        for s, each in learnt.items()
    }
    sigmas = sorted(learnt)
    falls = [
        (b, paired_difference(learnt[b].error, learnt[a].error)[0])
        for a, b in itertools.pairwise(sigmas)
    ]
    return [
        Claim(
            f"at every sigma the denoiser's arrows have a mean cosine above {_ALIKE:g} with the exact",
            _listed(alike),
            all(each.low > _ALIKE for each in alike.values()),
        ),
        Claim(
            "at every sigma that cosine is above the ordinary autoencoder's: difference",
            _listed(more, "+"),
            all(each.low > 0 for each in more.values()),
        ),
        Claim(
            "at every sigma the error of its arrows is below the ordinary autoencoder's: difference",
            _listed(less, "+"),
            all(each.high < 0 for each in less.values()),
        ),
        Claim(
            "one learnt arrow brings points nearer to the curve: change of the mean distance",
            _listed(nearer, "+"),
            all(each.high < 0 for each in nearer.values()),
        ),
        Claim(
            "the error of the denoiser's arrows falls with each larger sigma: change from the one before",
            _listed(dict(falls), "+"),
            bool(falls) and all(each.high < 0 for _, each in falls),
        ),
    ]


def _listed(some: Mapping[float, Interval], sign: str = "") -> tuple[str, ...]:
    return tuple(f"{sigma:g}: {_text(each, sign)}" for sigma, each in some.items())
