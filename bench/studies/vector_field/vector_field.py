"""Does a denoising autoencoder learn the arrows towards the data? Beside the exact ones, in the plane."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from bench.digests import digest
from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.seeding import torch_generator
from bench.studies.base import Report, Setting, require
from bench.studies.parts.weights import trained
from bench.studies.vector_field._field import BATCH, RATE, PlaneCurve, cosines, network, train
from bench.studies.vector_field._report import (
    DENOISING,
    ORDINARY,
    ArrowPanel,
    ArrowScores,
    report,
)

REVISION = 1
KNOWN_AS = "studies/vector_field"  # its key in the revisions of records
WIDTH = 0.08  # of the band that data lie in, around the curve
SIDE = 5.2  # the square from -5.2 to 5.2 holds the curve, and room around it
DRAWN = 15  # arrows across a panel


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
    scores, panels = [], []
    for sigma in deviations:
        denoising = [fitted(sigma, seed) for seed in range(seeds)]
        noise = torch_generator(0, f"field:evaluation:{sigma:g}")
        x = curve.draw(points, noise)
        x = x + sigma * torch.randn(x.shape, generator=noise)
        for name, models in ((DENOISING, denoising), (ORDINARY, ordinary)):
            scores.append(_measured(curve, sigma, name, models, x))
        panels += _panels(curve, sigma, {DENOISING: denoising[0], ORDINARY: ordinary[0]})
    sizes = {"seeds": seeds, "steps": steps, "units": units, "points": points}
    parameters = {"sigmas": deviations, **sizes, "width": WIDTH}
    return report(scores, panels, curve.centres.tolist(), side=SIDE, parameters=parameters)


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
def _panels(curve: PlaneCurve, sigma: float, models: dict[str, nn.Module]) -> list[ArrowPanel]:
    """The exact arrows and those of each model over the square."""
    places = _square(DRAWN)
    exact = curve.arrows(places, sigma)
    learnt = {name: (model(places) - places).double() for name, model in models.items()}
    return [
        ArrowPanel(sigma, name, places.numpy(), arrows.numpy(), cosines(arrows, exact).numpy())
        for name, arrows in {"exact": exact, **learnt}.items()
    ]
