"""InfoGAN: the generator gets a code, and a network that recovers it from images gives the features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import FitReport
from bench.encoders.parts.adversarial import (
    AdversarialEncoder,
    Discriminator,
    GameSettings,
    Generator,
    collapse_signs,
    discriminator_loss,
    non_saturating,
    rows_for_notes,
)
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.trunk import conv_input

REVISION = 1

_HIDDEN = 128


class GeneratorInput(NamedTuple):
    """Noise (n, d), a category int64 (n,) and numbers (n, m) in (-1, 1), from which G makes samples."""

    noise: Tensor
    category: Tensor
    numbers: Tensor


class CodePosterior(NamedTuple):
    """Q(c|x): log-probabilities (n, k) of the categories, mean and log-variance (n, m) of the numbers."""

    categories: Tensor
    mean: Tensor
    log_variance: Tensor


class InfoGAN(AdversarialEncoder):
    """The objective of `gan` with a code c beside the noise z, less L_I(G, Q) = E log Q(c|G(z, c)) +
    H(c): a lower bound of the mutual information of c and the sample, maximised by G, Q and D's trunk.

    Chen et al. 2016 (arXiv:1606.03657). c is a category, uniformly distributed, and numbers uniform on
    (-1, 1). Q is two layers on D's trunk. Level `code`: log-probabilities of the categories, an
    unsupervised classification, then the means of the numbers.
    """

    def __init__(
        self,
        source: SourceInfo,
        categories: int,
        numbers: int,
        weights: tuple[float, float],
        settings: GameSettings,
    ) -> None:
        super().__init__()
        self.input, self.settings, self.weights = conv_input(source), settings, weights
        self.categories, self.numbers = categories, numbers
        # The trunk first: with equal seeds it starts like that of every other encoder.
        self.discriminator = Discriminator(source.channels, settings.width)
        self.generator = Generator(
            settings.latent + categories + numbers, source.channels, settings.width
        )
        self.reader = nn.Sequential(
            nn.Linear(self.discriminator.trunk.dim, _HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(_HIDDEN, categories + 2 * numbers),
        )
        self.discriminator.normalised()
        self.dims = self.discriminator.trunk.dims(categories + numbers)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        features = self.discriminator.trunk.taps(images, nn.Identity())
        posterior = self.posterior(features["trunk"])
        return {**features, "code": torch.cat([posterior.categories, posterior.mean], dim=1)}

    def posterior(self, features: Tensor) -> CodePosterior:
        """Q(c|x) from the trunk's features (n, d)."""
        k, m = self.categories, self.numbers
        logits, mean, log_variance = self.reader(features).split([k, m, m], dim=1)
        # The information of a continuous number is unbounded but for this limit of the variance.
        return CodePosterior(logits.log_softmax(dim=1), mean, log_variance.clamp(-8, 4))

    def draw(self, count: int, noise: torch.Generator) -> GeneratorInput:
        """Random inputs of the generator for `count` samples."""
        device = noise.device
        return GeneratorInput(
            torch.randn(count, self.settings.latent, generator=noise, device=device),
            torch.randint(self.categories, (count,), generator=noise, device=device),
            2 * torch.rand(count, self.numbers, generator=noise, device=device) - 1,
        )

    def generate(self, drawn: GeneratorInput) -> Tensor:
        """Samples (n, c, 32, 32) in [0, 1]."""
        category = nn.functional.one_hot(drawn.category, self.categories).float()
        images: Tensor = self.generator(torch.cat([drawn.noise, category, drawn.numbers], dim=1))
        return images

    def sample(self, count: int, *, seed: int, category: int | None = None) -> Tensor:
        """`count` samples (n, c, 32, 32) in [0, 1], of one `category`; None: of random ones."""
        drawn = self.draw(count, self._noise(seed, "prior"))
        if category is not None:
            drawn = drawn._replace(category=torch.full_like(drawn.category, category))
        return self.generate(drawn)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """A step of D and Q and one of G for each batch of images; each minimises its loss of `gan`
        less the weighted information."""
        noise = self._noise(seed, "latent")

        def discriminator_step(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            drawn = self.draw(len(batch), noise)
            with torch.no_grad():
                fakes = self.generate(drawn)
            features = self.discriminator.trunk(torch.cat([batch, fakes]))
            real, fake = self.discriminator.logits(features).chunk(2)
            categories, numbers = self._losses(features[len(batch) :], drawn)
            return {
                "discriminator": discriminator_loss(real, fake),
                "categories_q": categories,
                "numbers_q": numbers,
            }

        def generator_step(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            drawn = self.draw(len(batch), noise)
            features = self.discriminator.trunk(self.generate(drawn))
            categories, numbers = self._losses(features, drawn)
            return {
                "generator": non_saturating(self.discriminator.logits(features)),
                "categories_g": categories,
                "numbers_g": numbers,
            }

        d = [self.discriminator, self.reader], discriminator_step
        g = [self.generator], generator_step
        report = self._compete(images, d, g, budget=budget, seed=seed)
        return replace(report, notes=self._notes(images, seed))

    def _losses(self, features: Tensor, drawn: GeneratorInput) -> tuple[Tensor, Tensor]:
        """The negative weighted information of categories and of numbers."""
        q, (category_weight, number_weight) = self.posterior(features), self.weights
        return (
            -category_weight * category_information(q.categories, drawn.category),
            -number_weight * number_information(q.mean, q.log_variance, drawn.numbers),
        )

    @torch.inference_mode()
    def _notes(self, images: Delivery, seed: int) -> dict[str, Any]:
        """Signs of collapse; L_I of samples, in nats; the number of categories that Q uses for images,
        exp(entropy of its mean over images)."""
        noise = self._noise(seed, "signs")
        real = images.read(rows_for_notes(images, seed)).to(noise.device)
        drawn = self.draw(len(real), noise)
        fake = self.generate(drawn)
        of_real, of_fake = self.discriminator.trunk(real), self.discriminator.trunk(fake)
        logits = self.discriminator.logits(of_real), self.discriminator.logits(of_fake)
        q, share = self.posterior(of_fake), self.posterior(of_real).categories.exp().mean(dim=0)
        return collapse_signs(real, fake, logits) | {
            "information": {
                "categories": _rounded(category_information(q.categories, drawn.category)),
                "numbers": _rounded(number_information(q.mean, q.log_variance, drawn.numbers)),
            },
            "categories_in_use": _rounded(torch.special.entr(share).sum().exp()),
        }


def category_information(log_probabilities: Tensor, category: Tensor) -> Tensor:
    """E log Q(c|x) + H(c) in nats, of (n, k) and (n,), c uniform on k categories: at most log k."""
    expected = log_probabilities.gather(1, category[:, None]).mean()
    return expected + math.log(log_probabilities.shape[1])


def number_information(mean: Tensor, log_variance: Tensor, numbers: Tensor) -> Tensor:
    """E log Q(c|x) + H(c) in nats, summed over the m numbers of (n, m); each c is uniform on (-1, 1),
    and Q normal."""
    errors = (numbers - mean).square() / log_variance.exp()
    nats = -0.5 * (math.log(2 * math.pi) + log_variance + errors)
    return (nats + math.log(2)).sum(dim=1).mean()


def _rounded(value: Tensor) -> float:
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
    """`gan` with a code of one of `categories`, and of `numbers`.

    weight, numbers_weight: of the information of the category, and of the numbers
    latent: dimension of the noise beside the code
    width, rate, generator_rate, batch: as for `gan`

    Raises BenchError for fewer than two categories, a negative count of numbers, negative weights, and
    as `gan` does.
    """
    require_at_least(2, "infogan", categories=categories)
    require_at_least(0, "infogan", numbers=numbers, weight=weight, numbers_weight=numbers_weight)
    settings = GameSettings(
        latent=latent, width=width, rate=rate, generator_rate=generator_rate, batch=batch
    )
    weights = weight, numbers_weight
    return InfoGAN(source, categories, numbers, weights, settings.checked("infogan"))
