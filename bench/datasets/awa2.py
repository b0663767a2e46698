"""Animals with Attributes 2: 37,322 photographs of 50 kinds of animal (no download: bring the files)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.samples import Meta, Target
from bench.data.semantics import Semantics
from bench.datasets.base import SplitDataSet, absent, drawn_split
from bench.datasets.parts.folders import find_images
from bench.datasets.parts.image_files import check_size, dataset_of_files
from bench.datasets.parts.lists import invalid_files, read_numbered, read_shares, require_unique
from bench.errors import BenchError, unknown

REVISION = 1
FOLDER, IMAGES = "Animals_with_Attributes2", "JPEGImages"
LISTS = CLASSES, PREDICATES, MATRIX = (
    "classes.txt",
    "predicates.txt",
    "predicate-matrix-continuous.txt",
)
# The proposed split of Xian et al. (below): no class of ImageNet-1k. testclasses.txt in the folder is the
# older standard split, most of whose classes are in ImageNet-1k; it is not read.
UNSEEN = tuple(
    "sheep dolphin bat seal blue+whale rat horse walrus giraffe bobcat".split()  # noqa: SIM905
)
# Values that att_splits.mat marks as missing (-1) for this set; the text file has 0.00 instead.
MISSING = {"antelope": ("black", "white", "blue", "brown")}
LEAST_IMAGES = 5  # of a class, so that it has one in test and one in train


def build(*, root: Path, size: int = 64) -> SplitDataSet:
    """The images under `root`/Animals_with_Attributes2/JPEGImages, a folder for each class, never
    downloaded; `size` x `size` pixels where an encoder does not declare another size. One target,
    `class`, with the names and the order of classes.txt (`+` for a space).

    All classes are in all splits, 70/10/20 into train, val and test: stratified, drawn with a fixed seed
    from the sorted names of the files. A task may remove any classes, such as those of the split
    "proposed" (see `semantics`).

    Every file is read here once for its digest, and decoded each time it is used. Raises Declined where
    images or classes.txt are missing; BenchError for folders that classes.txt does not name, classes
    without a folder or with fewer than five images, and files that cannot be read.

    Source: Xian, Lampert, Schiele and Akata 2019, arXiv:1707.00600. Each image has its own licence, in the
    folder licenses; they may not be redistributed.
    """
    check_size(size)
    folder = root / FOLDER
    classes = _classes(folder)
    contents = find_images(folder / IMAGES)
    if contents.splits is not None or set(contents.classes) != set(classes):
        unmatched = sorted(set(contents.classes) ^ set(classes))
        names = ", ".join(unmatched[:3])
        raise invalid_files("awa2", f"{CLASSES} and the folders of {IMAGES} differ ({names})")
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in contents.labels], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < LEAST_IMAGES:
        smallest = classes[int(counts.argmin())]
        raise BenchError(
            f"awa2 has {counts.min()} images of {smallest!r}, but needs {LEAST_IMAGES} or more: put all "
            f"images of the class into {FOLDER}/{IMAGES}/{smallest}"
        )
    return dataset_of_files(
        "awa2",
        root=root,
        folder=f"{FOLDER}/{IMAGES}",
        files=contents.files,
        labels={"class": labels},
        rows=drawn_split(labels),
        meta=Meta({"class": Target("classes", len(classes), classes)}),
        size=size,
        licence="a licence an image, in its folder licenses; not to be passed on",
    )


def semantics(root: Path) -> Semantics:
    """Ratings by people of 85 attributes of the 50 classes, in [0, 1] (predicate-matrix-continuous has
    percentages), with the split "proposed". NaN for missing values: four colours of the antelope, which
    the text file has as 0.00. Needs the three lists, no images.

    Raises Declined where one is missing; BenchError for lists that do not fit together.
    """
    folder = root / FOLDER
    classes = _classes(folder, images=False)
    attributes = require_unique(
        "awa2", folder / PREDICATES, read_numbered("awa2", folder / PREDICATES)
    )
    table = read_shares("awa2", folder / MATRIX)
    if table.shape != (len(classes), len(attributes)):
        raise invalid_files(
            "awa2",
            f"{MATRIX} is {table.shape[0]} x {table.shape[1]}; {len(classes)} classes by "
            f"{len(attributes)} attributes are expected",
        )
    for name in UNSEEN:
        if name not in classes:
            raise unknown(f"class in {CLASSES} of awa2", name, classes)
    for row, name in enumerate(classes):
        for column, attribute in enumerate(attributes):
            if attribute in MISSING.get(name, ()) and table[row, column] == 0:
                table[row, column] = np.nan
    return Semantics(
        name="awa2",
        title=f"Animals with Attributes 2: {len(attributes)} attributes of {len(classes)} animals",
        source="Xian, Lampert, Schiele and Akata 2019, arXiv:1707.00600; predicate-matrix-continuous",
        classes=classes,
        attributes=attributes,
        table=table.astype(np.float32),
        splits={"proposed": UNSEEN},
    )


def _classes(folder: Path, *, images: bool = True) -> tuple[str, ...]:
    """The names of classes.txt. Raises Declined where it is missing, or the images, or (without `images`)
    one of the other lists."""
    needed = (IMAGES, CLASSES) if images else LISTS
    if not all((folder / name).exists() for name in needed):
        paths = [f"{FOLDER}/{name}{'/' * (name == IMAGES)}" for name in needed]
        raise absent("awa2", f"{', '.join(paths[:-1])} and {paths[-1]}")
    return require_unique("awa2", folder / CLASSES, read_numbered("awa2", folder / CLASSES))
