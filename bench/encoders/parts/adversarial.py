"""What all adversarial encoders share: two networks, the losses of their game, signs of collapse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from bench.data.images import Delivery
from bench.encoders.parts.training import Loss, Player
from bench.encoders.parts.trunk import ConvDecoder, ConvTrunk, check_sizes
from bench.errors import BenchError
from bench.seeding import generator

REVISION = 1
KNOWN_AS = "encoders/_adversarial"  # its key in the revisions of records

Array = npt.NDArray[Any]
Game = Literal["non_saturating", "minimax"]
_BETAS = (0.5, 0.999)  # Radford, Metz and Chintala 2016, arXiv:1511.06434
_LOOKED_AT = 500  # training images for a report's notes, and as many samples
_NARROW = 0.2  # share of the images' spread below which samples count as collapsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """How a game is played: numbers that a sample is drawn from, maps of the first block, Adam's rates
    of D and of G, images a turn.

    Few images a turn: a budget counts images, and a game needs many turns.
    """

    latent: int
    width: int
    rate: float
    generator_rate: float
    batch: int

    def checked(self, name: str) -> Play:
        """Itself. Raises BenchError unless it can be played."""
        check_sizes(name, 1, self.width, self.rate)
        if not self.generator_rate > 0:
            raise BenchError(
                f"{name},generator_rate={self.generator_rate:g}: a learning rate above 0 is wanted"
            )
        for key, value in (("latent", self.latent), ("batch", self.batch)):
            if value < 1:
                raise BenchError(f"{name},{key}={value}: 1 or more is wanted")
        return self


class Discriminator(nn.Module):
    """The common trunk and one linear logit, each layer divided by its largest singular value.

    Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957), by one step of power iteration each
    time that a layer is used in training mode. GroupNorm takes a convolution's scale away whatever it
    is, so that of one seed the features start as those of every other encoder with this trunk, but
    for rounding; what the norm bounds is how far the logit moves with the features.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.trunk = ConvTrunk(channels, width)
        self.head = nn.Linear(self.trunk.dim, 1)

    def normalised(self) -> Discriminator:
        """Itself, normalised from now on. Last in a build: its start draws numbers."""
        for block in self.trunk.blocks:
            assert isinstance(block, nn.Sequential)
            spectral_norm(block[0])
        spectral_norm(self.head)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """The logit (n,) of each image being a real one."""
        return self.logits(self.trunk(images))

    def logits(self, features: Tensor) -> Tensor:
        """The same of the trunk's features (n, d)."""
        logits: Tensor = self.head(features)[:, 0]
        return logits

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Levels `trunk` and `multi`: there is no code."""
        found = self.trunk.taps(images, nn.Identity())
        return {"trunk": found["trunk"], "multi": found["multi"]}

    @property
    def dims(self) -> Mapping[str, int]:
        sizes = self.trunk.dims(0)
        return {"trunk": sizes["trunk"], "multi": sizes["multi"]}


class Generator(nn.Module):
    """Latent numbers (n, d) to images (n, c, 32, 32) in [0, 1]: the common decoder, then tanh."""

    def __init__(self, latent: int, channels: int, width: int) -> None:
        super().__init__()
        self.decoder = ConvDecoder(latent, channels, width)

    def forward(self, latent: Tensor) -> Tensor:
        # Without the tanh no pixel is ever exactly black, and the discriminator sees just that.
        images: Tensor = ((2 * self.decoder(latent) - 1).tanh() + 1) / 2
        return images


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-(E log D(x) + E log(1 - D(G(z)))) in nats, of logits (n,): what D makes least.

    Goodfellow et al. 2014, arXiv:1406.2661; at the best D it is log 4 - 2 JSD(p, p_G).
    """
    return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()


def minimax(fake: Tensor) -> Tensor:
    """E log(1 - D(G(z))) in nats, of logits (n,): G's part of the game in which what one player wins
    the other loses; its slope vanishes where D is sure."""
    return -nn.functional.softplus(fake).mean()


def non_saturating(fake: Tensor) -> Tensor:
    """-E log D(G(z)) in nats, of logits (n,): the same fixed point, with a slope where D is sure."""
    return nn.functional.softplus(-fake).mean()


GENERATOR_LOSSES: Mapping[Game, Callable[[Tensor], Tensor]] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
}


def turns(
    discriminator: Iterable[nn.Module],
    doubt: Loss,
    generator: Iterable[nn.Module],
    deceive: Loss,
    *,
    play: Play,
) -> list[Player]:
    """The two players of `compete`: D with the loss `doubt`, then G with `deceive`.

    On G's turn D's modules are in eval mode: it makes no step of power iteration either.
    """
    judges, makers = list(discriminator), list(generator)

    def turn(loss: Loss, judging: bool) -> Loss:
        def played(batch: Tensor, rows: Array) -> Mapping[str, Tensor]:
            for module in judges:
                module.train(judging)
            return loss(batch, rows)

        return played

    return [
        Player([p for m in judges for p in m.parameters()], turn(doubt, True), play.rate, _BETAS),
        Player(
            [p for m in makers for p in m.parameters()],
            turn(deceive, False),
            play.generator_rate,
            _BETAS,
        ),
    ]


def looked_at(images: Delivery, seed: int) -> Array:
    """Numbers of the training images that a report's notes are about: some of them, in any order."""
    return generator(seed, "looked at").permutation(len(images))[:_LOOKED_AT]


def signs(real: Tensor, fake: Tensor, logits: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """How the game stands, of images and as many samples (n, c, h, w) and their logits (n,).

    `real_accuracy`, `fake_accuracy`: shares that D judges rightly, 1/2 where G has won. `spread`: the
    samples' total variance over that of the images, small where all samples look alike. `nearest`:
    the median distance to the next sample over that to the next image, small where samples are a few
    pictures again and again. `collapsed`: one of these two is below a fifth.
    """
    shares = {"spread": _ratio(_variance, fake, real), "nearest": _ratio(_nearest, fake, real)}
    return {
        "real_accuracy": round(float((logits[0] > 0).float().mean()), 4),
        "fake_accuracy": round(float((logits[1] < 0).float().mean()), 4),
        **{name: None if share is None else round(share, 4) for name, share in shares.items()},
        "collapsed": any(share is not None and share < _NARROW for share in shares.values()),
    }


def _ratio(measure: Callable[[Tensor], float], fake: Tensor, real: Tensor) -> float | None:
    """None where the images themselves have no spread, or there are fewer than two."""
    if len(real) < 2:
        return None
    whole = measure(real.flatten(1))
    return measure(fake.flatten(1)) / whole if whole > 0 else None


def _variance(points: Tensor) -> float:
    return float(points.var(dim=0, correction=0).sum())


def _nearest(points: Tensor) -> float:
    # Without matrix products, whose rounding hides the distance of points that are alike.
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return float(apart.fill_diagonal_(np.inf).amin(dim=1).quantile(0.5))
