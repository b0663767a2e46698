"""Data sets of pairs: two images of one split, overlaid on one canvas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.data.images import ArrayImages
from bench.data.samples import SPLITS, Array, Meta, Samples, SplitName, Target
from bench.datasets.base import DataSets, SplitDataSet
from bench.errors import BenchError
from bench.seeding import generator

Construction = Literal["28", "36"]
SHARE = 5  # val and test each have 1 / SHARE as many pairs as train


@dataclass(frozen=True, slots=True)
class Canvas:
    """Geometry of two overlaid images, in pixels."""

    side: int  # of the canvas
    right: int  # top and left corner of the right image before moves; the left image starts at 0
    moves: int  # each image is moved down by 0 to `moves`, and independently to the right
    size: int  # side of the canvas after NEAREST resizing


# By the side of the images. Lengths for 8 pixels are 2/7 of those for 28, rounded, except in "36", where
# `side` and `right + moves`, 10.3 and 2.3, became 11 and 3: rounded, one pair in 16 would have both
# images in the same place.
CANVASES: Mapping[int, Mapping[Construction, Canvas]] = {
    28: {"28": Canvas(36, 6, 0, 28), "36": Canvas(36, 4, 4, 36)},
    8: {"28": Canvas(10, 2, 0, 8), "36": Canvas(11, 2, 1, 11)},
}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """n pairs, all int64."""

    left: Array  # (n,) row of the left image within its split
    right: Array  # (n,)
    left_at: Array  # (n, 2) its corner on the canvas, from the top and from the left
    right_at: Array  # (n, 2)


def build_pairs(
    name: str,
    *,
    root: Path,
    bases: tuple[str, str],
    construction: Construction,
    pairs: int,
    default: int,
    seed: int,
) -> SplitDataSet:
    """A data set of pairs of grey images, with the targets `left` and `right`.

    bases: data sets of the left and the right images; pairs of a split come from their same split
    construction: geometry, see `CANVASES`; with "36" pairs of one data set have different classes
    pairs: number in train; val and test have a fifth each
    default: of `pairs`, which the name leaves out
    seed: each split has a stream of its own, "`name`:train" and so on

    Never mirrored: that would move the left image to the top right, where it never is. Raises BenchError
    for too few pairs; Declined where a base is missing.
    """
    if pairs < SHARE:
        raise BenchError(f"pairs={pairs}: must be {SHARE} or more, so that test has one")
    datasets = DataSets(root)
    left, right = (datasets(base) for base in bases)
    images: dict[SplitName, Array] = {}
    labels: dict[SplitName, Mapping[str, Array]] = {}
    for split in SPLITS:
        a, b = left.split(split), right.split(split)
        first, second = _pixels(a), _pixels(b)
        canvas = CANVASES[first.shape[-1]][construction]
        drawn = draw_pairs(
            (a.y["label"], b.y["label"]),
            pairs if split == "train" else pairs // SHARE,
            canvas=canvas,
            differ=construction == "36" and left is right,
            seed=seed,
            stream=f"{name}:{split}",
        )
        images[split] = overlay(first[drawn.left], second[drawn.right], drawn, canvas=canvas)
        labels[split] = {"left": a.y["label"][drawn.left], "right": b.y["label"][drawn.right]}
    arguments = {"construction": (construction, "28"), "pairs": (pairs, default), "seed": (seed, 0)}
    changed = [f",{key}={value}" for key, (value, usual) in arguments.items() if value != usual]
    return SplitDataSet.of(
        name + "".join(changed),  # the canonical spec, by which known.json has the fingerprint
        meta=Meta({"left": _target(left.meta), "right": _target(right.meta)}),
        licence=" and ".join(sorted({left.licence, right.licence})),
        flips=False,
        images=images,
        labels=labels,
    )


def draw_pairs(
    labels: tuple[Array, Array], count: int, *, canvas: Canvas, differ: bool, seed: int, stream: str
) -> Pairs:
    """`count` pairs of images.

    labels: classes (n,) of the left images and (m,) of the right ones
    differ: must the two images of a pair have different classes?
    seed, stream: of the random numbers

    Left images come in random order, none twice before all have been used; right ones are drawn with
    replacement.
    """
    rng = generator(seed, stream)
    (first, second), n = labels, len(labels[0])
    left = np.concatenate([rng.permutation(n) for _ in range(-(-count // n))])[:count]
    right = rng.integers(0, len(second), count)
    while differ and (same := first[left] == second[right]).any():
        right[same] = rng.integers(0, len(second), int(same.sum()))
    left_at, right_at = rng.integers(0, canvas.moves + 1, (2, count, 2))
    return Pairs(left, right, left_at, canvas.right + right_at)


def overlay(left: Array, right: Array, pairs: Pairs, *, canvas: Canvas) -> Array:
    """Images (n, 1, s, s) and (n, 1, s, s) on black canvases, the maximum of both where they overlap:
    uint8 (n, 1, size, size)."""
    canvases = np.zeros((len(left), canvas.side, canvas.side), dtype=np.uint8)
    for images, corners in ((left, pairs.left_at), (right, pairs.right_at)):
        down, across = (corners[:, axis, None] + np.arange(images.shape[-1]) for axis in (0, 1))
        place = np.arange(len(canvases))[:, None, None], down[:, :, None], across[:, None, :]
        canvases[place] = np.maximum(canvases[place], images[:, 0])
    # The pixel at the centre of each new one, in integers: the same as Pillow's NEAREST.
    rows = (2 * np.arange(canvas.size) + 1) * canvas.side // (2 * canvas.size)
    resized: Array = canvases[:, None, rows[:, None], rows]
    return resized


def _pixels(samples: Samples) -> Array:
    assert isinstance(samples.x, ArrayImages)
    return samples.x.array


def _target(meta: Meta) -> Target:
    return meta.targets["label"]
