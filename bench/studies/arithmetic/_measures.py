"""Vector arithmetic with codes: differences of mean codes, and what is seen after they are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.images import ArrayImages, Delivery
from bench.data.samples import DataSet
from bench.datasets import sprites
from bench.encoders.base import Encoder
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.labels import Heads
from bench.running.features import images_of
from bench.seeding import generator

__all__ = [
    "FACTORS",
    "Bench",
    "Reader",
    "Scores",
    "between",
    "means",
    "random_directions",
    "scores",
    "verdicts",
    "wanted",
]

Array = npt.NDArray[Any]
FACTORS = ("shape", "colour", "size", "texture", "dot")
_CHUNK = 500


def means(codes: Tensor, classes: Array, count: int) -> Tensor:
    """Mean code of each of `count` classes (k, d), of codes (n, d); each class has an image."""
    some = [codes[torch.from_numpy(classes == each)] for each in range(count)]
    centres: Tensor = torch.stack([each.double().mean(dim=0) for each in some]).to(codes.dtype)
    return centres


def wanted(classes: Array, count: int, rng: np.random.Generator) -> Array:
    """Another class for each of classes (n,), each of the others as likely."""
    found: Array = (classes + rng.integers(1, count, len(classes))) % count
    return found


def random_directions(shifts: Tensor, noise: torch.Generator) -> Tensor:
    """Vectors (n, d) of the lengths of shifts (n, d), in directions drawn uniformly."""
    return _as_long(torch.randn(shifts.shape, generator=noise), shifts)


def between(bank: Tensor, shifts: Tensor, noise: torch.Generator) -> Tensor:
    """Vectors (n, d) of the lengths of shifts (n, d), each from one random row of bank (m, d) to another:
    they lie along the directions in which codes differ."""
    pairs = torch.stack([torch.randperm(len(bank), generator=noise)[:2] for _ in shifts])
    return _as_long(bank[pairs[:, 0]] - bank[pairs[:, 1]], shifts)


def _as_long(vectors: Tensor, shifts: Tensor) -> Tensor:
    """Vectors (n, d) cut or stretched to the lengths of shifts (n, d)."""
    lengths = vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    found: Tensor = vectors / lengths * shifts.norm(dim=1, keepdim=True)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Image by image (n,), in [0, 1]: is the wanted class seen, and was not before? The share of the
    other factors that are seen as before. Are both so, for all of these? No change has 0, 1 and 0."""

    hit: Array
    kept: Array
    analogy: Array


def scores(
    seen: Mapping[str, Array], before: Mapping[str, Array], factor: str, asked: Array
) -> Scores:
    """Scores of what is `seen` of each factor, beside what was seen before; `asked` is the class (n,)
    that `factor` is to have."""
    hit = (seen[factor] == asked) & (before[factor] != asked)
    same = np.stack([seen[name] == before[name] for name in seen if name != factor])
    analogy = hit & same.all(axis=0)
    return Scores(hit.astype(float), same.mean(axis=0), analogy.astype(float))


@torch.inference_mode()
def verdicts(judge: Supervised, images: Tensor) -> dict[str, Array]:
    """The class (n,) that the judge sees in images (n, c, 32, 32), cut to [0, 1], by each of its targets
    that has classes."""
    heads: Heads = judge.heads
    found: dict[str, list[Array]] = {}
    for each in torch.split(images.clamp(0, 1), _CHUNK):
        codes = judge.taps(each)["code"]
        for head, (name, target) in zip(heads.heads, heads.targets.items(), strict=True):
            if target.kind == "classes":
                found.setdefault(name, []).append(head(codes).argmax(dim=1).cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What all encoders are measured with: training images with the classes of each factor, and sources:
    classes, the images as drawn, and drawn anew with the value wanted of each factor."""

    train: ArrayImages
    train_classes: Mapping[str, Array]
    classes: Mapping[str, Array]
    sources: ArrayImages
    asked: Mapping[str, Array]
    changed: Mapping[str, ArrayImages]
    sizes: Mapping[str, int]
    judge: Supervised
    draws: int

    @classmethod
    def of(cls, dataset: DataSet, judge: Supervised, images: int, draws: int) -> Bench:
        train, val = dataset.split("train"), dataset.split("val")
        rows = np.sort(generator(0, "arithmetic:sources").permutation(len(val))[:images])
        # The same stream that the split was drawn from, hence the same sprites, with all their factors.
        drawn = sprites.sample(sprites.ROWS["val"], seed=0, split="val")
        some = replace(drawn, **{f.name: getattr(drawn, f.name)[rows] for f in fields(drawn)})
        sizes = {name: dataset.meta.targets[name].size for name in FACTORS}
        asked = {
            name: wanted(getattr(some, name), sizes[name], generator(0, f"arithmetic:{name}"))
            for name in FACTORS
        }
        whole = images_of(train)
        return cls(
            train=ArrayImages(whole.read(np.arange(len(train)), whole.native)),
            train_classes={name: train.y[name] for name in FACTORS},
            classes={name: val.y[name][rows] for name in FACTORS},
            sources=ArrayImages(sprites.draw(some)),
            asked=asked,
            changed={
                name: ArrayImages(sprites.draw(replace(some, **{name: asked[name]})))
                for name in FACTORS
            },
            sizes=sizes,
            judge=judge,
            draws=draws,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Codes of one fitted encoder, and what is seen in codes: by the judge in what they decode to; where
    nothing decodes, the factors of the training image with the nearest code."""

    bench: Bench
    encoder: Encoder
    bank: Tensor  # codes of the training images (n, d)
    decodes: bool

    @classmethod
    @torch.inference_mode()
    def of(cls, bench: Bench, encoder: Encoder) -> Reader:
        bank = cls._codes(encoder, bench.train)
        decode: Any = getattr(encoder, "decode", None)
        # What decodes to images of another form has none that the judge could see.
        form = bench.sources.array.shape[1:]
        decodes = decode is not None and decode(bank[:1].to(_device(encoder))).shape[1:] == form
        return cls(bench, encoder, bank, decodes)

    @staticmethod
    @torch.inference_mode()
    def _codes(encoder: Encoder, images: ArrayImages) -> Tensor:
        device = _device(encoder)
        batches = Delivery(images, encoder.input).batches(500)
        return torch.cat([encoder.taps(each.to(device))["code"].cpu() for each in batches])

    def codes(self, images: ArrayImages) -> Tensor:
        return self._codes(self.encoder, images)

    @torch.inference_mode()
    def images(self, codes: Tensor) -> Tensor:
        """What codes (n, d) stand for: images (n, 3, 32, 32)."""
        if not self.decodes:
            return torch.from_numpy(self.bench.train.array[self._nearest(codes)]).float() / 255
        decode: Any = self.encoder.decode
        device = _device(self.encoder)
        return torch.cat(
            [decode(each.to(device)).float().cpu() for each in torch.split(codes, 500)]
        )

    def see(self, codes: Tensor) -> Mapping[str, Array]:
        if self.decodes:
            return verdicts(self.bench.judge, self.images(codes).to(_device(self.bench.judge)))
        nearest = self._nearest(codes)
        return {name: classes[nearest] for name, classes in self.bench.train_classes.items()}

    def _nearest(self, codes: Tensor) -> Array:
        parts = torch.split(codes, 500)
        found: Array = torch.cat(
            [torch.cdist(each, self.bank).argmin(dim=1) for each in parts]
        ).numpy()
        return found


def _device(encoder: Encoder) -> torch.device:
    state = encoder.state_dict().values()
    return next((each.device for each in state), torch.device("cpu"))
