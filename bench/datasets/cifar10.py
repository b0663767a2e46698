"""CIFAR-10: 50,000 + 10,000 colour images of 32 x 32, ten classes."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import CIFAR10

from bench.data.samples import Meta, Target
from bench.datasets.base import SplitDataSet
from bench.datasets.parts.torchvision import build_cifar

REVISION = 1
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def build(*, root: Path) -> SplitDataSet:
    """The data set under `root`/cifar-10-batches-py, downloaded by torchvision if missing.

    Validation, 5,000 images, has no index file: it is drawn with a fixed seed from the training labels in
    their official order.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    return build_cifar(
        "cifar10",
        CIFAR10,
        root=root,
        classes=CLASSES,
        targets=lambda labels: {"label": labels},
        meta=Meta({"label": Target("classes", len(CLASSES), CLASSES)}),
    )
