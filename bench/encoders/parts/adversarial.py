"""What the GANs share: discriminator D and generator G, their losses, and signs of mode collapse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from bench.data.images import Delivery
from bench.data.samples import Array
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.arguments import require_at_least, require_positive
from bench.encoders.parts.training import Loss, Player, compete
from bench.encoders.parts.trunk import ConvDecoder, ConvTrunk, Sizes
from bench.seeding import generator, torch_generator

REVISION = 1
KNOWN_AS = "encoders/_adversarial"  # its key in the revisions of records

GeneratorLoss = Literal["non_saturating", "minimax"]
Side = tuple[Iterable[nn.Module], Loss]
_BETAS = (0.5, 0.999)  # Radford, Metz and Chintala 2016, arXiv:1511.06434
_NOTED = 500  # training images for a report's notes, and as many samples
_COLLAPSED = 0.2  # samples whose `spread` or `nearest` is below this count as collapsed


@dataclass(frozen=True, slots=True, kw_only=True)
class GameSettings:
    """Sizes and rates of a GAN."""

    latent: int  # dimension of the noise z that a sample is generated from
    width: int  # maps of the first block of D, and of the last of G
    rate: float  # Adam's learning rate for D
    generator_rate: float  # and for G
    batch: int  # images a step; small, since a budget counts images and a game needs many steps

    def checked(self, name: str) -> GameSettings:
        """Itself. Raises BenchError for values out of range, naming the encoder `name`."""
        Sizes(1, self.width, self.rate).checked(name)
        require_positive(name, generator_rate=self.generator_rate)
        require_at_least(1, name, latent=self.latent, batch=self.batch)
        return self


class Discriminator(nn.Module):
    """The common trunk and one linear logit, each layer divided by its largest singular value.

    Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957), by one step of power iteration each
    time that a layer is used in training mode. GroupNorm removes the scale of a convolution, so that
    with equal seeds the features before training equal those of the other encoders with this trunk, up
    to rounding; the normalisation bounds how much the logit changes with the features.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.trunk = ConvTrunk(channels, width)
        self.head = nn.Linear(self.trunk.dim, 1)

    def normalised(self) -> Discriminator:
        """Itself, with spectral normalisation added. To be called last in a build: it draws numbers."""
        for block in self.trunk.blocks:
            assert isinstance(block, nn.Sequential)
            spectral_norm(block[0])
        spectral_norm(self.head)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Log-odds (n,) that images (n, c, 32, 32) are real."""
        return self.logits(self.trunk(images))

    def logits(self, features: Tensor) -> Tensor:
        """Log-odds (n,) from the trunk's features (n, d)."""
        logits: Tensor = self.head(features)[:, 0]
        return logits

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Levels `trunk` and `multi`: there is no code."""
        features = self.trunk.taps(images, nn.Identity())
        return {"trunk": features["trunk"], "multi": features["multi"]}

    @property
    def dims(self) -> Mapping[str, int]:
        sizes = self.trunk.dims(0)
        return {"trunk": sizes["trunk"], "multi": sizes["multi"]}


class AdversarialEncoder(Encoder):
    """An encoder that reads out the trunk of a discriminator. A sub-class makes the networks."""

    discriminator: Discriminator
    settings: GameSettings

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.discriminator.taps(images)

    def stages(self) -> nn.Sequential:
        return self.discriminator.trunk.stages()

    def _noise(self, seed: int, purpose: str) -> torch.Generator:
        return torch_generator(seed, purpose, next(self.parameters()).device)

    def _compete(
        self, images: Delivery, discriminator: Side, generator: Side, *, budget: int, seed: int
    ) -> FitReport:
        """D and G, each by its modules and its loss, trained against each other."""
        game = players(*discriminator, *generator, settings=self.settings)
        return compete(self, images, game, budget=budget, seed=seed, batch=self.settings.batch)


class Generator(nn.Module):
    """Latent vectors (n, d) to images (n, c, 32, 32) in [0, 1]: the common decoder, then tanh."""

    def __init__(self, latent: int, channels: int, width: int) -> None:
        super().__init__()
        self.decoder = ConvDecoder(latent, channels, width)

    def forward(self, latent: Tensor) -> Tensor:
        # Without the tanh no pixel is exactly black, by which the discriminator could tell samples.
        images: Tensor = ((2 * self.decoder(latent) - 1).tanh() + 1) / 2
        return images


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-(E log D(x) + E log(1 - D(G(z)))) in nats, from logits (n,); D minimises it.

    Goodfellow et al. 2014, arXiv:1406.2661; for the optimal D it is log 4 - 2 JSD(p, p_G).
    """
    return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()


def minimax(fake: Tensor) -> Tensor:
    """E log(1 - D(G(z))) in nats, from logits (n,): G's loss in the zero-sum game; its gradient vanishes
    where D is certain."""
    return -nn.functional.softplus(fake).mean()


def non_saturating(fake: Tensor) -> Tensor:
    """-E log D(G(z)) in nats, from logits (n,): the same fixed point, and no vanishing gradient."""
    return nn.functional.softplus(-fake).mean()


GENERATOR_LOSSES: Mapping[GeneratorLoss, Callable[[Tensor], Tensor]] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
}


def players(
    discriminator: Iterable[nn.Module],
    discriminator_step: Loss,
    generator: Iterable[nn.Module],
    generator_step: Loss,
    *,
    settings: GameSettings,
) -> list[Player]:
    """The players for `compete`: first D, with the loss `discriminator_step`, then G. Each is trained
    on the parameters of its modules.

    In G's step D's modules are in eval mode, so that no power iteration updates them.
    """
    d_modules, g_modules = list(discriminator), list(generator)

    def in_mode(loss: Loss, training: bool) -> Loss:
        def switched(batch: Tensor, rows: Array) -> Mapping[str, Tensor]:
            for module in d_modules:
                module.train(training)
            return loss(batch, rows)

        return switched

    d_loss, g_loss = in_mode(discriminator_step, True), in_mode(generator_step, False)
    d_parameters = [p for m in d_modules for p in m.parameters()]
    g_parameters = [p for m in g_modules for p in m.parameters()]
    return [
        Player(d_parameters, d_loss, settings.rate, _BETAS),
        Player(g_parameters, g_loss, settings.generator_rate, _BETAS),
    ]


def rows_for_notes(images: Delivery, seed: int) -> Array:
    """Row numbers of up to 500 training images, at random, for a report's notes."""
    return generator(seed, "looked at").permutation(len(images))[:_NOTED]


def collapse_signs(real: Tensor, fake: Tensor, logits: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Notes on images and as many samples, (n, c, h, w) each, and the logits (n,) of both.

    `real_accuracy`, `fake_accuracy`: shares that D classifies correctly, 1/2 where G has won.
    `spread`: total variance of the samples / that of the images, small where all samples look alike.
    `nearest`: median distance from a sample to its nearest other one / the same of images, small where
    a few pictures are repeated. `collapsed`: one of these two is below 0.2.
    """
    ratios = {"spread": _ratio(_variance, fake, real), "nearest": _ratio(_nearest, fake, real)}
    return {
        "real_accuracy": round(float((logits[0] > 0).float().mean()), 4),
        "fake_accuracy": round(float((logits[1] < 0).float().mean()), 4),
        **{name: None if ratio is None else round(ratio, 4) for name, ratio in ratios.items()},
        "collapsed": any(ratio is not None and ratio < _COLLAPSED for ratio in ratios.values()),
    }


def _ratio(measure: Callable[[Tensor], float], fake: Tensor, real: Tensor) -> float | None:
    """measure(fake) / measure(real); None where that divides by 0, or for fewer than two images."""
    if len(real) < 2:
        return None
    reference = measure(real.flatten(1))
    return measure(fake.flatten(1)) / reference if reference > 0 else None


def _variance(points: Tensor) -> float:
    return float(points.var(dim=0, correction=0).sum())


def _nearest(points: Tensor) -> float:
    # Without matrix products, whose rounding error would exceed small distances.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances.fill_diagonal_(np.inf).amin(dim=1).quantile(0.5))
