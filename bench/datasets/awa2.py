"""Animals with Attributes 2: 37,322 photographs of 50 animals, decoded when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Meta, SplitName, Target
from bench.data.semantics import Semantics
from bench.datasets.base import SplitDataSet, absent, stratified_rows, take_split
from bench.datasets.parts.folders import find_images
from bench.datasets.parts.image_files import check_size, of_files
from bench.datasets.parts.lists import different, numbered, other, shares
from bench.errors import BenchError, unknown

REVISION = 1
FOLDER, IMAGES = "Animals_with_Attributes2", "JPEGImages"
LISTS = CLASSES, PREDICATES, MATRIX = (
    "classes.txt",
    "predicates.txt",
    "predicate-matrix-continuous.txt",
)
# The proposed split of Xian et al. (below): no class of ImageNet-1k. The folder's own testclasses.txt is
# the older standard split, most of whose classes are in ImageNet-1k; it is not read.
UNSEEN = tuple(
    "sheep dolphin bat seal blue+whale rat horse walrus giraffe bobcat".split()  # noqa: SIM905
)
# What att_splits.mat marks as missing (-1) for this set; the text file has 0.00 in these places.
MISSING = {"antelope": ("black", "white", "blue", "brown")}
LEAST = 5  # images a class, so that each has one in test and one to learn from

Array = npt.NDArray[Any]


def build(*, root: Path, size: int = 64) -> SplitDataSet:
    """The images under `root`/Animals_with_Attributes2/JPEGImages, a folder a class, never downloaded,
    `size` x `size` where an encoder does not say otherwise. One target, `class`, in the order and by
    the names of classes.txt (`+` for a space).

    All classes are in all splits, 70/10/20 into train, val and test: stratified, drawn by a fixed seed
    from the sorted names of the files. So a task can remove any classes, such as those of the split
    "proposed" (see `semantics`).

    Every file is read once here for its digest, and decoded when it is asked for. Raises Declined where
    images or classes.txt are absent; BenchError for folders that classes.txt does not name, classes
    without a folder or with fewer than five images, and files that cannot be read.

    Source: Xian, Lampert, Schiele and Akata 2019, arXiv:1707.00600. Images have a licence each, in the
    set's folder licenses; they may not be passed on.
    """
    check_size(size)
    folder = root / FOLDER
    classes = _classes(folder)
    found = find_images(folder / IMAGES)
    if found.splits is not None or set(found.classes) != set(classes):
        odd = sorted(set(found.classes) ^ set(classes))
        raise other("awa2", f"{CLASSES} and the folders of {IMAGES} differ ({', '.join(odd[:3])})")
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in found.labels], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < LEAST:
        few = classes[int(counts.argmin())]
        raise BenchError(
            f"awa2 has {counts.min()} images of {few!r}; {LEAST} or more are wanted: put all of them "
            f"into {FOLDER}/{IMAGES}/{few}"
        )
    return of_files(
        "awa2",
        root=root,
        folder=f"{FOLDER}/{IMAGES}",
        files=found.files,
        labels={"class": labels},
        rows=_rows(labels),
        meta=Meta({"class": Target("classes", len(classes), classes)}),
        size=size,
        licence="a licence an image, in its folder licenses; not to be passed on",
    )


def semantics(root: Path) -> Semantics:
    """What people said of the 50 classes and 85 attributes, as shares of one (predicate-matrix-continuous
    has percentages), with the split "proposed". NaN where the value is missing: four colours of the
    antelope, which the text file has as 0.00. Needs the three lists alone, no images.

    Raises Declined where one is absent; BenchError for lists that do not fit together.
    """
    folder = root / FOLDER
    classes = _classes(folder, images=False)
    attributes = different("awa2", folder / PREDICATES, numbered("awa2", folder / PREDICATES))
    table = shares("awa2", folder / MATRIX)
    if table.shape != (len(classes), len(attributes)):
        raise other(
            "awa2",
            f"{MATRIX} is {table.shape[0]} x {table.shape[1]}; {len(classes)} classes by "
            f"{len(attributes)} attributes are wanted",
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
    """The names of classes.txt. Raises Declined where it, or what else is wanted, is absent."""
    wanted = (IMAGES, CLASSES) if images else LISTS
    if not all((folder / name).exists() for name in wanted):
        told = [f"{FOLDER}/{name}{'/' * (name == IMAGES)}" for name in wanted]
        raise absent("awa2", f"{', '.join(told[:-1])} and {told[-1]}")
    return different("awa2", folder / CLASSES, numbered("awa2", folder / CLASSES))


def _rows(labels: Array) -> dict[SplitName, Array]:
    """A fifth for test, a tenth for val, each class by its share."""
    test = stratified_rows(labels, -(-len(labels) // 5), seed=0)
    rest = np.setdiff1d(np.arange(len(labels)), test)
    val = rest[stratified_rows(labels[rest], max(1, len(labels) // 10), seed=1)]
    parts = take_split(len(labels), {"val": val, "test": test})
    return {"train": parts["train"], "val": parts["val"], "test": parts["test"]}
