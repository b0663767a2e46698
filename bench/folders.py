"""Tasks on a user's own images: linear probe, neighbours and unseen classes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.semantics import Semantics, balanced_splits, read
from bench.specs import escape, resolve
from bench.task import Primary, Replicates, Task

__all__ = ["folder_tasks"]


def folder_tasks(folder: Path, datasets: DataSets, semantics: Path | None = None) -> list[Task]:
    """The tasks NAME-linear and NAME-knn on `image_folder,path=FOLDER`, of which NAME is the name; with a
    table of attributes also NAME-zeroshot, on the table's splits or, without any, on 12 balanced ones
    with three tenths of the classes unseen.

    Chance is the largest class's share of the test images; of the area under the seen-unseen curve, half
    the product of the chances among seen and among unseen classes. Raises BenchError for a folder that is
    no data set, and a table that lacks one of its classes.
    """
    path = folder.expanduser().resolve()
    spec = resolve("datasets", f"image_folder,path={escape(str(path))}").text
    dataset = datasets(spec)
    labels = dataset.split("test").y["label"]
    chance = float(np.bincount(labels).max() / len(labels))
    name = re.sub(r"[^A-Za-z0-9_]+", "_", path.name).strip("_") or "images"
    found = [
        Task(
            name=f"{name}-{protocol}",
            title=f"{path.name}, {title}",
            family="probe",
            dataset=spec,
            targets=("label",),
            protocol=protocol,
            chance=chance,
            primary=Primary(metric="accuracy", target="label"),
        )
        for protocol, title in (("linear", "linear probe"), ("knn", "nearest neighbours"))
    ]
    if semantics is None:
        return found
    table, classes = read(str(semantics)), dataset.meta.targets["label"].names
    table.of(classes)
    splits = _splits(table, classes)
    unseen = float(np.mean([0.5 / (len(s) * (len(classes) - len(s))) for s in splits]))
    return [
        *found,
        Task(
            name=f"{name}-zeroshot",
            title=f"{path.name}, unseen classes told by attributes alone",
            family="zeroshot",
            dataset=spec,
            targets=("label",),
            protocol="prototypes",
            semantics=str(semantics),
            chance=unseen,
            replicates=Replicates(
                seeds=1, splits=splits, controls=("shuffled_signatures",), control_seeds=5
            ),
            primary=Primary(metric="ausuc", target="label", interval="classes"),
        ),
    ]


def _splits(table: Semantics, classes: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Unseen classes by number, of each split."""
    places = {name: place for place, name in enumerate(classes)}
    if table.splits:
        named = (
            sorted(places[c] for c in unseen if c in places) for unseen in table.splits.values()
        )
        return tuple(tuple(split) for split in named if 0 < len(split) < len(classes) - 1)
    if len(classes) < 4:
        raise BenchError(
            f"{len(classes)} classes are too few to leave some unseen; four or more are wanted"
        )
    size = round(0.3 * len(classes))
    count = min(12, math.comb(len(classes), size))
    return tuple(balanced_splits(len(classes), size, count, seed=0))
