"""Adversarial autoencoder: a critic is to tell its codes from a prior, and they are to deceive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.base import FitReport
from bench.encoders.parts.autoencoder import Autoencoder, some_batches, squared_error
from bench.encoders.parts.training import train
from bench.encoders.parts.trunk import check_sizes
from bench.encoders.parts.variational import code_moments, from_prior
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1

Array = npt.NDArray[Any]


class Critic(nn.Module):
    """Codes (n, d) to the log-odds (n,) that they come from the prior: two layers of hidden units."""

    def __init__(self, code: int, units: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(code, units),
            nn.LeakyReLU(0.2),
            nn.Linear(units, units),
            nn.LeakyReLU(0.2),
            nn.Linear(units, 1),
        )

    def forward(self, codes: Tensor) -> Tensor:
        odds: Tensor = self.layers(codes)
        return odds.squeeze(1)


def telling(critic: nn.Module, codes: Tensor, prior: Tensor) -> Tensor:
    """The critic's loss in nats: cross-entropy of codes (n, d) as such and draws (n, d) of the prior.

    Gradients reach the critic alone. At its best the log-odds are log p(z) - log q(z).
    """
    wrong, right = critic(codes.detach()), critic(prior)
    softplus = nn.functional.softplus
    return 0.5 * (softplus(wrong).mean() + softplus(-right).mean())


def deceiving(critic: nn.Module, codes: Tensor) -> Tensor:
    """The codes' loss in nats: cross-entropy of codes (n, d) as draws of the prior.

    Gradients reach the codes alone. It does not flatten where the critic is sure (Goodfellow et al.
    2014, section 3), and has the same fixed point as the zero-sum game.
    """
    held = {name: value.detach() for name, value in critic.named_parameters()}
    odds: Tensor = torch.func.functional_call(critic, held, (codes,))
    return nn.functional.softplus(-odds).mean()


def steepness(critic: nn.Module, prior: Tensor) -> Tensor:
    """Squared slope of the log-odds, averaged over draws (n, d) of the prior.

    Half of it, weighed, keeps the game from circling: Mescheder, Geiger and Nowozin 2018
    (arXiv:1801.04406), R1. Where the codes have the prior's law the best critic has no slope.
    """
    places = prior.detach().requires_grad_()
    [slopes] = torch.autograd.grad(critic(places).sum(), places, create_graph=True)
    return slopes.square().sum(dim=1).mean()


class AAE(Autoencoder):
    """An autoencoder with a critic of its codes, which steps beside it."""

    def __init__(
        self,
        source: SourceInfo,
        *,
        weight: float,
        penalty: float,
        units: int,
        code: int,
        width: int,
        rate: float,
    ) -> None:
        super().__init__(source, track="conv", code=code, width=width, rate=rate)
        self.weight, self.penalty = weight, penalty
        self.critic = Critic(code, units)

    def sample(self, count: int, *, seed: int) -> Tensor:
        """`count` images (n, c, 32, 32) of codes drawn from the prior."""
        return self.decode(from_prior(count, self, seed=seed))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Squared error and `weight` x what deceives the critic, which steps at the same time.

        One optimiser serves both: no gradient of one's loss reaches the other's weights, and Adam
        scales each weight's step on its own.
        """
        noise = torch_generator(seed, "prior", next(self.parameters()).device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            codes = self.encode(batch)
            prior = torch.randn(codes.shape, generator=noise, device=codes.device).to(codes.dtype)
            return {
                "reconstruction": squared_error(self.decode(codes), batch),
                "deceiving": self.weight * deceiving(self.critic, codes),
                "telling": telling(self.critic, codes, prior),
                "steepness": 0.5 * self.penalty * steepness(self.critic, prior),
            }

        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        return replace(report, notes=self._moments(images))

    @torch.inference_mode()
    def _moments(self, images: Delivery) -> dict[str, Any]:
        return code_moments(torch.cat([self.encode(x) for x in some_batches(self, images)]))


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    weight: float = 3.0,
    penalty: float = 0.5,
    units: int = 256,
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> AAE:
    """Squared error, and `weight` x how little its codes deceive a critic that is to tell them from
    draws of N(0, I), with two layers of `units` units; each image has one code, without noise.

    Makhzani, Shlens, Jaitly, Goodfellow and Frey 2016 (arXiv:1511.05644). Codes and critic step at the
    same time, its steepness weighed by `penalty`. Sizes and Adam's `rate` as for `autoencoder`.

    Raises BenchError for a negative weight or penalty, fewer units than 1, a code below 1, a width
    that is no multiple of 8.
    """
    check_sizes("aae", code, width, rate)
    for name, value in (("weight", weight), ("penalty", penalty)):
        if value < 0:
            raise BenchError(f"aae,{name}={value:g}: a weight of 0 or more is wanted")
    if units < 1:
        raise BenchError(f"aae,units={units}: 1 or more are wanted")
    return AAE(
        source,
        weight=weight,
        penalty=penalty,
        units=units,
        code=code,
        width=width,
        rate=rate,
    )
