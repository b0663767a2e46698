"""Arrows of denoisers in the plane: a curve with a known density, the best denoiser, and learnt ones."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.seeding import seeded, stream, torch_generator

BATCH = 512
RATE = 5e-3


@dataclass(frozen=True, slots=True, eq=False)
class PlaneCurve:
    """Points of the plane around a curve: a mixture of equal Gaussians N(centre, width^2 I), its
    `centres` (k, 2) side by side on the curve."""

    centres: Tensor
    width: float

    @classmethod
    def spiral(cls, *, width: float, count: int = 400, turns: float = 1.75) -> PlaneCurve:
        """Archimedes' spiral from radius 1 to 4, its `count` centres at equal lengths of arc."""
        fine = torch.linspace(0, 1, 20_001, dtype=torch.float64)
        radius, angle = 1 + 3 * fine, 2 * math.pi * turns * fine
        line = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        lengths = (line[1:] - line[:-1]).norm(dim=1).cumsum(0)
        arc = (torch.arange(count, dtype=torch.float64) + 0.5) / count * lengths[-1]
        return cls(line[1:][torch.searchsorted(lengths, arc)], width)

    def draw(self, count: int, noise: torch.Generator) -> Tensor:
        """`count` points (n, 2), float32."""
        chosen = torch.randint(len(self.centres), (count,), generator=noise)
        spread = self.width * torch.randn((count, 2), generator=noise)
        return self.centres[chosen].float() + spread

    def arrows(self, points: Tensor, sigma: float) -> Tensor:
        """r*(x) - x (n, 2) of the denoiser with the least squared error under noise N(0, sigma^2 I),
        at points (n, 2), float64.

        It is sigma^2 times the gradient of the log density after that noise, at every sigma (Miyasawa
        1961; Vincent 2011, doi:10.1162/NECO_a_00142; for small sigma Alain and Bengio 2014,
        arXiv:1211.4246).
        """
        variance = self.width**2 + sigma**2
        shares = (-_squares(points, self.centres) / (2 * variance)).softmax(dim=1)
        return sigma**2 / variance * (shares @ self.centres - points.double())

    def distance(self, points: Tensor) -> Tensor:
        """How far points (n, 2) lie from the nearest centre: (n,), float64."""
        return _squares(points, self.centres).amin(dim=1).sqrt()


def _squares(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances (n, k) in float64, exactly: not through the product of both."""
    return (points.double()[:, None] - centres[None]).square().sum(dim=2)


def network(units: int, seed: int) -> nn.Module:
    """Points (n, 2) to points (n, 2), through three layers of `units`, started by the seed."""
    with seeded(stream(seed, "field:start")):
        sizes = (2, units, units, units)
        layers = [(nn.Linear(n, m), nn.SiLU()) for n, m in itertools.pairwise(sizes)]
        return nn.Sequential(*itertools.chain(*layers), nn.Linear(units, 2))


def train(model: nn.Module, curve: PlaneCurve, sigma: float, *, steps: int, seed: int) -> None:
    """Minimise |model(x + e) - x|^2 over points x of the curve and e from N(0, sigma^2 I); sigma = 0: an
    ordinary autoencoder.

    Every batch is drawn anew, the same clean points for all sigmas of one seed. Adam with a cosine to
    zero, as encoders have it.
    """
    clean, noise = (torch_generator(seed, f"field:{name}") for name in ("points", "noise"))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        points = curve.draw(BATCH, clean)
        moved = points + sigma * torch.randn(points.shape, generator=noise)
        loss = (model(moved) - points).square().sum(dim=1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def cosines(arrows: Tensor, others: Tensor) -> Tensor:
    """Cosines (n,) of arrows (n, 2) with others (n, 2); 0 where one has no length."""
    return nn.functional.cosine_similarity(arrows.double(), others.double(), dim=1)
