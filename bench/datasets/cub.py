"""Caltech-UCSD Birds 200-2011: 11,788 photographs of 200 kinds of bird, decoded when they are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Meta, SplitName, Target
from bench.data.semantics import Semantics
from bench.datasets.base import SplitDataSet, absent, share_of_train, stratified_rows
from bench.datasets.parts.image_files import check_size, of_files
from bench.datasets.parts.lists import different, numbered, other, shares

REVISION = 1
FOLDER, IMAGES = "CUB_200_2011", "images"
CLASSES, FILES, LABELS, OFFICIAL = LISTS = (
    "classes.txt",
    "images.txt",
    "image_class_labels.txt",
    "train_test_split.txt",
)
TABLE = "attributes/class_attribute_labels_continuous.txt"
# Where the names of attributes lie: the archive has them beside its folder, copies inside it.
NAMES = ("attributes/attributes.txt", "attributes.txt", "../attributes.txt")

Array = npt.NDArray[Any]


def build(*, root: Path, size: int = 64) -> SplitDataSet:
    """The images under `root`/CUB_200_2011/images with the lists beside them, never downloaded, `size` x
    `size` where an encoder does not say otherwise. One target, `class`, by the names of classes.txt
    with their numbers (001.Black_footed_Albatross), in the order of these.

    Test is that of train_test_split.txt, a tenth of its train, stratified by a fixed seed, is val. That
    split is of images; all classes are in all splits, and a task can remove any.

    Every file is read once here for its digest, and decoded when it is asked for. Raises Declined where
    something is absent; BenchError for lists that do not fit together and for images missing.

    Source: Wah, Branson, Welinder, Perona and Belongie 2011, The Caltech-UCSD Birds-200-2011 dataset,
    CNS-TR-2011-001. The images may not be passed on.
    """
    check_size(size)
    folder = root / FOLDER
    if not all((folder / name).exists() for name in (IMAGES, *LISTS)):
        told = ", ".join(f"{FOLDER}/{name}" for name in LISTS)
        raise absent("cub", f"{FOLDER}/{IMAGES}/, {told}")
    listed, classes = _classes(folder / CLASSES)
    files = different("cub", folder / FILES, numbered("cub", folder / FILES))
    labels = _labels(folder, files, listed, classes)
    return of_files(
        "cub",
        root=root,
        folder=f"{FOLDER}/{IMAGES}",
        files=files,
        labels={"class": labels},
        rows=_rows(folder / OFFICIAL, labels, len(classes)),
        meta=Meta({"class": Target("classes", len(classes), classes)}),
        size=size,
        licence="terms not stated here; research only, not to be passed on",
    )


def semantics(root: Path) -> Semantics:
    """For each of 312 attributes, the share of people who saw it in pictures of a class, from
    attributes/class_attribute_labels_continuous.txt (percentages). Attributes are called as in
    attributes.txt, inside the folder or beside it; without one a0, a1 and so on.

    Its lines are in the order of the classes' numbers, and are joined by the number that each name
    begins with, never by place. It has no split; the proposed one comes with `xlsa,set=CUB`, whose
    classes have the same names. Raises Declined where a list is absent; BenchError where they do not
    fit together.
    """
    folder = root / FOLDER
    if not (folder / CLASSES).exists() or not (folder / TABLE).exists():
        raise absent("cub", f"{FOLDER}/{CLASSES} and {FOLDER}/{TABLE}")
    _, classes = _classes(folder / CLASSES)
    table = shares("cub", folder / TABLE)
    if len(table) != len(classes):
        raise other("cub", f"{TABLE} has {len(table)} lines for {len(classes)} classes")
    attributes = _attributes(folder, table.shape[1])
    return Semantics(
        name="cub",
        title=f"CUB-200-2011: {len(attributes)} attributes of {len(classes)} kinds of bird",
        source="Wah, Branson, Welinder, Perona and Belongie 2011, CNS-TR-2011-001",
        classes=classes,
        attributes=attributes,
        table=table[[_number(name) - 1 for name in classes]].astype(np.float32),
        splits={},
    )


def _number(name: str) -> int:
    """The number that a class's name begins with; 0 where it has none."""
    found = re.match(r"(\d{1,9})\.", name)
    return int(found[1]) if found else 0


def _classes(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """Names by the identifiers of the file, and by the numbers that they begin with."""
    listed = numbered("cub", path)
    classes = sorted(listed, key=_number)
    if [_number(name) for name in classes] != list(range(1, len(classes) + 1)):
        told = f"the names of {path.name} do not begin with 001. to {len(classes):03d}., each once"
        raise other("cub", told)
    return listed, tuple(classes)


def _labels(
    folder: Path, files: tuple[str, ...], listed: list[str], classes: tuple[str, ...]
) -> Array:
    """Labels int64 (n,), by the list; the folder of each image must agree."""
    given = numbered("cub", folder / LABELS, len(files))
    for file, word in zip(files, given, strict=True):
        name = listed[int(word) - 1] if word.isdecimal() and 0 < int(word) <= len(listed) else None
        if name != file.partition("/")[0]:
            raise other("cub", f"{LABELS} has {word!r} for {file}, which is {name or 'no class'}")
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[file.partition("/")[0]] for file in files], dtype=np.int64)


def _rows(path: Path, labels: Array, classes: int) -> dict[SplitName, Array]:
    given = numbered("cub", path, len(labels))
    if odd := sorted(set(given) - {"0", "1"}):
        raise other("cub", f"{path.name} has {odd[0]!r}; 1 for train or 0 for test is wanted")
    official = np.array(given) == "1"
    train, test = np.flatnonzero(official), np.flatnonzero(~official)
    for what, rows, least in (("train", train, 2), ("test", test, 1)):
        if np.bincount(labels[rows], minlength=classes).min() < least:
            raise other("cub", f"{path.name} has a class with fewer than {least} images in {what}")
    count = max(1, share_of_train(len(train)))
    val = train[stratified_rows(labels[train], count, seed=0)]
    return {"train": np.setdiff1d(train, val), "val": val, "test": test}


def _attributes(folder: Path, count: int) -> tuple[str, ...]:
    for name in NAMES:
        path = folder / name
        if path.is_file():
            return different("cub", path, numbered("cub", path, count))
    return tuple(f"a{number}" for number in range(count))
