"""Conditional GAN: generator and discriminator get the labels; features of the discriminator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo, Target
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
from bench.encoders.parts.labels import as_tensors, pick
from bench.encoders.parts.trunk import conv_input
from bench.errors import BenchError

REVISION = 1

_SAMPLED = 256  # training images whose labels are stored as conditions for samples


class ConditionalGAN(AdversarialEncoder):
    """The objective of `gan` with D(x, y) and G(z, y), y the labels of the images of the batch.

    Mirza and Osindero 2014 (arXiv:1411.1784). G gets z and an embedding of y; D's logit is
    w.h + b + (V y).h of its trunk's features h (projection; Miyato and Koyama 2018,
    arXiv:1802.05637). y = 0 for a row without labels, which is the unconditional game.
    """

    uses_labels = True

    def __init__(
        self,
        source: SourceInfo,
        targets: Mapping[str, Target],
        loss: GeneratorLoss,
        settings: GameSettings,
    ) -> None:
        super().__init__()
        self.input, self.settings, self.targets = conv_input(source), settings, dict(targets)
        self.loss = GENERATOR_LOSSES[loss]
        size = sum(target.size for target in targets.values())
        # The trunk first: with equal seeds it starts like that of every other encoder.
        self.discriminator = Discriminator(source.channels, settings.width)
        self.generator = Generator(2 * settings.latent, source.channels, settings.width)
        self.embedding = nn.Linear(size, settings.latent, bias=False)
        nn.init.normal_(self.embedding.weight)  # so that a class weighs as much as z
        self.projection = nn.Linear(size, self.discriminator.trunk.dim, bias=False)
        spectral_norm(self.projection)
        self.discriminator.normalised()
        self.shown: Tensor
        self.register_buffer("shown", torch.zeros(_SAMPLED, size))
        self.dims = self.discriminator.dims

    def logits(self, images: Tensor, conditions: Tensor) -> Tensor:
        """Log-odds (n,) that images are real ones with these conditions (n, m)."""
        features = self.discriminator.trunk(images)
        agreement: Tensor = (self.projection(conditions) * features).sum(dim=1)
        return self.discriminator.logits(features) + agreement

    def generate(self, conditions: Tensor, noise: torch.Generator) -> Tensor:
        """A sample (n, c, 32, 32) in [0, 1] for each row of conditions (n, m), z drawn by `noise`."""
        shape = (len(conditions), self.settings.latent)
        latent = torch.randn(shape, generator=noise, device=noise.device)
        images: Tensor = self.generator(torch.cat([latent, self.embedding(conditions)], dim=1))
        return images

    def sample(self, count: int, *, seed: int, labels: Mapping[str, Array] | None = None) -> Tensor:
        """`count` samples (n, c, 32, 32) in [0, 1] with `labels`; None: with those of training images."""
        noise = self._noise(seed, "prior")
        if labels is None:
            rows = torch.randint(_SAMPLED, (count,), generator=noise, device=noise.device)
            conditions = self.shown[rows]
        else:
            conditions = label_codes(self.targets, as_tensors(labels, noise.device))
        return self.generate(conditions, noise)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """A step of D and one of G for each batch; samples get the labels of the batch's images.

        Raises BenchError where no label of its targets is granted.
        """
        granted = {name: y for name, y in (labels or {}).items() if name in self.targets}
        if not any((y >= 0).any() for y in granted.values()):
            raise BenchError(
                "conditional_gan needs labels, but no labels of its targets are granted"
            )
        noise = self._noise(seed, "latent")
        tensors = as_tensors(granted, noise.device)

        def conditions(rows: Array) -> Tensor:
            index = torch.from_numpy(rows)
            return label_codes(self.targets, {name: y[index] for name, y in tensors.items()})

        def discriminator_step(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            y = conditions(rows)
            with torch.no_grad():
                fakes = self.generate(y, noise)
            real, fake = self.logits(torch.cat([batch, fakes]), torch.cat([y, y])).chunk(2)
            return {"discriminator": discriminator_loss(real, fake)}

        def generator_step(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            y = conditions(rows)
            return {"generator": self.loss(self.logits(self.generate(y, noise), y))}

        d = [self.discriminator, self.projection], discriminator_step
        g = [self.generator, self.embedding], generator_step
        report = self._compete(images, d, g, budget=budget, seed=seed)
        rows = rows_for_notes(images, seed)
        self.shown.copy_(conditions(np.resize(rows, _SAMPLED)))
        return replace(report, notes=self._notes(images.read(rows), conditions(rows), seed))

    @torch.inference_mode()
    def _notes(self, images: Tensor, conditions: Tensor, seed: int) -> dict[str, Any]:
        real = images.to(conditions.device)
        fake = self.generate(conditions, self._noise(seed, "signs"))
        logits = self.logits(real, conditions), self.logits(fake, conditions)
        return collapse_signs(real, fake, logits)


def label_codes(targets: Mapping[str, Target], labels: Mapping[str, Tensor]) -> Tensor:
    """Labels of n rows as vectors (n, m): classes one-hot, yes 1 and no -1; 0 where a label is missing
    or its target is not granted."""
    example, parts = next(iter(labels.values())), list[Tensor]()
    for name, target in targets.items():
        if name not in labels:
            parts.append(example.new_zeros(len(example), target.size))
        elif target.kind == "classes":
            is_labelled = labels[name] >= 0
            ones = nn.functional.one_hot(labels[name].clamp(min=0), target.size)
            parts.append(ones * is_labelled[:, None])
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
    """`gan` with labels as conditions.

    target: the target whose labels are the conditions; None: all with classes or yes/no labels
    loss, latent, width, rate, generator_rate, batch: as for `gan`

    Raises BenchError for an unknown target and for a number, and as `gan` does.
    """
    settings = GameSettings(
        latent=latent, width=width, rate=rate, generator_rate=generator_rate, batch=batch
    )
    picked = pick(source.targets, target, "conditional_gan")
    targets = {name: target for name, target in picked.items() if target.kind != "number"}
    if not targets:
        raise BenchError(
            "conditional_gan needs a target with classes or yes/no labels; there is none among: "
            f"{', '.join(picked) or 'no targets'}"
        )
    return ConditionalGAN(source, targets, loss, settings.checked("conditional_gan"))
