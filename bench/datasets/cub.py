"""Caltech-UCSD Birds 200-2011: 11,788 photographs of 200 kinds of bird (no download: bring the files)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bench.data.samples import Array, Meta, SplitName, Target
from bench.data.semantics import Semantics
from bench.datasets.base import SplitDataSet, absent, share_of_train, stratified_rows
from bench.datasets.parts.image_files import check_size, dataset_of_files
from bench.datasets.parts.lists import invalid_files, read_numbered, read_shares, require_unique

REVISION = 1
FOLDER, IMAGES = "CUB_200_2011", "images"
CLASSES, FILES, LABELS, OFFICIAL = LISTS = (
    "classes.txt",
    "images.txt",
    "image_class_labels.txt",
    "train_test_split.txt",
)
TABLE = "attributes/class_attribute_labels_continuous.txt"
# Possible places of the names of attributes: beside the folder in the archive, inside it in copies.
NAMES = ("attributes/attributes.txt", "attributes.txt", "../attributes.txt")


def build(*, root: Path, size: int = 64) -> SplitDataSet:
    """The images under `root`/CUB_200_2011/images and the lists beside that folder, never downloaded;
    `size` x `size` pixels where an encoder does not declare another size. One target, `class`, with the
    names of classes.txt (001.Black_footed_Albatross), in the order of their numbers.

    Test is that of train_test_split.txt; val is a tenth of its train, stratified, drawn with a fixed
    seed. All classes are in all splits, and a task may remove any.

    Every file is read here once for its digest, and decoded each time it is used. Raises Declined where
    images or a list are missing; BenchError for lists that do not fit together and for missing images.

    Source: Wah, Branson, Welinder, Perona and Belongie 2011, The Caltech-UCSD Birds-200-2011 dataset,
    CNS-TR-2011-001. The images may not be redistributed.
    """
    check_size(size)
    folder = root / FOLDER
    if not all((folder / name).exists() for name in (IMAGES, *LISTS)):
        lists = ", ".join(f"{FOLDER}/{name}" for name in LISTS)
        raise absent("cub", f"{FOLDER}/{IMAGES}/, {lists}")
    listed, classes = _classes(folder / CLASSES)
    files = require_unique("cub", folder / FILES, read_numbered("cub", folder / FILES))
    labels = _labels(folder, files, listed, classes)
    return dataset_of_files(
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
    """For each class the share of annotators, in [0, 1], who saw each of 312 attributes, from
    attributes/class_attribute_labels_continuous.txt (percentages). Names of attributes are those of
    attributes.txt, inside the folder or beside it, else a0, a1 and so on.

    The file's lines are in the order of the numbers with which names of classes begin; they are joined by
    that number. There is no split; the proposed one comes with `xlsa,set=CUB`, whose classes have the
    same names. Raises Declined where a list is missing; BenchError where they do not fit together.
    """
    folder = root / FOLDER
    if not (folder / CLASSES).exists() or not (folder / TABLE).exists():
        raise absent("cub", f"{FOLDER}/{CLASSES} and {FOLDER}/{TABLE}")
    _, classes = _classes(folder / CLASSES)
    table = read_shares("cub", folder / TABLE)
    if len(table) != len(classes):
        raise invalid_files("cub", f"{TABLE} has {len(table)} lines for {len(classes)} classes")
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
    """The number with which the name of a class begins; 0 if there is none."""
    match = re.match(r"(\d{1,9})\.", name)
    return int(match[1]) if match else 0


def _classes(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """Names in the order of the file's identifiers, and in the order of the names' own numbers."""
    listed = read_numbered("cub", path)
    classes = sorted(listed, key=_number)
    if [_number(name) for name in classes] != list(range(1, len(classes) + 1)):
        problem = f"names in {path.name} do not begin with 001. to {len(classes):03d}., each once"
        raise invalid_files("cub", problem)
    return listed, tuple(classes)


def _labels(
    folder: Path, files: tuple[str, ...], listed: list[str], classes: tuple[str, ...]
) -> Array:
    """Labels int64 (n,) from the list. Raises BenchError where it contradicts the folder of an image."""
    identifiers = read_numbered("cub", folder / LABELS, len(files))
    for file, word in zip(files, identifiers, strict=True):
        name = listed[int(word) - 1] if word.isdecimal() and 0 < int(word) <= len(listed) else None
        if name != file.partition("/")[0]:
            raise invalid_files(
                "cub", f"{LABELS} has {word!r} for {file}, which is {name or 'no class'}"
            )
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[file.partition("/")[0]] for file in files], dtype=np.int64)


def _rows(path: Path, labels: Array, classes: int) -> dict[SplitName, Array]:
    """Rows of the official split, and of val, a stratified tenth of its train."""
    flags = read_numbered("cub", path, len(labels))
    if invalid := sorted(set(flags) - {"0", "1"}):
        problem = f"{path.name} has {invalid[0]!r}, not 1 for train or 0 for test"
        raise invalid_files("cub", problem)
    official = np.array(flags) == "1"
    train, test = np.flatnonzero(official), np.flatnonzero(~official)
    for split, rows, least in (("train", train, 2), ("test", test, 1)):
        if np.bincount(labels[rows], minlength=classes).min() < least:
            problem = f"{path.name} has a class with fewer than {least} images in {split}"
            raise invalid_files("cub", problem)
    count = max(1, share_of_train(len(train)))
    val = train[stratified_rows(labels[train], count, seed=0)]
    return {"train": np.setdiff1d(train, val), "val": val, "test": test}


def _attributes(folder: Path, count: int) -> tuple[str, ...]:
    for name in NAMES:
        path = folder / name
        if path.is_file():
            return require_unique("cub", path, read_numbered("cub", path, count))
    return tuple(f"a{number}" for number in range(count))
