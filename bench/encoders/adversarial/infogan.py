"""InfoGAN: the generator is told a code that can be read off its images; the reader is the code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.adversarial import (
    Discriminator,
    Generator,
    Play,
    discriminator_loss,
    looked_at,
    non_saturating,
    signs,
    turns,
)
from bench.encoders.parts.training import compete
from bench.encoders.parts.trunk import conv_input
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1

Array = npt.NDArray[Any]
_HIDDEN = 128


class Drawn(NamedTuple):
    """What samples are made of: noise (n, d), a category (n,), numbers (n, m) in (-1, 1)."""

    noise: Tensor
    category: Tensor
    numbers: Tensor


class Read(NamedTuple):
    """Q(c|x): log-probabilities (n, k) of the categories, mean and log-variance (n, m) of the numbers."""

    categories: Tensor
    mean: Tensor
    log_variance: Tensor


class InfoGAN(Encoder):
    """The game of `gan` with a code c beside the noise, and L_I(G, Q) = E log Q(c|G(z, c)) + H(c), a
    bound from below on the mutual information of c and the sample, made large by G, Q and D's trunk.

    Chen et al. 2016 (arXiv:1606.03657). c is a category, each as likely, and numbers uniform on
    (-1, 1). Q is two layers on D's trunk. Level `code`: log-probabilities of the categories, then the
    numbers' means; the first of them sort images into classes that no label has named.
    """

    def __init__(
        self,
        source: SourceInfo,
        categories: int,
        numbers: int,
        weights: tuple[float, float],
        play: Play,
    ) -> None:
        super().__init__()
        self.input, self.play, self.weights = conv_input(source), play, weights
        self.categories, self.numbers = categories, numbers
        # The trunk first: the same start as that of every encoder that has it.
        self.discriminator = Discriminator(source.channels, play.width)
        self.generator = Generator(play.latent + categories + numbers, source.channels, play.width)
        self.reader = nn.Sequential(
            nn.Linear(self.discriminator.trunk.dim, _HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(_HIDDEN, categories + 2 * numbers),
        )
        self.discriminator.normalised()
        self.dims = self.discriminator.trunk.dims(categories + numbers)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        found = self.discriminator.trunk.taps(images, nn.Identity())
        read = self.read(found["trunk"])
        return {**found, "code": torch.cat([read.categories, read.mean], dim=1)}

    def stages(self) -> nn.Sequential:
        return self.discriminator.trunk.stages()

    def read(self, features: Tensor) -> Read:
        """Q of the trunk's features (n, d)."""
        k, m = self.categories, self.numbers
        logits, mean, log_variance = self.reader(features).split([k, m, m], dim=1)
        # Numbers on a line can be told as finely as one likes: their information has no other bound.
        return Read(logits.log_softmax(dim=1), mean, log_variance.clamp(-8, 4))

    def drawn(self, count: int, noise: torch.Generator) -> Drawn:
        """What `count` samples are made of."""
        where = noise.device
        return Drawn(
            torch.randn(count, self.play.latent, generator=noise, device=where),
            torch.randint(self.categories, (count,), generator=noise, device=where),
            2 * torch.rand(count, self.numbers, generator=noise, device=where) - 1,
        )

    def made(self, drawn: Drawn) -> Tensor:
        """Samples (n, c, 32, 32) in [0, 1]."""
        category = nn.functional.one_hot(drawn.category, self.categories).float()
        images: Tensor = self.generator(torch.cat([drawn.noise, category, drawn.numbers], dim=1))
        return images

    def sample(self, count: int, *, seed: int, category: int | None = None) -> Tensor:
        """`count` samples (n, c, 32, 32) in [0, 1], of one category or of any."""
        drawn = self.drawn(count, self._noise(seed, "prior"))
        if category is not None:
            drawn = drawn._replace(category=torch.full_like(drawn.category, category))
        return self.made(drawn)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """A step of D and Q and one of G for each batch of images, each by its part of the game less
        the weighted information."""
        noise = self._noise(seed, "latent")

        def doubt(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            drawn = self.drawn(len(batch), noise)
            with torch.no_grad():
                fakes = self.made(drawn)
            features = self.discriminator.trunk(torch.cat([batch, fakes]))
            real, fake = self.discriminator.logits(features).chunk(2)
            categories, numbers = self._losses(features[len(batch) :], drawn)
            return {
                "discriminator": discriminator_loss(real, fake),
                "categories_q": categories,
                "numbers_q": numbers,
            }

        def deceive(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            drawn = self.drawn(len(batch), noise)
            features = self.discriminator.trunk(self.made(drawn))
            categories, numbers = self._losses(features, drawn)
            return {
                "generator": non_saturating(self.discriminator.logits(features)),
                "categories_g": categories,
                "numbers_g": numbers,
            }

        judges = [self.discriminator, self.reader]
        players = turns(judges, doubt, [self.generator], deceive, play=self.play)
        report = compete(self, images, players, budget=budget, seed=seed, batch=self.play.batch)
        return replace(report, notes=self._signs(images, seed))

    def _losses(self, features: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        found, (first, second) = self.read(features), self.weights
        return (
            -first * category_information(found.categories, drawn.category),
            -second * number_information(found.mean, found.log_variance, drawn.numbers),
        )

    @torch.inference_mode()
    def _signs(self, images: Delivery, seed: int) -> dict[str, Any]:
        """Signs of collapse; L_I in nats, of samples; how many categories Q uses for images: the
        exponential of its mean's entropy."""
        noise = self._noise(seed, "signs")
        real = images.read(looked_at(images, seed)).to(noise.device)
        drawn = self.drawn(len(real), noise)
        fake = self.made(drawn)
        of_real, of_fake = (self.discriminator.trunk(each) for each in (real, fake))
        logits = self.discriminator.logits(of_real), self.discriminator.logits(of_fake)
        found, share = self.read(of_fake), self.read(of_real).categories.exp().mean(dim=0)
        return signs(real, fake, logits) | {
            "information": {
                "categories": _short(category_information(found.categories, drawn.category)),
                "numbers": _short(
                    number_information(found.mean, found.log_variance, drawn.numbers)
                ),
            },
            "categories_in_use": _short(torch.special.entr(share).sum().exp()),
        }

    def _noise(self, seed: int, what: str) -> torch.Generator:
        return torch_generator(seed, what, next(self.parameters()).device)


def category_information(log_probabilities: Tensor, category: Tensor) -> Tensor:
    """E log Q(c|x) + H(c) in nats, of (n, k) and (n,), c uniform on k categories: at most log k."""
    told = log_probabilities.gather(1, category[:, None]).mean()
    return told + math.log(log_probabilities.shape[1])


def number_information(mean: Tensor, log_variance: Tensor, numbers: Tensor) -> Tensor:
    """E log Q(c|x) + H(c) in nats, summed over the m numbers of (n, m), each uniform on (-1, 1), and Q
    a normal density of each."""
    errors = (numbers - mean).square() / log_variance.exp()
    nats = -0.5 * (math.log(2 * math.pi) + log_variance + errors)
    return (nats + math.log(2)).sum(dim=1).mean()


def _short(value: Tensor) -> float:
    return float(f"{value.item():.4g}")


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    categories: int = 10,
    numbers: int = 2,
    weight: float = 1.0,
    numbers_weight: float = 0.1,
    latent: int = 62,
    width: int = 16,
    rate: float = 8e-4,
    generator_rate: float = 1e-3,
    batch: int = 32,
) -> InfoGAN:
    """A code of one of `categories`, whose information has `weight`, and `numbers` with
    `numbers_weight`, beside `latent` numbers of noise; sizes, rates and `batch` as for `gan`.

    Raises BenchError for less than two categories, less than no numbers, negative weights, and as
    `gan` does.
    """
    for key, value, least in (("categories", categories, 2), ("numbers", numbers, 0)):
        if value < least:
            raise BenchError(f"infogan,{key}={value}: {least} or more is wanted")
    for key, size in (("weight", weight), ("numbers_weight", numbers_weight)):
        if size < 0:
            raise BenchError(f"infogan,{key}={size:g}: a weight of 0 or more is wanted")
    play = Play(latent=latent, width=width, rate=rate, generator_rate=generator_rate, batch=batch)
    weights = weight, numbers_weight
    return InfoGAN(source, categories, numbers, weights, play.checked("infogan"))
