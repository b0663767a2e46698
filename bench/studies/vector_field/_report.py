"""What the study of the vector field reports: its table, its claims, its figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.drawing.charts import lines
from bench.drawing.plane import quiver
from bench.report.text import table
from bench.statistics.intervals import Interval, bootstrap_mean, paired_difference
from bench.studies.base import Array, Claim, Report
from bench.studies.parts.differences import interval_claim, interval_text

DENOISING, ORDINARY = "denoising", "ordinary, no noise"
_ALIKE = 0.9  # a cosine that counts as the same direction: 26 degrees
_AFTER = "distance from the curve after one arrow"
COLUMNS = ("cosine", "error", "distance after", "before", "exact", "over the square")


@dataclass(frozen=True, slots=True, eq=False)
class ArrowScores:
    """Networks of one kind at n points of the data with noise of one sigma. By training and point
    (r, n): cosine of their arrows with the exact ones; squared error of the arrows in units of the exact
    ones' mean square; distance from the curve after one arrow. That before and after the exact arrow:
    (n,). `square`: mean cosine over the whole square, one a training."""

    sigma: float
    network: str
    cosine: Array
    error: Array
    distance: Array
    before: Array
    best: Array
    square: Sequence[float]

    def means(self) -> dict[str, Interval]:
        """Over points and trainings."""
        return {n: bootstrap_mean(getattr(self, n)) for n in ("cosine", "error", "distance")}


@dataclass(frozen=True, slots=True, eq=False)
class ArrowPanel:
    """A panel of the figure: arrows (n, 2) at places (n, 2), and their cosines (n,) with the exact."""

    sigma: float
    network: str
    places: Array
    arrows: Array
    cosines: Array


def report(
    scores: Sequence[ArrowScores],
    panels: Sequence[ArrowPanel],
    curve: Sequence[Sequence[float]],
    *,
    side: float,
    parameters: Mapping[str, Any],
) -> Report:
    """The study's answer. `curve`: points of the curve in their order, `side` of the figure's square,
    `parameters` those of `run` and the width of the curve."""
    means = [networks.means() for networks in scores]
    parts = [
        f"Data lie around a spiral in the plane from radius 1 to 4, normally with a deviation of "
        f"{parameters['width']:g} about it. Networks of 3 x {parameters['units']} hidden units map a "
        "point with Gaussian noise of deviation sigma to the clean point, "
        f"{parameters['seeds']} trainings of {parameters['steps']:,} steps each on new draws. The "
        "best denoiser is known exactly: its arrow r(x) - x is sigma² times the gradient of the log "
        "density of data with noise (Miyasawa 1961; Vincent 2011; Alain and Bengio 2014). Beside it an "
        "ordinary autoencoder: the same network, start and clean points, no noise. Its code is no "
        "narrower than its input, so that it may copy.",
        "![arrows](arrows.svg)",
        "Arrows of the first training, pale where they are orthogonal to the exact ones, red where "
        "opposed; their length is cut at the step of the grid. Yellow: the curve.",
        table(["sigma", "network", *COLUMNS], map(_line, scores, means)),
        f"Over {parameters['points']:,} new points of data with noise, so weighted by their density, with "
        "95 % intervals over points and trainings. Error: mean squared difference from the exact arrows "
        "in units of their mean square, 0 at best, 1 for arrows of no length. Distance from the curve: "
        "mean, after one arrow; before it; after the exact one. Over the square: cosine at equal steps "
        "over all of the figure, also where there are hardly any points, least and largest training.",
        "![measures](measures.svg)",
    ]
    rows = [
        {
            "sigma": networks.sigma,
            "network": networks.network,
            **intervals,
            "distance before": float(networks.before.mean()),
            "distance after the exact arrow": float(networks.best.mean()),
            "cosine over the square": networks.square,
        }
        for networks, intervals in zip(scores, means, strict=True)
    ]
    points = [
        {
            "sigma": f"{networks.sigma:g}",
            "network": networks.network,
            "measure": _AFTER if name == "distance" else name,
            "mean": interval.value,
            **asdict(interval),
        }
        for networks, intervals in zip(scores, means, strict=True)
        for name, interval in intervals.items()
    ]
    ends = ("low", "high")
    measures = lines(points, x="sigma", y="mean", ends=ends, line="network", side="measure")
    return Report.of(
        "The arrows of a denoising autoencoder",
        parts,
        {**parameters, "rows": rows},
        claims=_claims(scores),
        figures={"arrows.svg": _arrows(panels, curve, side), "measures.svg": measures},
    )


def _line(networks: ArrowScores, means: Mapping[str, Interval]) -> list[str]:
    return [
        f"{networks.sigma:g}",
        networks.network,
        *(interval_text(interval, digits=3) for interval in means.values()),
        f"{networks.before.mean():.3f}",
        f"{networks.best.mean():.3f}",
        f"{min(networks.square):.2f} to {max(networks.square):.2f}",
    ]


def _arrows(panels: Sequence[ArrowPanel], curve: Sequence[Sequence[float]], side: float) -> bytes:
    """Panels of the least and the largest sigma but one, where there are more than two."""
    sigmas = sorted({panel.sigma for panel in panels})
    chosen = sigmas if len(sigmas) < 3 else [sigmas[1], sigmas[-1]]
    colour, arrows = "cosine with exact", []
    for panel in panels:
        if panel.sigma in chosen:
            step = 2 * side / len(panel.places) ** 0.5
            length = np.linalg.norm(panel.arrows, axis=1, keepdims=True)
            cut = panel.arrows * np.minimum(1, 0.9 * step / np.maximum(length, 1e-12))
            arrows += [
                {
                    **dict(zip(("x", "y", "x2", "y2"), (*place, *(place + arrow)), strict=True)),
                    "network": panel.network,
                    "sigma": f"sigma = {panel.sigma:g}",
                    colour: float(cosine),
                }
                for place, arrow, cosine in zip(panel.places, cut, panel.cosines, strict=True)
            ]
    points = [(round(x, 3), round(y, 3)) for x, y in curve[::4]]
    ends = (-side, side)
    return quiver(arrows, points, down="sigma", side="network", colour=colour, ends=ends)


def _claims(scores: Sequence[ArrowScores]) -> list[Claim]:
    learnt, plain = (
        {networks.sigma: networks for networks in scores if networks.network == name}
        for name in (DENOISING, ORDINARY)
    )
    alike = {sigma: bootstrap_mean(networks.cosine) for sigma, networks in learnt.items()}

    def minus(a: Mapping[float, Array], b: Mapping[float, Array]) -> dict[str, Interval]:
        return {f"{sigma:g}:": paired_difference(a[sigma], b[sigma])[0] for sigma in b}

    cosine, error, distance = (
        {sigma: getattr(networks, name) for sigma, networks in learnt.items()}
        for name in ("cosine", "error", "distance")
    )
    before = {s: np.broadcast_to(learnt[s].before, after.shape) for s, after in distance.items()}
    smaller = {b: error[a] for a, b in itertools.pairwise(sorted(learnt))}
    statement = f"the denoiser's arrows have a mean cosine above {_ALIKE:g} with the exact"
    return [
        Claim(
            f"at every sigma {statement}",
            tuple(f"{sigma:g}: {interval_text(i, digits=3)}" for sigma, i in alike.items()),
            all(interval.low > _ALIKE for interval in alike.values()),
        ),
        interval_claim(
            "at every sigma that cosine is above the ordinary autoencoder's: difference",
            minus(cosine, {sigma: networks.cosine for sigma, networks in plain.items()}),
            digits=3,
        ),
        interval_claim(
            "at every sigma the error of its arrows is below the ordinary autoencoder's: difference",
            minus(error, {sigma: networks.error for sigma, networks in plain.items()}),
            sign=-1,
            digits=3,
        ),
        interval_claim(
            "one learnt arrow brings points nearer to the curve: change of the mean distance",
            minus(distance, before),
            sign=-1,
            digits=3,
        ),
        interval_claim(
            "the error of the denoiser's arrows falls with each larger sigma: change from the one before",
            minus(error, smaller),
            sign=-1,
            digits=3,
        ),
    ]
