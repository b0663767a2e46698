"""Multi-(Fashion + MNIST): a digit overlapping an item of clothing, 10,000 + 2,000 + 2,000 pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.datasets.base import SplitDataSet
from bench.datasets.parts.overlays import build_pairs

REVISION = 1
IMAGES = ("fashion_mnist", "mnist")


def build(
    *, root: Path, construction: Literal["28", "36"] = "28", pairs: int = 10_000, seed: int = 0
) -> SplitDataSet:
    """Pairs of a digit of `mnist`, target `left`, at the top left, and an item of `fashion_mnist`, target
    `right`, at the bottom right. Arguments and constructions as for `multi_mnist`; splits share no digit
    and no item. Any two may be paired, since a digit and an item always differ in class.

    Source: Lin et al. 2019, arXiv:1912.12854, with 36 x 36 pixels ("36"); "28" is the construction of
    Sener and Koltun 2018 with these images.
    """
    return build_pairs(
        "multi_fashion_mnist", root=root, bases=("mnist", "fashion_mnist"), construction=construction,
        pairs=pairs, default=10_000, seed=seed,
    )  # fmt: skip
