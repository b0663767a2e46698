"""Does a denoising autoencoder learn the arrows towards the data? Beside the exact ones, in the plane."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.samples import Array
from bench.digests import digest
from bench.drawing.charts import lines, load_altair
from bench.drawing.plane import quiver
from bench.errors import BenchError
from bench.report.text import interval_text, table
from bench.seeding import torch_generator
from bench.statistics.intervals import Interval, mean_interval, paired_difference
from bench.studies.base import Claim, Report, Setting, require
from bench.studies.parts.differences import interval_claim
from bench.studies.parts.partial import trained
from bench.studies.vector_field._field import BATCH, RATE, PlaneCurve, cosines, network, train

REVISION = 1
KNOWN_AS = "studies/vector_field"  # its key in the revisions of records
WIDTH = 0.08  # of the band that data lie in, around the curve
SIDE = 5.2  # the square from -5.2 to 5.2 holds the curve, and room around it
DRAWN = 15  # arrows across a panel
COLOUR = "cosine with exact"
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
        return {n: mean_interval(getattr(self, n)) for n in ("cosine", "error", "distance")}


def run(
    *,
    setting: Setting,
    sigmas: str = "0.2 0.4 0.8 1.6",
    seeds: int = 3,
    steps: int = 4000,
    units: int = 64,
    points: int = 2000,
) -> Report:
    """Train a network of 3 x `units` hidden units at each deviation of noise, and without noise, `seeds`
    times in `steps` steps, or take the weights that the cache has; compare its arrows r(x) - x with the
    exact ones at `points` new points. No data set is read.

    Raises BenchError for a deviation that is not above 0, fewer than 2 seeds or points, no step or unit,
    and where charts cannot be drawn.
    """
    deviations = _deviations(sigmas)
    require("vector_field", 2, seeds=seeds, points=points)
    require("vector_field", 1, steps=steps, units=units)
    load_altair()
    curve = PlaneCurve.spiral(width=WIDTH)

    def fitted(sigma: float, seed: int) -> nn.Module:
        title = f"denoiser of the plane, sigma={sigma:g}, seed {seed}"
        setting.progress(f"{title}: training, or from the cache")
        recipe = {
            "what": title,
            "seed": seed,
            "revision": REVISION,
            "sizes": [units, steps, BATCH, RATE, sigma],
            "curve": [WIDTH, digest(curve.centres.tolist())],
        }
        model = network(units, seed)
        fit = partial(train, model, curve, sigma, steps=steps, seed=seed)
        return trained(model, recipe, fit, setting.cache)

    ordinary = [fitted(0.0, seed) for seed in range(seeds)]
    scores, arrows = [], []
    drawn = deviations if len(deviations) < 3 else [deviations[1], deviations[-1]]
    for sigma in deviations:
        denoising = [fitted(sigma, seed) for seed in range(seeds)]
        noise = torch_generator(0, f"field:evaluation:{sigma:g}")
        x = curve.draw(points, noise)
        x = x + sigma * torch.randn(x.shape, generator=noise)
        for name, models in ((DENOISING, denoising), (ORDINARY, ordinary)):
            scores.append(_measured(curve, sigma, name, models, x))
        if sigma in drawn:
            arrows += _arrows(curve, sigma, {DENOISING: denoising[0], ORDINARY: ordinary[0]})
    sizes = {"seeds": seeds, "steps": steps, "units": units, "points": points}
    parameters = {"sigmas": deviations, **sizes, "width": WIDTH}
    return report(scores, arrows, curve.centres.tolist(), parameters)


def _deviations(text: str) -> list[float]:
    try:
        sigmas = sorted({float(word) for word in text.split()})
    except ValueError:
        sigmas = []
    if not sigmas or not all(0 < sigma < float("inf") for sigma in sigmas):
        raise BenchError(f"vector_field: sigmas={text!r}; give numbers above 0, a space between")
    return sigmas


@torch.no_grad()
def _measured(
    curve: PlaneCurve, sigma: float, name: str, models: list[nn.Module], x: Tensor
) -> ArrowScores:
    """The arrows of networks at points x (n, 2) of the data with noise, and over the square."""
    exact, square = curve.arrows(x, sigma), _square(41)
    exact_square = curve.arrows(square, sigma)
    arrows = [(model(x) - x).double() for model in models]
    over_square = [model(square) - square for model in models]
    size = exact.square().sum(dim=1).mean()
    errors = [(a - exact).square().sum(dim=1) / size for a in arrows]
    return ArrowScores(
        sigma=sigma,
        network=name,
        cosine=torch.stack([cosines(a, exact) for a in arrows]).numpy(),
        error=torch.stack(errors).numpy(),
        distance=torch.stack([curve.distance(x + a) for a in arrows]).numpy(),
        before=curve.distance(x).numpy(),
        best=curve.distance(x + exact).numpy(),
        square=[float(cosines(a, exact_square).mean()) for a in over_square],
    )


def _square(across: int) -> Tensor:
    """Places (across^2, 2) at equal steps over the square of the figure, half a step from its sides."""
    steps = SIDE * (2 * (torch.arange(across) + 0.5) / across - 1)
    return torch.cartesian_prod(steps, steps)


@torch.no_grad()
def _arrows(curve: PlaneCurve, sigma: float, models: dict[str, nn.Module]) -> list[dict[str, Any]]:
    """The exact arrows and those of each model over the square, cut at the step of the grid."""
    places, rows = _square(DRAWN), []
    exact = curve.arrows(places, sigma)
    learnt = {name: (model(places) - places).double() for name, model in models.items()}
    for name, arrows in {"exact": exact, **learnt}.items():
        length = np.linalg.norm(arrows.numpy(), axis=1, keepdims=True)
        cut = arrows.numpy() * np.minimum(1, 0.9 * 2 * SIDE / DRAWN / np.maximum(length, 1e-12))
        ends = np.hstack([places.numpy(), places.numpy() + cut])
        rows += [
            {
                **dict(zip(("x", "y", "x2", "y2"), four, strict=True)),
                "network": name,
                "sigma": f"sigma = {sigma:g}",
                COLOUR: cosine,
            }
            for four, cosine in zip(ends, cosines(arrows, exact).tolist(), strict=True)
        ]
    return rows


def report(
    scores: Sequence[ArrowScores],
    arrows: Sequence[Mapping[str, Any]],
    curve: Sequence[Sequence[float]],
    parameters: Mapping[str, Any],
) -> Report:
    """The study's answer. `arrows` as `quiver` draws them, `curve`: points of the curve in their order,
    `parameters` those of `run` and the width of the curve."""
    means = [networks.means() for networks in scores]
    parts = [
        f"Data lie around a spiral in the plane from radius 1 to 4, with a normal deviation of "
        f"{parameters['width']:g} from it. Networks of 3 x {parameters['units']} hidden units map a "
        "point with Gaussian noise of deviation sigma to the clean point, "
        f"{parameters['seeds']} trainings of {parameters['steps']:,} steps each on new draws. The "
        "best denoiser is known exactly: its arrow r(x) - x is sigma² times the gradient of the log "
        "density of data with noise (Miyasawa 1961; Vincent 2011; Alain and Bengio 2014). Beside it an "
        "ordinary autoencoder: the same network, start and clean points, no noise. Its code is no "
        "narrower than its input, so that it may copy.",
        "![arrows](arrows.svg)",
        "Arrows of the first training, pale where they are orthogonal to the exact ones, red where "
        "opposed; their length is at most the step of the grid. Yellow: the curve.",
        table(["sigma", "network", *COLUMNS], map(_line, scores, means)),
        f"Over {parameters['points']:,} new points of data with noise, so weighted by their density, with "
        "95 % intervals over points and trainings. Error: mean squared difference from the exact arrows "
        "in units of their mean square, 0 at best, 1 for arrows of no length. Distance from the curve: "
        "mean, after one arrow; before it; after the exact one. Over the square: cosine at equal steps "
        "over the whole figure, also where there are hardly any points; smallest and largest training.",
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
    path = [(round(x, 3), round(y, 3)) for x, y in curve[::4]]
    square = (-SIDE, SIDE)
    field = quiver(arrows, path, down="sigma", side="network", colour=COLOUR, ends=square)
    measures = lines(points, x="sigma", y="mean", ends=ends, line="network", side="measure")
    return Report.of(
        "The arrows of a denoising autoencoder",
        parts,
        {**parameters, "rows": rows},
        claims=_claims(scores),
        figures={"arrows.svg": field, "measures.svg": measures},
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


def _claims(scores: Sequence[ArrowScores]) -> list[Claim]:
    learnt, plain = (
        {networks.sigma: networks for networks in scores if networks.network == name}
        for name in (DENOISING, ORDINARY)
    )
    alike = {sigma: mean_interval(networks.cosine) for sigma, networks in learnt.items()}

    def changes(a: Mapping[float, Array], b: Mapping[float, Array]) -> dict[str, Interval]:
        return {f"{sigma:g}:": paired_difference(a[sigma], b[sigma])[0] for sigma in b}

    cosine, error, distance = (
        {sigma: getattr(networks, name) for sigma, networks in learnt.items()}
        for name in ("cosine", "error", "distance")
    )
    before = {s: np.broadcast_to(learnt[s].before, after.shape) for s, after in distance.items()}
    smaller = {b: error[a] for a, b in itertools.pairwise(sorted(learnt))}
    falls = partial(interval_claim, sign=-1, digits=3)
    statement = f"the denoiser's arrows have a mean cosine above {_ALIKE:g} with the exact"
    return [
        Claim(
            f"at every sigma {statement}",
            tuple(f"{sigma:g}: {interval_text(i, digits=3)}" for sigma, i in alike.items()),
            all(interval.low > _ALIKE for interval in alike.values()),
        ),
        interval_claim(
            "at every sigma that cosine is above the ordinary autoencoder's: difference",
            changes(cosine, {sigma: networks.cosine for sigma, networks in plain.items()}),
            digits=3,
        ),
        falls(
            "at every sigma the error of its arrows is below the ordinary autoencoder's: difference",
            changes(error, {sigma: networks.error for sigma, networks in plain.items()}),
        ),
        falls(
            "one learnt arrow brings points nearer to the curve: change of the mean distance",
            changes(distance, before),
        ),
        falls(
            "the error of the denoiser's arrows falls with each larger sigma: change from the one before",
            changes(error, smaller),
        ),
    ]
