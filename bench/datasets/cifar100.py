"""CIFAR-100: 50,000 + 10,000 colour images of 32 x 32, 100 classes in 20 groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR100

from bench.data.samples import Meta, Target
from bench.datasets.base import SplitDataSet
from bench.datasets.parts.torchvision import build_cifar

REVISION = 1
# The authors' groups of five classes, which torchvision does not read.
GROUPS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
COARSE = tuple(GROUPS)
FINE = tuple(sorted(name for group in GROUPS.values() for name in group.split()))


def build(*, root: Path) -> SplitDataSet:
    """The data set under `root`/cifar-100-python, downloaded by torchvision if missing; targets `fine`
    (100 classes) and `coarse` (their 20 groups).

    Validation, 5,000 images stratified by `fine`, has no index file: it is drawn with a fixed seed from
    the training labels in their official order.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    coarse_of = np.empty(len(FINE), dtype=np.int64)
    for group, names in enumerate(GROUPS.values()):
        coarse_of[[FINE.index(name) for name in names.split()]] = group
    return build_cifar(
        "cifar100",
        CIFAR100,
        root=root,
        classes=FINE,
        targets=lambda labels: {"fine": labels, "coarse": coarse_of[labels]},
        meta=Meta(
            {
                "fine": Target("classes", len(FINE), FINE),
                "coarse": Target("classes", len(COARSE), COARSE),
            }
        ),
    )
