"""What every data set keeps to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bench.data import SPLITS, DataSet, SplitName, check_labels
from bench.errors import BenchError
from bench.features import images_of
from bench.images import EncodedImages, Input
from bench.testing._finding import Check, Finding, require

__all__ = ["dataset_checks"]


def check_dataset_labels(dataset: DataSet) -> None:
    """Labels have their target's type, shape and range, in every split; every class is in train."""
    for split in SPLITS:
        samples = dataset.split(split)
        try:
            check_labels(split, dataset.meta.targets, samples)
        except BenchError as error:
            raise Finding(str(error)) from error
        require(len(images_of(samples)) == len(samples.rows), f"{split}: as many images as rows")
    for name, target in dataset.meta.targets.items():
        require(len(target.names) == target.size, f"{name!r} has {target.size} names")
        if target.kind == "classes":
            found = np.unique(dataset.split("train").y[name])
            require(len(found[found >= 0]) == target.size, f"{name!r}: a class is not in train")


def digest(source: Path | bytes) -> bytes:
    """The sha256 of an encoded image: a folder of files need not fit into memory."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    return hashlib.sha256(data).digest()


def check_dataset_disjoint(dataset: DataSet) -> None:
    """No validation image stands, pixel by pixel (byte by byte where images stay encoded), in train;
    the count of such test images is told."""

    def contents(split: SplitName) -> list[bytes]:
        images = images_of(dataset.split(split))
        if isinstance(images, EncodedImages):
            return [digest(source) for source in images.sources]
        return [x.tobytes() for x in images.read(np.arange(len(images)), images.native)]

    train, val = set(contents("train")), contents("val")
    repeated = sum(image in train for image in val)
    require(not repeated, f"{repeated} validation images are also in train")
    seen = train.union(val)
    found = sum(image in seen for image in contents("test"))
    require(
        found == dataset.test_in_train, f"test_in_train is {dataset.test_in_train}, found {found}"
    )


def check_dataset_images(dataset: DataSet) -> None:
    """Images come as uint8 in the form asked for, in any order, and the same each time."""
    images = images_of(dataset.split("train"))
    some = np.array([3, 0, 2])
    native = images.read(some, images.native)
    require(native.dtype == np.uint8, f"images are {native.dtype}; uint8 is wanted")
    require(
        native.shape == (3, images.native.channels, *images.native.size),
        f"images have shape {native.shape}",
    )
    again = np.stack([images.read(np.array([i]), images.native)[0] for i in some])
    require(np.array_equal(native, again), "an image depends on what it is read with")
    wanted = Input(size=(20, 12), channels=3)
    require(images.read(some, wanted).shape == (3, 3, 20, 12), "images are not converted as asked")


def dataset_checks() -> list[Check[DataSet]]:
    """For a data set. That its fingerprint is stable takes two builds: see `run_checks`' callers."""
    return [check_dataset_labels, check_dataset_disjoint, check_dataset_images]
