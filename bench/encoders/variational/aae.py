"""Adversarial autoencoder: a critic network drives the distribution of codes towards a Gaussian prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import FitReport
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.autoencoder import Autoencoder, squared_error
from bench.encoders.parts.training import noted_batches, train
from bench.encoders.parts.trunk import Sizes
from bench.encoders.parts.variational import code_moments, from_prior
from bench.seeding import torch_generator

REVISION = 1


class Critic(nn.Module):
    """Codes (n, d) to log-odds (n,) that they come from the prior, by two hidden layers of `units`."""

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
        log_odds: Tensor = self.layers(codes)
        return log_odds.squeeze(1)


def critic_loss(critic: nn.Module, codes: Tensor, prior: Tensor) -> Tensor:
    """Cross-entropy in nats of the critic, which classifies codes (n, d) and draws (n, d) of the prior.

    Gradients reach the critic alone. At the minimum the log-odds are log p(z) - log q(z).
    """
    of_codes, of_prior = critic(codes.detach()), critic(prior)
    softplus = nn.functional.softplus
    return 0.5 * (softplus(of_codes).mean() + softplus(-of_prior).mean())


def code_loss(critic: nn.Module, codes: Tensor) -> Tensor:
    """Cross-entropy in nats of codes (n, d) labelled as draws of the prior: the loss of the encoder.

    Gradients reach the codes alone. They do not vanish where the critic is certain (Goodfellow et al.
    2014, section 3); the fixed point is that of the zero-sum game.
    """
    frozen = {name: value.detach() for name, value in critic.named_parameters()}
    log_odds: Tensor = torch.func.functional_call(critic, frozen, (codes,))
    return nn.functional.softplus(-log_odds).mean()


def gradient_penalty(critic: nn.Module, prior: Tensor) -> Tensor:
    """Mean over draws z (n, d) of the prior of |d critic(z) / dz|^2.

    Half of it times a weight is the penalty R1 of Mescheder, Geiger and Nowozin 2018
    (arXiv:1801.04406), which prevents oscillation. Where codes and prior have one distribution the
    optimal critic has gradient 0.
    """
    draws = prior.detach().requires_grad_()
    [gradients] = torch.autograd.grad(critic(draws).sum(), draws, create_graph=True)
    return gradients.square().sum(dim=1).mean()


class AAE(Autoencoder):
    """An autoencoder with a critic of its codes, both trained together. Arguments as for `build`."""

    def __init__(
        self, source: SourceInfo, sizes: Sizes, *, weight: float, penalty: float, units: int
    ) -> None:
        super().__init__(source, "conv", sizes)
        self.weight, self.penalty = weight, penalty
        self.critic = Critic(sizes.code, units)

    def sample(self, count: int, *, seed: int) -> Tensor:
        """`count` images (n, c, 32, 32) of codes drawn from the prior."""
        return self.decode(from_prior(count, self, seed=seed))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Minimises the squared error + `weight` x `code_loss`, and at the same time the critic's loss.

        One optimiser suffices: no loss has gradients for the weights of both, and Adam scales the step
        of each weight separately.
        """
        noise = torch_generator(seed, "prior", next(self.parameters()).device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            codes = self.encode(batch)
            prior = torch.randn(codes.shape, generator=noise, device=codes.device).to(codes.dtype)
            return {
                "reconstruction": squared_error(self.decode(codes), batch),
                "deceiving": self.weight * code_loss(self.critic, codes),
                "telling": critic_loss(self.critic, codes, prior),
                "steepness": 0.5 * self.penalty * gradient_penalty(self.critic, prior),
            }

        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        return replace(report, notes=self._moments(images))

    @torch.inference_mode()
    def _moments(self, images: Delivery) -> dict[str, Any]:
        return code_moments(torch.cat([self.encode(x) for x in noted_batches(self, images)]))


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
    """Squared error + `weight` x the adversarial loss against a critic that classifies codes and draws of
    N(0, I). Each image has one code, without noise.

    weight: of the adversarial loss, 0 or more
    penalty: weight of the critic's gradient penalty R1, 0 or more
    units: in each of the critic's two hidden layers
    track, code, width, rate: as for `autoencoder`, with the same errors

    Makhzani, Shlens, Jaitly, Goodfellow and Frey 2016 (arXiv:1511.05644). Raises BenchError for a
    negative weight or penalty and fewer units than 1.
    """
    sizes = Sizes(code, width, rate).checked("aae")
    require_at_least(0, "aae", weight=weight, penalty=penalty)
    require_at_least(1, "aae", units=units)
    return AAE(source, sizes, weight=weight, penalty=penalty, units=units)
