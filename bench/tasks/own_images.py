"""Tasks on a user's own images: linear probe, neighbours and unseen classes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.data.semantics import Semantics, balanced_splits, read_semantics, twins
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.naming.grammar import escape
from bench.tasks.task import Primary, Replicates, Task

FAMILIES_OF_FOLDERS = ("linear", "knn", "zeroshot")  # the ends of the tasks' names
SHUFFLES = 50  # draws of shuffled signatures, at least, over all splits


def plain_name(folder: Path) -> str:
    """The last part of a folder's path in letters, digits and _; "images" where it has none of them."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", folder.name).strip("_")[:80] or "images"


def folder_dataset(name: str) -> str:
    """The spec of a folder of images that is called by a name.

    >>> folder_dataset("photos")
    'image_folder,path=photos'
    """
    return f"image_folder,path={escape(name)}"


def folder_tasks(
    folder: Path, datasets: DataSets, semantics: Path | None = None, *, name: str | None = None
) -> list[Task]:
    """The tasks NAME-linear and NAME-knn on `image_folder,path=NAME`, whose place `datasets` then has;
    with a table of attributes also NAME-zeroshot, on the table's splits or, without any, on 12 balanced
    ones with three tenths of the classes unseen, two at least. NAME is by default that of the folder.

    Chance is the largest class's share of the test images; of the area under the seen-unseen curve, half
    the product of the chances among seen and among unseen classes. Raises BenchError for a folder that is
    not a data set, a table that lacks one of its classes or has equal rows for two of them, and splits
    that leave too few of them seen or unseen.
    """
    path = Path(os.path.expanduser(folder)).resolve()
    name = name or plain_name(path)
    datasets.place(name, path)
    spec = folder_dataset(name)
    dataset = datasets(spec)
    labels = dataset.split("test").y["label"]
    chance = float(np.bincount(labels).max() / len(labels))
    title = path.name if path.name.isprintable() and name == plain_name(path) else name
    linear = Task(
        name=f"{name}-linear",
        title=f"{title}, linear probe",
        family="probe",
        dataset=spec,
        targets=("label",),
        protocol="linear",
        chance=chance,
        primary=Primary(metric="accuracy", target="label"),
    )
    knn = replace(linear, name=f"{name}-knn", title=f"{title}, nearest neighbours", protocol="knn")
    if semantics is None:
        return [linear, knn]
    table, classes = read_semantics(str(semantics)), dataset.meta.targets["label"].names
    splits = _splits(table, classes)
    _check_separable(table, classes, splits)
    zeroshot = replace(
        linear,
        name=f"{name}-zeroshot",
        title=f"{title}, unseen classes recognised by attributes alone",
        family="zeroshot",
        protocol="prototypes",
        semantics=str(semantics),
        chance=float(np.mean([0.5 / (len(s) * (len(classes) - len(s))) for s in splits])),
        replicates=Replicates(
            seeds=1,
            splits=splits,
            controls=("shuffled_signatures",),
            control_seeds=math.ceil(SHUFFLES / len(splits)),
        ),
        primary=Primary(metric="ausuc", target="label", interval="classes"),
    )
    return [linear, knn, zeroshot]


def _splits(table: Semantics, classes: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Unseen classes by number, of each split."""
    places = {name: place for place, name in enumerate(classes)}
    splits = dict[tuple[int, ...], None]()
    for name, unseen in table.splits.items():
        split = tuple(sorted(places[c] for c in unseen if c in places))
        if len(split) < 2 or len(classes) - len(split) < 3:
            raise BenchError(
                f"split {name!r} of the table {table.name!r} leaves {len(split)} of the folder's "
                f"{len(classes)} classes unseen; at least two unseen and three seen are needed"
            )
        splits[split] = None
    if splits:
        return tuple(splits)
    if len(classes) < 5:
        raise BenchError(
            f"{len(classes)} classes are too few to leave some unseen; at least five are needed"
        )
    size = max(2, round(0.3 * len(classes)))
    count = min(12, math.comb(len(classes), size))
    return tuple(balanced_splits(len(classes), size, count, seed=0))


def _check_separable(
    table: Semantics, classes: Sequence[str], splits: Sequence[tuple[int, ...]]
) -> None:
    """Raise BenchError where two classes have one signature, or an attribute no value on a seen class."""
    signatures = table.of(classes)
    if (same := twins(signatures)) is not None:
        raise BenchError(
            f"classes {classes[same[0]]!r} and {classes[same[1]]!r} have the same attributes in the table "
            f"{table.name!r}; add an attribute that differs"
        )
    for split in splits:
        lost = np.isnan(np.delete(signatures, split, axis=0)).all(axis=0)
        for place in np.flatnonzero(lost):
            raise BenchError(
                f"attribute {table.attributes[place]!r} of the table {table.name!r} has no value for a "
                f"seen class where {', '.join(classes[c] for c in split)} are unseen; add one, or remove "
                "the attribute"
            )
