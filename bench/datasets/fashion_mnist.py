"""Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28, ten kinds of clothes, shoes and bags."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import FashionMNIST

from bench.datasets.base import SplitDataSet
from bench.datasets.parts.torchvision import build_grey

REVISION = 1
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def build(*, root: Path) -> SplitDataSet:
    """The data set under `root`/FashionMNIST/raw, downloaded by torchvision if missing.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
    """
    return build_grey("fashion_mnist", FashionMNIST, root=root, classes=CLASSES, flips=True)
