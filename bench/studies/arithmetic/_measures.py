"""Vector arithmetic with codes: differences of mean codes, and what a judge sees after they are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.images import ArrayImages, Delivery
from bench.data.samples import Array, DataSet
from bench.datasets import sprites
from bench.encoders.base import Encoder
from bench.encoders.controls.supervised import Supervised
from bench.running.features import images_of
from bench.seeding import generator
from bench.studies.parts.fits import sampled_rows
from bench.studies.parts.samples import in_chunks

FACTORS = ("shape", "colour", "size", "texture", "dot")
HIT, PRESERVED, ANALOGY = range(3)


def means(codes: Tensor, classes: Array, count: int) -> Tensor:
    """Mean code of each of `count` classes (k, d), of codes (n, d); each class has an image."""
    groups = [codes[torch.from_numpy(classes == c)].double() for c in range(count)]
    return torch.stack([group.mean(dim=0) for group in groups]).to(codes.dtype)


def other_classes(classes: Array, count: int, rng: np.random.Generator) -> Array:
    """Another class for each of classes (n,), uniformly drawn."""
    return np.asarray((classes + rng.integers(1, count, len(classes))) % count)


def random_directions(shifts: Tensor, noise: torch.Generator) -> Tensor:
    """Vectors (n, d) of the lengths of shifts (n, d), in directions drawn uniformly."""
    return _as_long(torch.randn(shifts.shape, generator=noise), shifts)


def between(bank: Tensor, shifts: Tensor, noise: torch.Generator) -> Tensor:
    """Vectors (n, d) of the lengths of shifts (n, d), each from one random row of bank (m, d) to another:
    they lie along the directions in which codes differ."""
    pairs = torch.stack([torch.randperm(len(bank), generator=noise)[:2] for _ in shifts])
    return _as_long(bank[pairs[:, 0]] - bank[pairs[:, 1]], shifts)


def _as_long(vectors: Tensor, shifts: Tensor) -> Tensor:
    """Vectors (n, d) rescaled to the lengths of shifts (n, d)."""
    lengths = torch.linalg.norm(vectors, dim=1, keepdim=True).clamp(min=1e-12)
    return torch.mul(vectors / lengths, torch.linalg.norm(shifts, dim=1, keepdim=True))


def scores(
    seen: Mapping[str, Array], before: Mapping[str, Array], factor: str, goal: Array
) -> Array:
    """Scores (3, n) in [0, 1] of what is `seen` of each factor, beside what was seen before; `goal` is the
    class (n,) that `factor` is to have.

    HIT: is the goal seen, and was not before? PRESERVED: the share of the other factors that are seen
    as before. ANALOGY: are both so, for all of these? No change has 0, 1 and 0.
    """
    hit = (seen[factor] == goal) & (before[factor] != goal)
    same = np.stack([seen[name] == before[name] for name in seen if name != factor])
    return np.stack([hit, same.mean(axis=0), hit & same.all(axis=0)])


@torch.inference_mode()
def verdicts(judge: Supervised, images: Tensor) -> dict[str, Array]:
    """The class (n,) that the judge sees in images (n, c, 32, 32), cut to [0, 1], by each of its targets
    that has classes."""
    codes = in_chunks(lambda chunk: judge.taps(chunk)["code"], images.clamp(0, 1))
    by_target: dict[str, Array] = {}
    for head, (name, target) in zip(judge.heads.heads, judge.heads.targets.items(), strict=True):
        if target.kind == "classes":
            by_target[name] = in_chunks(head, codes).argmax(dim=1).cpu().numpy()
    return by_target


@dataclass(frozen=True, slots=True, eq=False)
class FactorImages:
    """The images that all encoders are measured with: training images with the classes of each factor;
    sources with their classes; the goal for each factor; and the sources drawn anew with that goal."""

    train: ArrayImages
    train_classes: Mapping[str, Array]
    classes: Mapping[str, Array]
    sources: ArrayImages
    goals: Mapping[str, Array]
    changed: Mapping[str, ArrayImages]
    sizes: Mapping[str, int]
    judge: Supervised

    @classmethod
    def of(cls, dataset: DataSet, judge: Supervised, count: int) -> FactorImages:
        train, val = dataset.split("train"), dataset.split("val")
        rows = sampled_rows(len(val), count, seed=0, purpose="arithmetic:sources")
        # The same stream that the split was drawn from, hence the same sprites, with all their factors.
        split = sprites.sample(sprites.ROWS["val"], seed=0, split="val")
        drawn = replace(split, **{f.name: getattr(split, f.name)[rows] for f in fields(split)})
        sizes = {name: dataset.meta.targets[name].size for name in FACTORS}
        goals = {
            name: other_classes(getattr(drawn, name), size, generator(0, f"arithmetic:{name}"))
            for name, size in sizes.items()
        }
        new = {name: replace(drawn, **{name: goal}) for name, goal in goals.items()}
        changed = {name: ArrayImages(sprites.draw(sprite)) for name, sprite in new.items()}
        whole = images_of(train)
        return cls(
            train=ArrayImages(whole.read(np.arange(len(train)), whole.native)),
            train_classes={name: train.y[name] for name in FACTORS},
            classes={name: val.y[name][rows] for name in FACTORS},
            sources=ArrayImages(sprites.draw(drawn)),
            goals=goals,
            changed=changed,
            sizes=sizes,
            judge=judge,
        )


@dataclass(frozen=True, slots=True, eq=False)
class CodeReader:
    """Codes of one fitted encoder, and what is seen in codes: by the judge in their decodings; where
    the encoder does not decode, the factors of the training image with the nearest code."""

    data: FactorImages
    encoder: Encoder
    bank: Tensor  # codes of the training images (n, d)
    decodes: bool

    @classmethod
    @torch.inference_mode()
    def of(cls, data: FactorImages, encoder: Encoder) -> CodeReader:
        bank = _codes(encoder, data.train)
        decode: Any = getattr(encoder, "decode", None)
        # The judge sees images of one form alone.
        form = data.sources.array.shape[1:]
        decodes = decode is not None and decode(bank[:1].to(_device(encoder))).shape[1:] == form
        return cls(data, encoder, bank, decodes)

    def codes(self, images: ArrayImages) -> Tensor:
        return _codes(self.encoder, images)

    @torch.inference_mode()
    def images(self, codes: Tensor) -> Tensor:
        """Decoded codes (n, d), or the images of the nearest ones: (n, 3, 32, 32)."""
        if not self.decodes:
            return torch.from_numpy(self.data.train.array[self._nearest(codes)]).float() / 255
        decode: Any = self.encoder.decode
        device = _device(self.encoder)
        return in_chunks(lambda chunk: decode(chunk.to(device)).float().cpu(), codes)

    def see(self, codes: Tensor) -> Mapping[str, Array]:
        if self.decodes:
            return verdicts(self.data.judge, self.images(codes).to(_device(self.data.judge)))
        nearest = self._nearest(codes)
        return {name: classes[nearest] for name, classes in self.data.train_classes.items()}

    def shifts(self, factor: str) -> Tensor:
        """Mean code of the goal's class minus that of the source's class: (n, d)."""
        data = self.data
        centres = means(self.bank, data.train_classes[factor], data.sizes[factor])
        goals, classes = (torch.from_numpy(y[factor]) for y in (data.goals, data.classes))
        return torch.sub(centres[goals], centres[classes])

    def _nearest(self, codes: Tensor) -> Array:
        return np.asarray(in_chunks(lambda c: torch.cdist(c, self.bank).argmin(dim=1), codes))


@torch.inference_mode()
def _codes(encoder: Encoder, images: ArrayImages) -> Tensor:
    device, batches = _device(encoder), Delivery(images, encoder.input).batches(500)
    return torch.cat([encoder.taps(batch.to(device))["code"].cpu() for batch in batches])


def _device(encoder: Encoder) -> torch.device:
    state = encoder.state_dict().values()
    return next((tensor.device for tensor in state), torch.device("cpu"))
