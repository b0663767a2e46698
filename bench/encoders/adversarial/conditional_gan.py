"""Conditional GAN: both players are told the labels; the discriminator's features have seen them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from bench.data.images import Delivery
from bench.data.samples import SourceInfo, Target
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
from bench.encoders.parts.labels import as_tensors, pick
from bench.encoders.parts.training import compete
from bench.encoders.parts.trunk import conv_input
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1

Array = npt.NDArray[Any]
_SHOWN = 256  # labels of training images that are kept, to draw samples by


class ConditionalGAN(Encoder):
    """The game of `gan` between D(x, y) and G(z, y), y the labels of the images of the batch.

    Mirza and Osindero 2014 (arXiv:1411.1784). G gets an embedding of y beside z; D's logit is
    w.h + b + (V y).h of its trunk's features h (projection; Miyato and Koyama 2018,
    arXiv:1802.05637). A row without a label has y = 0, and plays the game without conditions.
    """

    uses_labels = True

    def __init__(
        self, source: SourceInfo, targets: Mapping[str, Target], loss: Game, play: Play
    ) -> None:
        super().__init__()
        self.input, self.play, self.targets = conv_input(source), play, dict(targets)
        self.loss = GENERATOR_LOSSES[loss]
        size = sum(target.size for target in targets.values())
        # The trunk first: the same start as that of every encoder that has it.
        self.discriminator = Discriminator(source.channels, play.width)
        self.generator = Generator(2 * play.latent, source.channels, play.width)
        self.embedding = nn.Linear(size, play.latent, bias=False)
        nn.init.normal_(self.embedding.weight)  # so that a class weighs as much as z
        self.projection = nn.Linear(size, self.discriminator.trunk.dim, bias=False)
        spectral_norm(self.projection)
        self.discriminator.normalised()
        self.shown: Tensor
        self.register_buffer("shown", torch.zeros(_SHOWN, size))
        self.dims = self.discriminator.dims

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.discriminator.taps(images)

    def stages(self) -> nn.Sequential:
        return self.discriminator.trunk.stages()

    def logits(self, images: Tensor, told: Tensor) -> Tensor:
        """The logit (n,) of each image being a real one of its conditions (n, m)."""
        features = self.discriminator.trunk(images)
        agreement: Tensor = (self.projection(told) * features).sum(dim=1)
        return self.discriminator.logits(features) + agreement

    def made(self, told: Tensor, noise: torch.Generator) -> Tensor:
        """A sample (n, c, 32, 32) in [0, 1] for each condition (n, m), z drawn by `noise`."""
        shape = (len(told), self.play.latent)
        latent = torch.randn(shape, generator=noise, device=noise.device)
        images: Tensor = self.generator(torch.cat([latent, self.embedding(told)], dim=1))
        return images

    def sample(self, count: int, *, seed: int, labels: Mapping[str, Array] | None = None) -> Tensor:
        """`count` samples (n, c, 32, 32) in [0, 1] with these labels, or with those of training images."""
        noise = self._noise(seed, "prior")
        if labels is None:
            rows = torch.randint(_SHOWN, (count,), generator=noise, device=noise.device)
            told = self.shown[rows]
        else:
            told = coded(self.targets, as_tensors(labels, noise.device))
        return self.made(told, noise)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """A step of D and one of G for each batch; fakes have the labels of the batch's images.

        Raises BenchError where no label of its targets is granted.
        """
        granted = {name: y for name, y in (labels or {}).items() if name in self.targets}
        if not any((y >= 0).any() for y in granted.values()):
            raise BenchError("conditional_gan needs labels, and no label of its targets is granted")
        noise = self._noise(seed, "latent")
        known = as_tensors(granted, noise.device)

        def told(rows: Array) -> Tensor:
            index = torch.from_numpy(rows)
            return coded(self.targets, {name: values[index] for name, values in known.items()})

        def doubt(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            y = told(rows)
            with torch.no_grad():
                fakes = self.made(y, noise)
            real, fake = self.logits(torch.cat([batch, fakes]), torch.cat([y, y])).chunk(2)
            return {"discriminator": discriminator_loss(real, fake)}

        def deceive(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            y = told(rows)
            return {"generator": self.loss(self.logits(self.made(y, noise), y))}

        judges, makers = [self.discriminator, self.projection], [self.generator, self.embedding]
        players = turns(judges, doubt, makers, deceive, play=self.play)
        report = compete(self, images, players, budget=budget, seed=seed, batch=self.play.batch)
        some = looked_at(images, seed)
        self.shown.copy_(told(np.resize(some, _SHOWN)))
        return replace(report, notes=self._signs(images.read(some), told(some), seed))

    @torch.inference_mode()
    def _signs(self, images: Tensor, told: Tensor, seed: int) -> dict[str, Any]:
        real = images.to(told.device)
        fake = self.made(told, self._noise(seed, "signs"))
        return signs(real, fake, (self.logits(real, told), self.logits(fake, told)))

    def _noise(self, seed: int, what: str) -> torch.Generator:
        return torch_generator(seed, what, self.shown.device)


def coded(targets: Mapping[str, Target], labels: Mapping[str, Tensor]) -> Tensor:
    """Labels of n rows as one vector a row (n, m): each class 0 or 1, yes 1, no -1; 0 where a label
    is missing or its target not granted."""
    some, parts = next(iter(labels.values())), list[Tensor]()
    for name, target in targets.items():
        if name not in labels:
            parts.append(some.new_zeros(len(some), target.size))
        elif target.kind == "classes":
            known = labels[name] >= 0
            ones = nn.functional.one_hot(labels[name].clamp(min=0), target.size)
            parts.append(ones * known[:, None])
        else:
            parts.append((2 * labels[name] - 1) * (labels[name] >= 0))
    return torch.cat(parts, dim=1).float()


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    target: str | None = None,
    loss: Literal["non_saturating", "minimax"] = "non_saturating",
    latent: int = 64,
    width: int = 16,
    rate: float = 8e-4,
    generator_rate: float = 1e-3,
    batch: int = 32,
) -> ConditionalGAN:
    """Conditions on one `target`, or on all that have classes or yes/no labels; sizes, the generator's
    `loss`, rates and `batch` as for `gan`.

    Raises BenchError for a target that the data have not or that is a number, and as `gan` does.
    """
    play = Play(latent=latent, width=width, rate=rate, generator_rate=generator_rate, batch=batch)
    found = pick(source.targets, target, "conditional_gan")
    targets = {name: each for name, each in found.items() if each.kind != "number"}
    if not targets:
        raise BenchError(
            "conditional_gan conditions on classes and yes/no labels, and of "
            f"{', '.join(found) or 'no targets'} none is that"
        )
    return ConditionalGAN(source, targets, loss, play.checked("conditional_gan"))
