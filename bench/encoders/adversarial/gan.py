"""Generative adversarial network: features of the discriminator of real and generated images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import FitReport
from bench.encoders.parts.adversarial import (
    GENERATOR_LOSSES,
    AdversarialEncoder,
    Discriminator,
    GameSettings,
    Generator,
    GeneratorLoss,
    collapse_signs,
    discriminator_loss,
    rows_for_notes,
)
from bench.encoders.parts.trunk import conv_input

REVISION = 1


class GAN(AdversarialEncoder):
    """min_G max_D E log D(x) + E log(1 - D(G(z))), z ~ N(0, I); the features are those of D's trunk.

    Goodfellow et al. 2014 (arXiv:1406.2661). `multi`, every block pooled, is the representation of
    Radford, Metz and Chintala 2016 (arXiv:1511.06434). There is no code: one logit follows the trunk.
    """

    def __init__(self, source: SourceInfo, loss: GeneratorLoss, settings: GameSettings) -> None:
        super().__init__()
        self.input, self.settings = conv_input(source), settings
        self.loss = GENERATOR_LOSSES[loss]
        # The trunk first: with equal seeds it starts like that of every other encoder.
        self.discriminator = Discriminator(source.channels, settings.width)
        self.generator = Generator(settings.latent, source.channels, settings.width)
        self.discriminator.normalised()
        self.dims = self.discriminator.dims

    def generate(self, count: int, noise: torch.Generator) -> Tensor:
        """`count` samples (n, c, 32, 32) in [0, 1], z drawn by `noise`."""
        shape = (count, self.settings.latent)
        images: Tensor = self.generator(torch.randn(shape, generator=noise, device=noise.device))
        return images

    def sample(self, count: int, *, seed: int) -> Tensor:
        """`count` samples (n, c, 32, 32) in [0, 1]."""
        return self.generate(count, self._noise(seed, "prior"))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """A step of D and one of G for each batch of images, each with new samples."""
        noise = self._noise(seed, "latent")

        def discriminator_step(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            with torch.no_grad():
                fakes = self.generate(len(batch), noise)
            real, fake = self.discriminator(torch.cat([batch, fakes])).chunk(2)
            return {"discriminator": discriminator_loss(real, fake)}

        def generator_step(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            return {"generator": self.loss(self.discriminator(self.generate(len(batch), noise)))}

        d, g = ([self.discriminator], discriminator_step), ([self.generator], generator_step)
        report = self._compete(images, d, g, budget=budget, seed=seed)
        return replace(report, notes=self._notes(images, seed))

    @torch.inference_mode()
    def _notes(self, images: Delivery, seed: int) -> dict[str, Any]:
        noise = self._noise(seed, "signs")
        real = images.read(rows_for_notes(images, seed)).to(noise.device)
        fake = self.generate(len(real), noise)
        return collapse_signs(real, fake, (self.discriminator(real), self.discriminator(fake)))


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    loss: Literal["non_saturating", "minimax"] = "non_saturating",
    latent: int = 64,
    width: int = 16,
    rate: float = 8e-4,
    generator_rate: float = 1e-3,
    batch: int = 32,
) -> GAN:
    """Discriminator and generator mirror each other; Adam with beta_1 = 0.5.

    loss: of the generator, -log D(G(z)) or log(1 - D(G(z)))
    latent: dimension of z
    width: `width`, 2 `width`, 4 `width` maps in the blocks of the discriminator
    rate, generator_rate: Adam's learning rates
    batch: images a step, and as many samples

    Raises BenchError for a width that is not a multiple of 8, and for rates, a latent dimension or a
    batch that is not positive.
    """
    settings = GameSettings(
        latent=latent, width=width, rate=rate, generator_rate=generator_rate, batch=batch
    )
    return GAN(source, loss, settings.checked("gan"))
