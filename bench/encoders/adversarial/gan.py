"""Generative adversarial network: the discriminator's features, learnt by telling images from fakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.adversarial import (
    GENERATOR_LOSSES,
    Discriminator,
    Game,
    Generator,
    Play,
    discriminator_loss,
    looked_at,
    signs,
    turns,
)
from bench.encoders.parts.training import compete
from bench.encoders.parts.trunk import conv_input
from bench.seeding import torch_generator

REVISION = 1

Array = npt.NDArray[Any]


class GAN(Encoder):
    """min_G max_D E log D(x) + E log(1 - D(G(z))), z ~ N(0, I); D's trunk is what is read out.

    Goodfellow et al. 2014 (arXiv:1406.2661). `multi`, every block pooled, is the representation of
    Radford, Metz and Chintala 2016 (arXiv:1511.06434). There is no code: the trunk's features go into
    one logit.
    """

    def __init__(self, source: SourceInfo, loss: Game, play: Play) -> None:
        super().__init__()
        self.input, self.play = conv_input(source), play
        self.loss = GENERATOR_LOSSES[loss]
        # The trunk first: the same start as that of every encoder that has it.
        self.discriminator = Discriminator(source.channels, play.width)
        self.generator = Generator(play.latent, source.channels, play.width)
        self.discriminator.normalised()
        self.dims = self.discriminator.dims

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.discriminator.taps(images)

    def stages(self) -> nn.Sequential:
        return self.discriminator.trunk.stages()

    def made(self, count: int, noise: torch.Generator) -> Tensor:
        """Samples (n, c, 32, 32) in [0, 1] of latent numbers drawn by `noise`."""
        shape = (count, self.play.latent)
        images: Tensor = self.generator(torch.randn(shape, generator=noise, device=noise.device))
        return images

    def sample(self, count: int, *, seed: int) -> Tensor:
        """`count` samples (n, c, 32, 32) in [0, 1]."""
        return self.made(count, self._noise(seed, "prior"))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """A step of D and one of G for each batch of images; fakes are drawn anew for each."""
        noise = self._noise(seed, "latent")

        def doubt(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            with torch.no_grad():
                fakes = self.made(len(batch), noise)
            real, fake = self.discriminator(torch.cat([batch, fakes])).chunk(2)
            return {"discriminator": discriminator_loss(real, fake)}

        def deceive(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            return {"generator": self.loss(self.discriminator(self.made(len(batch), noise)))}

        players = turns([self.discriminator], doubt, [self.generator], deceive, play=self.play)
        report = compete(self, images, players, budget=budget, seed=seed, batch=self.play.batch)
        return replace(report, notes=self._signs(images, seed))

    @torch.inference_mode()
    def _signs(self, images: Delivery, seed: int) -> dict[str, Any]:
        noise = self._noise(seed, "signs")
        real = images.read(looked_at(images, seed)).to(noise.device)
        fake = self.made(len(real), noise)
        return signs(real, fake, (self.discriminator(real), self.discriminator(fake)))

    def _noise(self, seed: int, what: str) -> torch.Generator:
        return torch_generator(seed, what, next(self.parameters()).device)


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
    """Two trunks of `width`, 2 `width`, 4 `width` maps, one mirrored and fed with `latent` numbers; the
    generator's `loss`; Adam's `rate` and `generator_rate`, with a first moment that remembers half;
    `batch` images and as many fakes a turn.

    Raises BenchError for a width that is no multiple of 8, for rates, a latent dimension and a batch
    that are not positive.
    """
    play = Play(latent=latent, width=width, rate=rate, generator_rate=generator_rate, batch=batch)
    return GAN(source, loss, play.checked("gan"))
