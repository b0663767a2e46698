"""Data sets that torchvision reads, and downloads where there is a network."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.samples import SPLITS, Array, Meta, Target
from bench.datasets.base import (
    SplitDataSet,
    absent,
    index_file,
    share_of_train,
    stratified_rows,
    take_split,
)
from bench.errors import BenchError, Declined


def build_grey(
    name: str, kind: type[Any], *, root: Path, classes: tuple[str, ...], flips: bool
) -> SplitDataSet:
    """A torchvision data set `kind` of grey images in the layout of MNIST: official test split, validation
    from the committed index file.

    Raises Declined where the files are missing and cannot be downloaded, BenchError where they are
    damaged.
    """
    parts: dict[str, tuple[Array, Array]] = {}
    files = f"{kind.__name__}/raw/train-images-idx3-ubyte and the three files that belong to it"
    for part in ("train", "test"):
        data = _open(name, kind, root=root, train=part == "train", files=files)
        parts[part] = data.data.numpy()[:, None], data.targets.numpy().astype(np.int64)
    count, official = len(parts["train"][1]), index_file(name)
    if count <= max(int(rows.max()) for rows in official.values()):
        raise BenchError(
            f"the images or labels of {name} are not the expected ones ({count} training images); "
            "remove the files and fetch them again"
        )
    rows = {**take_split(count, official), "test": np.arange(len(parts["test"][1]))}
    source = {split: parts["test" if split == "test" else "train"] for split in SPLITS}
    return SplitDataSet.of(
        name,
        meta=Meta({"label": Target("classes", len(classes), classes)}),
        licence="MIT",
        flips=flips,
        images={split: source[split][0][rows[split]] for split in SPLITS},
        labels={split: {"label": source[split][1][rows[split]]} for split in SPLITS},
    )


def build_cifar(
    name: str,
    kind: type[Any],
    *,
    root: Path,
    classes: tuple[str, ...],
    targets: Callable[[Array], Mapping[str, Array]],
    meta: Meta,
) -> SplitDataSet:
    """CIFAR as torchvision reads it, which checks the files' digests. Official test split; validation is
    stratified by class, drawn here with seed 0 from the official order.

    kind: torchvision's class
    classes: the expected names of its classes, in order
    targets: class labels (n,) to labels by target
    meta: the targets

    Raises Declined where the files are missing and cannot be downloaded, BenchError where they are
    damaged.
    """
    parts: dict[str, tuple[Array, Array]] = {}
    for part in ("train", "test"):
        try:
            files = f"the folder {kind.base_folder}"
            data = _open(name, kind, root=root, train=part == "train", files=files)
        except Declined as error:
            if (root / kind.base_folder).exists():
                raise BenchError(
                    f"files of {name} are damaged or missing; remove the folder {kind.base_folder} from "
                    "the data root, and fetch it again"
                ) from error
            raise
        if tuple(data.classes) != classes:
            raise BenchError(f"the classes of {name} are not the expected ones: {data.classes}")
        images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
        parts[part] = images, np.array(data.targets, dtype=np.int64)
    count = len(parts["train"][1])
    drawn = stratified_rows(parts["train"][1], share_of_train(count), seed=0)
    rows = {**take_split(count, {"val": drawn}), "test": np.arange(len(parts["test"][1]))}
    source = {split: parts["test" if split == "test" else "train"] for split in SPLITS}
    return SplitDataSet.of(
        name,
        meta=meta,
        licence="not stated by its authors",
        flips=True,
        images={split: source[split][0][rows[split]] for split in SPLITS},
        labels={split: targets(source[split][1][rows[split]]) for split in SPLITS},
    )


def _open(name: str, kind: type[Any], *, root: Path, train: bool, files: str) -> Any:
    """torchvision's data set, downloaded if its `files` are missing."""
    try:
        return kind(root, train=train, download=False)
    except RuntimeError:  # torchvision's error for missing files
        pass
    except (ValueError, AssertionError, KeyError, TypeError) as error:  # and for truncated files
        raise BenchError(
            f"the files of {name} are damaged ({error or 'wrong length'}); remove them and fetch them "
            "again"
        ) from error
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return kind(root, train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise absent(name, files, error) from error
