"""Variational autoencoders are one class, with one likelihood and posterior; they differ in the objective.

The likelihood is N(decoder(z), s^2 I), with s^2 the value that maximises it on each batch. Thus `iwae`
with one sample, and `dfc_vae` with pixels as features, equal `vae` bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.training import Loss, noted_batches, train
from bench.encoders.parts.trunk import ConvDecoder, ConvTrunk, Sizes, conv_input
from bench.seeding import torch_generator

# No REVISION yet: these lines came out of vae.py, whose records they leave as they are. The first
# edit that moves numbers writes REVISION = 2 here.

_IN_USE = 0.01  # a unit is in use if the variance of its mean over images is above this


class Variational(Encoder):
    """q(z|x) = N(mu(x), diag sigma^2(x)), prior N(0, I), mean image decoder(z); mu is the code.

    Kingma and Welling 2014 (arXiv:1312.6114). `objective(model, seed)` gives the training loss.
    """

    def __init__(
        self, source: SourceInfo, sizes: Sizes, *, objective: VariationalObjective
    ) -> None:
        super().__init__()
        self.input, self.rate, self.objective = conv_input(source), sizes.rate, objective
        # Created in this order, so that equal seeds give the weights of an autoencoder.
        self.trunk = ConvTrunk(source.channels, sizes.width)
        self.to_mean = nn.Linear(self.trunk.dim, sizes.code)
        self.decoder = ConvDecoder(sizes.code, source.channels, sizes.width)
        self.to_log_variance = nn.Linear(self.trunk.dim, sizes.code)
        self.dims = self.trunk.dims(sizes.code)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_mean)

    def stages(self) -> nn.Sequential:
        return self.trunk.stages()

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), (n, d) each, of images (n, c, 32, 32)."""
        trunk = self.trunk(images)
        # Beyond these bounds the exponential is of no use in float32.
        return self.to_mean(trunk), self.to_log_variance(trunk).clamp(-20, 10)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, d) to mean images (n, c, 32, 32), about in [0, 1], not clipped."""
        images: Tensor = self.decoder(codes)
        return images

    def reconstruct(self, images: Tensor) -> Tensor:
        """The decoded posterior mean of images (n, c, 32, 32)."""
        return self.decode(self.to_mean(self.trunk(images)))

    def sample(self, count: int, *, seed: int) -> Tensor:
        """`count` mean images (n, c, 32, 32) of codes drawn from the prior."""
        return self.decode(from_prior(count, self, seed=seed))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Minimises the objective, in nats an image. The notes say how many units are in use."""
        loss = self.objective(self, seed)
        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        return replace(report, notes=self._units(images))

    @torch.inference_mode()
    def _units(self, images: Delivery) -> dict[str, Any]:
        """Number of units in use, whether the posterior has collapsed, KL divergence (nats) by unit."""
        means, divergences = [], []
        for batch in noted_batches(self, images):
            mean, log_variance = self.posterior(batch)
            means.append(mean)
            divergences.append(divergence(mean, log_variance))
        variance = torch.cat(means).var(dim=0, correction=0)
        nats = torch.cat(divergences).mean(dim=0)
        in_use = int((variance > _IN_USE).sum())
        return {
            "units_in_use": in_use,
            "collapsed": in_use < min(8, len(variance)),
            "divergence_by_unit": [round(value, 3) for value in nats.tolist()],
        }


VariationalObjective = Callable[[Variational, int], Loss]


def from_prior(count: int, model: Encoder, *, seed: int) -> Tensor:
    """`count` draws (n, d) from N(0, I), d the dimension of the model's code."""
    device = next(model.parameters()).device
    noise = torch_generator(seed, "prior", device)
    return torch.randn((count, model.dims["code"]), generator=noise, device=device)


def posterior_noise(model: Variational, seed: int) -> torch.Generator:
    """The random stream for codes drawn in training."""
    return torch_generator(seed, "posterior", model.to_mean.weight.device)


def drawn(mean: Tensor, log_variance: Tensor, noise: torch.Generator) -> Tensor:
    """mean + standard normal noise x deviation, a code (..., d) from each posterior. Differentiable."""
    standard = torch.randn(mean.shape, generator=noise, device=mean.device)
    return mean + standard * (0.5 * log_variance).exp()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, elementwise; >= 0 up to rounding."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def reconstruction(images: Tensor, rebuilt: Tensor) -> Tensor:
    """-log p(x|z), a scalar in nats an image: p / 2 (log(2 pi s^2) + 1), p pixels, s^2 the mean squared
    error. That s^2 maximises the likelihood of the batch, so no weight between the terms is to be set.

    images: (n, ...); rebuilt: the same, or several draws of it (..., n, ...), which are averaged.
    Rybkin, Daniilidis and Levine 2021 (arXiv:2006.13202).
    """
    pixels = images[0].numel()
    variance = (rebuilt - images).square().mean()
    return 0.5 * pixels * (math.log(2 * math.pi) + 1 + variance.clamp(min=1e-10).log())


def code_moments(codes: Tensor) -> dict[str, Any]:
    """Codes (n, d) compared with N(0, I), for a report: root mean square of the units' means (of N: 0)
    and of the correlations between units (0), smallest and largest standard deviation (1)."""
    deviation, mean = torch.std_mean(codes, dim=0, correction=0)
    standard = (codes - mean) / deviation.clamp(min=1e-12)
    correlations = (standard.T @ standard / len(codes)).fill_diagonal_(0)
    pairs = max(1, correlations.numel() - len(correlations))
    return {
        "code_mean": float(f"{mean.square().mean().sqrt():.3g}"),
        "code_correlation": float(f"{(correlations.square().sum() / pairs).sqrt():.3g}"),
        "code_deviation": [float(f"{x:.3g}") for x in (deviation.min(), deviation.max())],
    }
