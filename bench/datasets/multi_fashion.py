"""Multi-Fashion: two overlapping Fashion-MNIST items on one canvas, 10,000 + 2,000 + 2,000 pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.datasets.base import SplitDataSet
from bench.datasets.parts.overlays import build_pairs

REVISION = 1
IMAGES = ("fashion_mnist",)


def build(
    *, root: Path, construction: Literal["28", "36"] = "28", pairs: int = 10_000, seed: int = 0
) -> SplitDataSet:
    """Pairs of items of `fashion_mnist` with two targets, the classes of the `left` item, at the top left,
    and of the `right` one, at the bottom right. Arguments and constructions as for `multi_mnist`; splits
    share no item.

    Source: Lin et al. 2019, arXiv:1912.12854, with 36 x 36 pixels ("36"); "28" is the construction of
    Sener and Koltun 2018 with these items.
    """
    return build_pairs(
        "multi_fashion", root=root, bases=("fashion_mnist", "fashion_mnist"), construction=construction,
        pairs=pairs, default=10_000, seed=seed,
    )  # fmt: skip
