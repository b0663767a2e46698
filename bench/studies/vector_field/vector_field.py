"""Does a denoising autoencoder learn the arrows towards the data? Beside the exact ones, in the plane."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.digests import digest
from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.seeding import torch_generator
from bench.studies.base import Report, Setting
from bench.studies.parts.weights import trained
from bench.studies.vector_field._field import BATCH, RATE, Curve, cosines, network, train
from bench.studies.vector_field._report import DENOISING, ORDINARY, Arrows, Found, report

__all__ = ["run"]

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
    for name, value, least in (
        ("seeds", seeds, 2),
        ("points", points, 2),
        ("steps", steps, 1),
        ("units", units, 1),
    ):
        if value < least:
            raise BenchError(f"vector_field: {name}={value}; {least} or more is wanted")
    load_altair()
    curve = Curve.spiral(width=WIDTH)

    def fitted(sigma: float, seed: int) -> nn.Module:
        what = f"denoiser of the plane, sigma={sigma:g}, seed {seed}"
        setting.tell(f"{what}: training, or from the cache")
        model = network(units, seed)
        recipe = {
            "what": what,
            "seed": seed,
            "revision": REVISION,
            "sizes": [units, steps, BATCH, RATE, sigma],
            "curve": [WIDTH, digest(curve.centres.tolist())],
        }
        return trained(
            model,
            recipe,
            lambda: train(model, curve, sigma, steps=steps, seed=seed),
            setting.cache,
        )

    ordinary = [fitted(0.0, seed) for seed in range(seeds)]
    found, shown = [], []
    for sigma in deviations:
        denoising = [fitted(sigma, seed) for seed in range(seeds)]
        noise = torch_generator(0, f"field:evaluation:{sigma:g}")
        x = curve.draw(points, noise)
        x = x + sigma * torch.randn(x.shape, generator=noise)
        for name, models in ((DENOISING, denoising), (ORDINARY, ordinary)):
            found.append(_measured(curve, sigma, name, models, x))
        shown += _shown(curve, sigma, {DENOISING: denoising[0], ORDINARY: ordinary[0]})
    asked = {"sigmas": deviations, "seeds": seeds, "steps": steps, "units": units, "points": points}
    return report(found, shown, curve.centres.tolist(), side=SIDE, asked={**asked, "width": WIDTH})


def _deviations(text: str) -> list[float]:
    try:
        found = sorted({float(each) for each in text.split()})
    except ValueError:
        found = []
    if not found or not all(0 < each < float("inf") for each in found):
        raise BenchError(
            f"vector_field: sigmas={text!r}; numbers above 0 are wanted, a space between"
        )
    return found


@torch.no_grad()
def _measured(curve: Curve, sigma: float, name: str, models: list[nn.Module], x: Tensor) -> Found:
    """What networks make of points x (n, 2) of the data with noise, and of the square."""
    exact, square = curve.arrows(x, sigma), _square(41)
    exact_there = curve.arrows(square, sigma)
    arrows = [(model(x) - x).double() for model in models]
    there = [model(square) - square for model in models]
    size = exact.square().sum(dim=1).mean()
    off = [(a - exact).square().sum(dim=1) / size for a in arrows]
    return Found(
        sigma=sigma,
        name=name,
        cosine=torch.stack([cosines(a, exact) for a in arrows]).numpy(),
        error=torch.stack(off).numpy(),
        away=torch.stack([curve.distance(x + a) for a in arrows]).numpy(),
        before=curve.distance(x).numpy(),
        best=curve.distance(x + exact).numpy(),
        square=[float(cosines(a, exact_there).mean()) for a in there],
    )


def _square(across: int) -> Tensor:
    """Places (across^2, 2) at equal steps over the square of the figure, half a step from its sides."""
    steps = SIDE * (2 * (torch.arange(across) + 0.5) / across - 1)
    return torch.cartesian_prod(steps, steps)


@torch.no_grad()
def _shown(curve: Curve, sigma: float, models: dict[str, nn.Module]) -> list[Arrows]:
    """The exact arrows and those of each model over the square."""
    places = _square(DRAWN)
    exact = curve.arrows(places, sigma)
    learnt = {name: (model(places) - places).double() for name, model in models.items()}
    return [
        Arrows(sigma, name, places.numpy(), arrows.numpy(), cosines(arrows, exact).numpy())
        for name, arrows in {"exact": exact, **learnt}.items()
    ]
