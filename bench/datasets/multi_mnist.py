"""Multi-MNIST: two overlapping MNIST digits on one canvas, 10,000 + 2,000 + 2,000 pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.datasets.base import SplitDataSet
from bench.datasets.parts.overlays import build_pairs

REVISION = 1
IMAGES = ("mnist",)


def build(
    *, root: Path, construction: Literal["28", "36"] = "28", pairs: int = 10_000, seed: int = 0
) -> SplitDataSet:
    """Pairs of digits of `mnist` with two targets, the classes of the `left` digit, at the top left, and
    of the `right` one, at the bottom right. Where they overlap the lighter pixel is visible. Train has
    `pairs` pairs, val and test a fifth each.

    - construction "28" (Sener and Koltun 2018, arXiv:1810.04650, and their code): on a canvas of 36
      pixels the left digit's corner is at (0, 0), the right one's at (6, 6); the canvas is resized to
      28 x 28 by NEAREST. Both digits may have the same class.
    - construction "36" (Lin et al. 2019, arXiv:1912.12854): digits of different classes, 36 x 36 pixels,
      each moved by 0 to 4 pixels in each direction, the left one from the top left corner, the right one
      from the bottom right corner, towards the centre. This is our reading of moves by up to 4 pixels; in
      one pair of 625 both are in the same place, and cannot be told apart.

    Pairs of each split are made of rows of the same split of `mnist`, so no digit is in two splits; the
    authors' sets have no val. In test no left digit occurs twice; a right one may, so that test rows are
    not quite independent for `right`.
    """
    return build_pairs(
        "multi_mnist", root=root, bases=("mnist", "mnist"), construction=construction,
        pairs=pairs, default=10_000, seed=seed,
    )  # fmt: skip
