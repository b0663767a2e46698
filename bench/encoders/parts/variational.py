"""What variational autoencoders share: a posterior, its two terms, and how its units are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.training import Loss, train
from bench.encoders.parts.trunk import ConvDecoder, ConvTrunk, conv_input
from bench.seeding import torch_generator

# No REVISION yet: these lines came out of vae.py, whose records they leave as they are. The first
# edit that moves numbers writes REVISION = 2 here.

Array = npt.NDArray[Any]
_USED = 0.01  # a unit is in use if the variance of its mean over images is above this
_LOOKED_AT = 5_000  # training images for the report


class Variational(Encoder):
    """q(z|x) = N(mu(x), diag sigma^2(x)), prior N(0, I), mean image decoder(z); mu is the code.

    Kingma and Welling 2014 (arXiv:1312.6114). `objective(model, seed)` gives the loss to train with.
    """

    def __init__(
        self, source: SourceInfo, *, code: int, width: int, rate: float, objective: Objective
    ) -> None:
        super().__init__()
        self.input, self.rate, self.objective = conv_input(source), rate, objective
        # Trunk, code and decoder in this order: the same start as the autoencoder's.
        self.trunk = ConvTrunk(source.channels, width)
        self.to_mean = nn.Linear(self.trunk.dim, code)
        self.decoder = ConvDecoder(code, source.channels, width)
        self.to_log_variance = nn.Linear(self.trunk.dim, code)
        self.dims = self.trunk.dims(code)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_mean)

    def stages(self) -> nn.Sequential:
        return self.trunk.stages()

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z|x): two of (n, d)."""
        trunk = self.trunk(images)
        # Beyond these the exponential leaves float32's useful range.
        return self.to_mean(trunk), self.to_log_variance(trunk).clamp(-20, 10)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, d) to the mean image (n, c, 32, 32), about in [0, 1] and not cut."""
        images: Tensor = self.decoder(codes)
        return images

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images (n, c, 32, 32) as the posterior mean keeps them."""
        return self.decode(self.to_mean(self.trunk(images)))

    def sample(self, count: int, *, seed: int) -> Tensor:
        """`count` mean images (n, c, 32, 32) of codes drawn from the prior."""
        return self.decode(from_prior(count, self, seed=seed))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Least loss of the objective, in nats an image. Its notes have the units in use."""
        loss = self.objective(self, seed)
        report = train(self, images, loss, budget=budget, seed=seed, rate=self.rate)
        return replace(report, notes=self._units(images))

    @torch.inference_mode()
    def _units(self, images: Delivery) -> dict[str, Any]:
        """How each unit of the code is used, over training images."""
        some = np.arange(min(len(images), _LOOKED_AT))
        means, divergences = [], []
        for chunk in np.array_split(some, max(1, len(some) // 500)):
            mean, log_variance = self.posterior(images.read(chunk).to(self.to_mean.weight.device))
            means.append(mean)
            divergences.append(divergence(mean, log_variance))
        variance = torch.cat(means).var(dim=0, correction=0)
        nats = torch.cat(divergences).mean(dim=0)
        used = int((variance > _USED).sum())
        return {
            "units_in_use": used,
            "collapsed": used < min(8, len(variance)),
            "divergence_by_unit": [round(value, 3) for value in nats.tolist()],
        }


Objective = Callable[[Variational, int], Loss]


def from_prior(count: int, model: Encoder, *, seed: int) -> Tensor:
    """`count` codes (n, d) of an encoder from N(0, I)."""
    device = next(model.parameters()).device
    noise = torch_generator(seed, "prior", device)
    return torch.randn((count, model.dims["code"]), generator=noise, device=device)


def posterior_noise(model: Variational, seed: int) -> torch.Generator:
    """The stream that codes are drawn with while training."""
    return torch_generator(seed, "posterior", model.to_mean.weight.device)


def drawn(mean: Tensor, log_variance: Tensor, noise: torch.Generator) -> Tensor:
    """One code (..., d) of each posterior, through which gradients flow to both of its parameters."""
    standard = torch.randn(mean.shape, generator=noise, device=mean.device)
    return mean + standard * (0.5 * log_variance).exp()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, element by element; never
    negative but by rounding."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def reconstruction(images: Tensor, rebuilt: Tensor) -> Tensor:
    """-log p(x|z) in nats an image (n, ...), under the one variance that makes the batch most likely:
    its mean squared error, so that no hidden weight stands between the terms of the bound.

    `rebuilt` (..., n, ...) may hold several draws of the batch; they are averaged over. Rybkin,
    Daniilidis and Levine 2021 (arXiv:2006.13202).
    """
    pixels = images[0].numel()
    variance = (rebuilt - images).square().mean()
    return 0.5 * pixels * (math.log(2 * math.pi) + 1 + variance.clamp(min=1e-10).log())


def code_moments(codes: Tensor) -> dict[str, Any]:
    """Codes (n, d) beside N(0, I), for a report: root mean square over units of their means (there 0)
    and of their correlations with each other (0), least and largest deviation (1)."""
    deviation, mean = torch.std_mean(codes, dim=0, correction=0)
    standard = (codes - mean) / deviation.clamp(min=1e-12)
    related = (standard.T @ standard / len(codes)).fill_diagonal_(0)
    pairs = max(1, related.numel() - len(related))
    return {
        "code_mean": float(f"{mean.square().mean().sqrt():.3g}"),
        "code_correlation": float(f"{(related.square().sum() / pairs).sqrt():.3g}"),
        "code_deviation": [float(f"{x:.3g}") for x in (deviation.min(), deviation.max())],
    }
