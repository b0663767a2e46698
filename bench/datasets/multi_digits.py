"""Multi-digits: two overlapping 8 x 8 digits of scikit-learn on one canvas, always there."""

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
    """Pairs of `digits` with two targets, the class of the `left` digit, at the top left, and of the
    `right` one, at the bottom right: `multi_mnist` in small (nothing is read from `root`). `pairs` are
    those of train, val and test have a fifth each, by default less than the 540 test digits, so that
    no left digit comes twice in test; each of the 125 of val comes four times.

    Constructions keep the names that they have for digits of 28 pixels; here

    - "28": on a canvas of 10 pixels the left digit's corner lies at (0, 0), the right one's at (2, 2);
      NEAREST resizing to 8 x 8 leaves out the third and the eighth row and column.
    - "36": digits of different classes, 11 x 11 pixels, each moved by 0 or 1 pixel each way, the left
      one from the top left corner towards the middle, the right one from the bottom right corner.
    """
    return build_pairs(
        "multi_digits",
        root=root,
        bases=("digits", "digits"),
        construction=construction,
        pairs=pairs,
        usual=2_500,
        seed=seed,
    )
