"""MNIST: 60,000 + 10,000 grey images of 28 x 28, handwritten digits."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import MNIST

from bench.datasets.base import SplitDataSet
from bench.datasets.parts.torchvision import build_grey

REVISION = 1


def build(*, root: Path) -> SplitDataSet:
    """The data set under `root`/MNIST/raw, downloaded by torchvision if missing.

    Source: LeCun, Bottou, Bengio and Haffner 1998, doi:10.1109/5.726791.
    """
    classes = tuple(str(c) for c in range(10))
    return build_grey("mnist", MNIST, root=root, classes=classes, flips=False)
