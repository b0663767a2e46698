"""What every data set keeps to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images import EncodedImages, Images, Input
from bench.data.samples import SPLITS, DataSet, Samples, SplitName, check_labels, missing
from bench.datasets.base import DataSets, known
from bench.errors import BenchError
from bench.naming import registry
from bench.naming.specs import Resolved, resolve
from bench.running.features import images_of
from bench.testing._alone import require_alone
from bench.testing._finding import Check, Finding, require

__all__ = ["DataSetCase", "build_checks", "dataset_checks"]

Array = npt.NDArray[Any]


@dataclass(slots=True, eq=False)
class DataSetCase:
    """The data set that `text` names, built twice: by `datasets`, as a run does it, and once more."""

    text: str
    datasets: DataSets
    _kept: list[DataSet] = field(default_factory=list)

    @property
    def spec(self) -> Resolved:
        return resolve("datasets", self.text)

    @property
    def dataset(self) -> DataSet:
        """Raises Declined where the data are absent."""
        return self.datasets(self.text)

    def again(self) -> DataSet:
        if not self._kept:
            made = registry.load(self.spec.entry).build(
                root=self.datasets.root, **self.spec.arguments
            )
            self._kept.append(made)
        return self._kept[0]


def check_dataset_alone(case: DataSetCase) -> None:
    """Built again, it reads what is there: it writes no file, needs no network, leaves global state
    alone."""
    _ = case.dataset  # the first time may fetch and unpack
    require_alone(
        {"build": case.again},
        instead="only what is absent is fetched, and nothing is written beside it",
    )


def check_dataset_fingerprint(case: DataSetCase) -> None:
    """Two builds have one fingerprint, and it is the known one where there is one."""
    found, again = case.dataset.fingerprint, case.again().fingerprint
    require(
        found == again,
        f"two builds have the fingerprints {found} and {again}; draw by a fixed seed",
    )
    good = isinstance(found, str) and re.fullmatch(r"[0-9a-f]{32}", found)
    require(bool(good), f"fingerprint is {found!r}; take bench.datasets.base.fingerprint_of")
    facts = known().get(case.spec.text)
    if facts is not None:
        told = {
            "fingerprint": found,
            "rows": {split: len(case.dataset.split(split)) for split in SPLITS},
            "test_in_train": case.dataset.test_in_train,
        }
        for key, value in told.items():
            require(value == facts[key], f"{key} is {value!r}, in known.json {facts[key]!r}")


def check_dataset_meta(dataset: DataSet) -> None:
    """It names its targets, what their classes mean, its licence, and whether its images may be
    mirrored."""
    require(bool(dataset.meta.targets), "it has no target")
    for name, target in dataset.meta.targets.items():
        require(
            bool(re.fullmatch(r"[A-Za-z0-9_]+", name)),
            f"target {name!r} is no name of letters, digits and _",
        )
        kinds = ("classes", "binary", "number")
        require(target.kind in kinds, f"{name!r} has kind {target.kind!r}; {kinds} are known")
        least = 2 if target.kind == "classes" else 1
        require(
            type(target.size) is int and target.size >= least,
            f"{name!r} has size {target.size!r}; a whole number from {least} is wanted",
        )
        names = target.names
        require(
            isinstance(names, tuple) and len(names) == target.size,
            f"{name!r} has {len(names)} names for {target.size}",
        )
        require(
            all(isinstance(each, str) and each for each in names) and len(set(names)) == len(names),
            f"{name!r}: a name is empty, repeated or no text ({', '.join(map(str, names[:3]))}, ...)",
        )
    licence = dataset.licence
    require(isinstance(licence, str) and bool(licence.strip()), f"licence is {licence!r}; name it")
    require(type(dataset.flips) is bool, f"flips is {dataset.flips!r}; True or False is wanted")
    repeated = dataset.test_in_train
    require(
        type(repeated) is int and repeated >= 0, f"test_in_train is {repeated!r}; a count is wanted"
    )


def check_dataset_splits(dataset: DataSet) -> None:
    """Each split is the same whenever it is asked for: rows numbered from 0, an image and a label of
    every target for each."""
    first = {split: dataset.split(split) for split in SPLITS}
    kept = {split: {n: y.copy() for n, y in part.y.items()} for split, part in first.items()}
    targets = set(dataset.meta.targets)
    for split in reversed(SPLITS):
        again = dataset.split(split)
        require(
            np.array_equal(again.rows, np.arange(len(again.rows))),
            f"{split}: rows are {again.rows[:3]}...; 0, 1, 2, ... are wanted: images are read by them",
        )
        require(len(again.rows) > 0, f"{split} has no rows")
        held = _held(again)
        what = "rows of features" if isinstance(held, np.ndarray) else "images"
        require(
            len(held) == len(again.rows),
            f"{split}: {len(held)} {what} for {len(again.rows)} rows",
        )
        require(
            set(again.y) == targets, f"{split} has labels of {sorted(again.y)}; {sorted(targets)}"
        )
        same = all(
            np.array_equal(y, kept[split][n], equal_nan=y.dtype.kind == "f")
            for n, y in again.y.items()
        )
        require(same, f"{split}: labels differ from call to call; draw and shuffle in build")


def check_dataset_labels(dataset: DataSet) -> None:
    """Labels have their target's type, shape and range, in every split; every class that is not marked
    as unseen is in train, and every class in test."""
    for split in SPLITS:
        try:
            check_labels(split, dataset.meta.targets, dataset.split(split))
        except BenchError as error:
            raise Finding(str(error)) from error
    for name, target in dataset.meta.targets.items():
        for split in ("train", "test"):
            labels = dataset.split(split).y[name]
            require(
                not bool(missing(target, labels).all()), f"{name!r}: no label of {split} is known"
            )
            if target.kind == "number":
                require(not np.isinf(labels).any(), f"{name!r}: a number of {split} is infinite")
            if target.kind == "classes":
                unseen = target.unseen if split == "train" else frozenset()
                gone = sorted(set(range(target.size)) - set(labels.tolist()) - unseen)
                told = ", ".join(repr(target.names[c]) for c in gone[:3])
                require(
                    not gone,
                    f"{name!r}: no row of {split} shows {told}; a class needs one to learn from in train "
                    "and one to be asked for in test",
                )


def digest(source: Path | bytes) -> bytes:
    """The sha256 of an encoded image: a folder of files need not fit into memory."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    return hashlib.sha256(data).digest()


def check_dataset_disjoint(dataset: DataSet) -> None:
    """No validation image stands, pixel by pixel (byte by byte where images stay encoded, number by number
    where there are features), in train; the count of such test images is told."""

    def contents(split: SplitName) -> list[bytes]:
        images = _held(dataset.split(split))
        if isinstance(images, np.ndarray):
            return [row.tobytes() for row in images]
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
    """Images of every split come as uint8 in the form asked for, in any order, the same each time, and
    as the reader's own. Features are finite float32 (n, d), the same each time, with the data sets that
    what made them has seen."""
    if isinstance(dataset.split("train").x, np.ndarray):
        _check_features(dataset)
        return
    form = images_of(dataset.split("train")).native
    for split in SPLITS:
        images = images_of(dataset.split(split))
        require(images.native == form, f"{split} is kept as {images.native}, train as {form}")
        some = np.array([len(images) - 1, 0, len(images) // 2])
        native = images.read(some, form)
        wanted = (3, form.channels, *form.size)
        require(
            native.dtype == np.uint8 and native.shape == wanted,
            f"{split}: images are {native.dtype} {native.shape}; uint8 {wanted} is wanted",
        )
        alone = np.stack([images.read(np.array([i]), form)[0] for i in some])
        require(np.array_equal(native, alone), f"{split}: an image depends on what it is read with")
        if native.flags.writeable:
            native[:] = 0
        again = images.read(some, form)
        require(
            np.array_equal(again, alone),
            f"{split}: writing into what was read changes the images; copy",
        )
        other = images.read(some, Input(size=(20, 12), channels=3))
        require(
            other.shape == (3, 3, 20, 12) and other.dtype == np.uint8,
            f"{split}: images are not converted as asked ({other.dtype} {other.shape})",
        )


def _check_features(dataset: DataSet) -> None:
    train: Any = dataset.split("train").x
    for split in SPLITS:
        x = dataset.split(split).x
        require(isinstance(x, np.ndarray), f"train holds features, and {split} images")
        assert isinstance(x, np.ndarray)
        good = x.dtype == np.float32 and x.ndim == 2 and x.shape[1:] == train.shape[1:]
        require(
            good and x.shape[1] > 0,
            f"{split}: features are {x.dtype} {x.shape}; float32 (n, d) is wanted, one d for all",
        )
        require(bool(np.isfinite(x).all()), f"{split}: a feature is NaN or infinite")
        again: Any = dataset.split(split).x
        require(np.array_equal(again, x), f"{split}: features differ from call to call")
    seen = getattr(dataset, "pretrained_on", None)
    require(
        isinstance(seen, tuple) and all(isinstance(each, str) for each in seen),
        f"`pretrained_on` is {seen!r}; a tuple of names is wanted: what made the features has seen them",
    )


def _held(samples: Samples) -> Images | Array:
    """A split's images, or its features."""
    return samples.x if isinstance(samples.x, np.ndarray) else images_of(samples)


def build_checks() -> list[Check[DataSetCase]]:
    """For the building of a data set, more than once."""
    return [check_dataset_alone, check_dataset_fingerprint]


def dataset_checks() -> list[Check[DataSet]]:
    """For a data set, once it is built; what is basic comes first."""
    return [
        check_dataset_meta,
        check_dataset_splits,
        check_dataset_labels,
        check_dataset_images,
        check_dataset_disjoint,
    ]
