"""Variational autoencoder: a code with a prior; its posterior mean is read out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data import SourceInfo
from bench.encoders._training import train
from bench.encoders._trunk import ConvDecoder, ConvTrunk, check_sizes, conv_input
from bench.encoders.base import Encoder, FitReport
from bench.errors import BenchError
from bench.images import Delivery
from bench.seeding import torch_generator

REVISION = 1

Array = npt.NDArray[Any]
_USED = 0.01  # a unit is in use if the variance of its mean over images is above this
_LOOKED_AT = 5_000  # training images for the report


class VAE(Encoder):
    """q(z|x) = N(mu(x), diag sigma^2(x)), prior N(0, I), p(x|z) = N(decoder(z), s^2 I).

    Kingma and Welling 2014 (arXiv:1312.6114); `beta` weighs the divergence (Higgins et al. 2017).
    s^2 is the one that makes each batch most likely, its mean squared error, so that no hidden
    weight stands between the two terms (Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202).
    """

    def __init__(self, source: SourceInfo, code: int, width: int, beta: float, rate: float) -> None:
        super().__init__()
        self.input, self.beta, self.rate = conv_input(source), beta, rate
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
        device = self.to_mean.weight.device
        shape = (count, self.dims["code"])
        codes = torch.randn(shape, generator=torch_generator(seed, "prior", device), device=device)
        return self.decode(codes)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Least negative evidence bound, in nats an image. Its notes have the units in use."""
        noise = torch_generator(seed, "posterior", self.to_mean.weight.device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            mean, log_variance = self.posterior(batch)
            drawn = torch.randn(mean.shape, generator=noise, device=mean.device)
            rebuilt = self.decode(mean + drawn * (0.5 * log_variance).exp())
            return {
                "reconstruction": reconstruction(batch, rebuilt),
                "divergence": self.beta * divergence(mean, log_variance).sum(dim=1).mean(),
            }

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


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, element by element; never
    negative but by rounding."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def reconstruction(images: Tensor, rebuilt: Tensor) -> Tensor:
    """-log p(x|z) in nats an image, under the variance that makes the batch most likely."""
    pixels = images[0].numel()
    variance = (rebuilt - images).square().mean()
    return 0.5 * pixels * (math.log(2 * math.pi) + 1 + variance.clamp(min=1e-10).log())


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    code: int = 64,
    width: int = 16,
    beta: float = 1.0,
    rate: float = 1e-3,
) -> VAE:
    """A code of `code` numbers on a trunk of `width`, 2 `width`, 4 `width` maps; Adam's `rate`.

    Raises BenchError for a code below 1, a width that is no multiple of 8, a negative beta.
    """
    check_sizes("vae", code, width, rate)
    if beta < 0:
        raise BenchError(f"vae,beta={beta}: a weight of 0 or more is wanted")
    return VAE(source, code, width, beta, rate)
