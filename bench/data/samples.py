"""Types that all folders share: targets, samples of a split, and the data set that has them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from bench.data.images import Array as Array
from bench.data.images import Delivery, Images
from bench.errors import BenchError

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One thing to predict: one of `size` classes; `size` yes/no labels; `size` numbers.

    `names` has one name a class, label or number. `semantics` are the classes' signatures (classes,
    attributes), `unseen` the classes without training images: both for zero-shot tasks.
    """

    kind: Literal["classes", "binary", "number"]
    size: int
    names: tuple[str, ...]
    semantics: Array | None = None
    unseen: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A split. Labels by kind of target: classes int64 (n,), -1 where one is missing or not granted;
    binary int64 (n, size) of 0, 1, -1; number float32 (n, size), NaN where missing.

    `x` holds what the reader may see: a data set's own images (`Images`), or features (n, d), float32, of
    a data set that has no images; for a protocol images in the form of its trunk (`Delivery`), features
    (n, d) or activations (n, c, h, w), float32.
    `rows` is the identity (n,) of each row within its split, for pairing and audits.
    """

    x: Images | Delivery | Array
    y: Mapping[str, Array]
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Meta:
    """What a protocol may know of a task beside the samples; `flips`: may images be mirrored?"""

    targets: Mapping[str, Target]
    flips: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SourceInfo:
    """What an encoder's `build` may know of the images that it will be trained on.

    A data set of `features` has 1 x 1 x d numbers a row; what made them had seen `pretrained_on`.
    """

    channels: Literal[1, 3]
    height: int
    width: int
    targets: Mapping[str, Target]
    features: bool = False
    pretrained_on: tuple[str, ...] = ()


class DataSet(Protocol):
    """Images or features with labels in three splits; `datasets/*.py` have `build(*, root, **params)`."""

    @property
    def meta(self) -> Meta: ...
    @property
    def fingerprint(self) -> str:
        """Digest over the splits' images and labels."""
        ...

    @property
    def licence(self) -> str: ...
    @property
    def flips(self) -> bool:
        """May its images be mirrored without changing what they show?"""
        ...

    @property
    def test_in_train(self) -> int:
        """How many test images are also in train or val: pixel by pixel, or byte by byte where
        they stay in their files."""
        ...

    @property
    def pretrained_on(self) -> tuple[str, ...]:
        """Data sets seen by what made its features; not read where there are images."""
        ...

    def split(self, name: SplitName) -> Samples: ...


def missing(target: Target, labels: Array) -> Array:
    """Where a label is missing: bool, of the labels' shape."""
    result: Array = np.isnan(labels) if target.kind == "number" else labels < 0
    return result


def check_labels(where: str, targets: Mapping[str, Target], samples: Samples) -> None:
    """Raise BenchError unless every target's labels have its shape, type and range."""
    for name, target in targets.items():
        labels, n = samples.y[name], len(samples.rows)
        shape = (n,) if target.kind == "classes" else (n, target.size)
        dtype = np.float32 if target.kind == "number" else np.int64
        if labels.shape != shape or labels.dtype != dtype:
            raise BenchError(
                f"{where}: labels of {name!r} are {labels.dtype} {labels.shape}; "
                f"expected {np.dtype(dtype)} {shape}"
            )
        if target.kind == "number" or not labels.size:
            continue
        top = target.size - 1 if target.kind == "classes" else 1
        low, high = int(labels.min()), int(labels.max())
        if low < -1 or high > top:
            raise BenchError(
                f"{where}: labels of {name!r} run from {low} to {high}; 0 to {top}, or -1 for a "
                "missing one, is allowed"
            )


def among(labels: Array, classes: Collection[int]) -> Array:
    """Which labels (n,), -1 or more, are of these classes: bool (n,)."""
    named = np.zeros(int(max([-1, *classes])) + 2, bool)
    named[np.fromiter(classes, np.int64) + 1] = True
    belongs: Array = named[np.minimum(labels + 1, len(named) - 1)] & (labels + 1 < len(named))
    return belongs & (labels >= 0)
