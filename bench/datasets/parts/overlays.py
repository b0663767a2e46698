"""Two images on one canvas: pairs drawn within each split, laid over each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.data.images import ArrayImages
from bench.data.samples import SPLITS, Meta, Samples, SplitName, Target
from bench.datasets.base import DataSets, SplitDataSet
from bench.errors import BenchError
from bench.seeding import generator

__all__ = ["CANVASES", "Canvas", "Construction", "Pairs", "build_pairs", "draw_pairs", "overlay"]

Array = npt.NDArray[Any]
Construction = Literal["28", "36"]
SHARE = 5  # training pairs to one of val, and one of test


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where two images lie, in pixels: the left one's corner at 0 and the right one's at `right`, both
    moved down and to the right by 0 to `moves`, each way and each image by itself; the canvas is
    `side` x `side`, and `size` x `size` after NEAREST resizing."""

    side: int
    right: int
    moves: int
    size: int


# By the side of the images. Those of 8 pixels are 2/7 of the others; what is no whole number of pixels
# is rounded, but for the canvas of "36" and what its right image moves from (10.3 and 2.3, made 11 and
# 3): rounded, one pair in 16 would have both images in one place.
CANVASES: Mapping[int, Mapping[Construction, Canvas]] = {
    28: {"28": Canvas(36, 6, 0, 28), "36": Canvas(36, 4, 4, 36)},
    8: {"28": Canvas(10, 2, 0, 8), "36": Canvas(11, 2, 1, 11)},
}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """n pairs, all int64: rows (n,) of the images within their own splits, and the corners (n, 2), from
    the top and from the left, where they lie on the canvas."""

    left: Array
    right: Array
    left_at: Array
    right_at: Array


def build_pairs(
    name: str,
    *,
    root: Path,
    bases: tuple[str, str],
    construction: Construction,
    pairs: int,
    usual: int,
    seed: int,
) -> SplitDataSet:
    """The data set of pairs of two data sets' grey images, or of one data set's with itself; `usual` is
    the default of `pairs`. Each split is drawn from the same split of the bases alone, from a stream
    of its own, "`name`:train" and so on.

    Never mirrored: that would lay the left image at the top right, where none has ever been. Raises
    BenchError for too few pairs; Declined where a base is absent.
    """
    if pairs < SHARE:
        raise BenchError(f"pairs={pairs} is too few; {SHARE} or more are wanted, for one in test")
    find = DataSets(root)
    left, right = (find(base) for base in bases)
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
    changed = {"construction": (construction, "28"), "pairs": (pairs, usual), "seed": (seed, 0)}
    return SplitDataSet.of(
        # As the spec is written, so that only the fingerprint of what is known is asked for.
        name + "".join(f",{key}={value}" for key, (value, new) in changed.items() if value != new),
        meta=Meta({"left": _target(left.meta), "right": _target(right.meta)}),
        licence=" and ".join(sorted({left.licence, right.licence})),
        flips=False,
        images=images,
        labels=labels,
    )


def draw_pairs(
    labels: tuple[Array, Array],
    count: int,
    *,
    canvas: Canvas,
    differ: bool,
    seed: int,
    stream: str,
) -> Pairs:
    """`count` pairs of images with these classes, (n,) and (m,). Left images are gone through in random
    order, again and again, so that none comes twice before all have come; each right one is drawn
    from all, with `differ` from all of another class than its left one."""
    rng = generator(seed, stream)
    (first, second), n = labels, len(labels[0])
    left = np.concatenate([rng.permutation(n) for _ in range(-(-count // n))])[:count]
    right = rng.integers(0, len(second), count)
    while differ and (same := first[left] == second[right]).any():
        right[same] = rng.integers(0, len(second), int(same.sum()))
    left_at, right_at = rng.integers(0, canvas.moves + 1, (2, count, 2))
    return Pairs(left, right, left_at, canvas.right + right_at)


def overlay(left: Array, right: Array, pairs: Pairs, *, canvas: Canvas) -> Array:
    """Images (n, 1, s, s) and (n, 1, s, s) on black canvases, the lighter of both where they overlap:
    uint8 (n, 1, size, size)."""
    found = np.zeros((len(left), canvas.side, canvas.side), dtype=np.uint8)
    for images, corners in ((left, pairs.left_at), (right, pairs.right_at)):
        down, across = (corners[:, axis, None] + np.arange(images.shape[-1]) for axis in (0, 1))
        where = np.arange(len(found))[:, None, None], down[:, :, None], across[:, None, :]
        found[where] = np.maximum(found[where], images[:, 0])
    # The pixel under each new one's centre, in whole numbers: what Pillow's NEAREST takes.
    rows = (2 * np.arange(canvas.size) + 1) * canvas.side // (2 * canvas.size)
    resized: Array = found[:, None, rows[:, None], rows]
    return resized


def _pixels(samples: Samples) -> Array:
    assert isinstance(samples.x, ArrayImages)
    return samples.x.array


def _target(meta: Meta) -> Target:
    return meta.targets["label"]
