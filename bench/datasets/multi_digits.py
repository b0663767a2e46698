"""Multi-digits: two overlapping digits of scikit-learn, 2,500 + 500 + 500 pairs of 8 x 8; no download."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.datasets.base import SplitDataSet
from bench.datasets.parts.overlays import build_pairs

REVISION = 1
IMAGES = ("digits",)


def build(
    *, root: Path, construction: Literal["28", "36"] = "28", pairs: int = 2_500, seed: int = 0
) -> SplitDataSet:
    """Pairs of `digits` with two targets, the classes of the `left` digit, at the top left, and of the
    `right` one, at the bottom right: a small `multi_mnist` (nothing is read from `root`).

    Train has `pairs` pairs, val and test a fifth each: by default fewer than the 540 test digits, so that
    no left digit occurs twice in test; each of the 125 of val occurs four times.

    Constructions have the names of those for digits of 28 pixels:

    - "28": on a canvas of 10 pixels the left digit's corner is at (0, 0), the right one's at (2, 2);
      NEAREST resizing to 8 x 8 drops the third and the eighth row and column.
    - "36": digits of different classes, 11 x 11 pixels, each moved by 0 or 1 pixel in each direction, the
      left one from the top left corner, the right one from the bottom right corner, towards the centre.
    """
    return build_pairs(
        "multi_digits", root=root, bases=("digits", "digits"), construction=construction,
        pairs=pairs, default=2_500, seed=seed,
    )  # fmt: skip
