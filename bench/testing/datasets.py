"""The checks of data sets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.images import EncodedImages, Images, Input
from bench.data.samples import SPLITS, Array, DataSet, Samples, SplitName, check_labels, missing
from bench.datasets.base import DataSets, known_facts
from bench.errors import BenchError, Declined
from bench.naming import registry
from bench.naming.specs import Resolved, resolve
from bench.results.predictions import encode_truth, labels_digest
from bench.running.features import images_of
from bench.testing._alone import require_alone
from bench.testing._finding import Check, Finding, Inspection, require
from bench.testing.semantics import semantics_checks


@dataclass(eq=False)
class DataSetCase:
    """The data set of a spec, built twice: by `datasets`, as in a run, and once more."""

    text: str
    datasets: DataSets

    @property
    def spec(self) -> Resolved:
        return resolve("datasets", self.text)

    @property
    def dataset(self) -> DataSet:
        """Raises Declined if the data are missing, and `Finding` if `build` gives no data set."""
        dataset = self.datasets(self.text)
        is_valid = hasattr(dataset, "meta") and hasattr(dataset, "split")
        require(
            is_valid,
            f"build returns {type(dataset).__name__}; return a bench.DataSet",
            at="build()",
        )
        return dataset

    @cached_property
    def rebuilt(self) -> DataSet:
        module = registry.load(self.spec.entry)
        return module.build(root=self.datasets.root, **self.spec.arguments)  # type: ignore[no-any-return]


def check_dataset_alone(case: DataSetCase) -> None:
    """A second build only reads: it writes no file, uses no network, and leaves global state unchanged."""
    _ = case.dataset  # the first build may download and unpack
    require_alone(
        {"build": lambda: case.rebuilt},
        path=case.spec.entry.path,
        instead="download only missing files, and write nothing else",
    )


def check_dataset_fingerprint(case: DataSetCase) -> None:
    """Two builds have the same fingerprint; it, the sizes, test_in_train and the digests of test labels
    are those of known.json."""
    fingerprint, second = case.dataset.fingerprint, case.rebuilt.fingerprint
    require(
        fingerprint == second,
        f"two builds have the fingerprints {fingerprint} and {second}; draw with a fixed seed",
    )
    is_digest = isinstance(fingerprint, str) and re.fullmatch(r"[0-9a-f]{32}", fingerprint)
    require(bool(is_digest), f"fingerprint is {fingerprint!r}; use bench.fingerprint_of")
    facts = known_facts().get(case.spec.text)
    if facts is not None:
        actual = {
            "fingerprint": fingerprint,
            "rows": {split: len(case.dataset.split(split)) for split in SPLITS},
            "test_in_train": case.dataset.test_in_train,
            "labels": _labels(case.dataset),
        }
        for key, value in actual.items():
            require(value == facts[key], f"{key} is {value!r}, in known.json {facts[key]!r}")


def _labels(dataset: DataSet) -> dict[str, str]:
    """Digests of the test labels, by target."""
    labels = dataset.split("test").y
    kinds = {name: target.kind for name, target in dataset.meta.targets.items()}
    return {name: labels_digest(encode_truth(kind, labels[name])) for name, kind in kinds.items()}


def check_dataset_meta(dataset: DataSet) -> None:
    """Targets have valid names, kinds and sizes, and a name per class; `licence`, `flips` (may images be
    mirrored?) and `test_in_train` are given."""
    require(bool(dataset.meta.targets), "it has no target")
    for name, target in dataset.meta.targets.items():
        require(
            bool(re.fullmatch(r"[A-Za-z0-9_]+", name)),
            f"target {name!r}: a name must consist of letters, digits and _",
        )
        kinds = ("classes", "binary", "number")
        require(target.kind in kinds, f"{name!r} has kind {target.kind!r}; expected one of {kinds}")
        minimum = 2 if target.kind == "classes" else 1
        require(
            type(target.size) is int and target.size >= minimum,
            f"{name!r} has size {target.size!r}; expected a whole number of {minimum} or more",
        )
        names = target.names
        require(
            isinstance(names, tuple) and len(names) == target.size,
            f"{name!r} has {len(names)} names for {target.size}",
        )
        require(
            all(isinstance(n, str) and n for n in names) and len(set(names)) == len(names),
            f"{name!r}: a name is empty, repeated or not text ({', '.join(map(str, names[:3]))}, ...)",
        )
    licence = dataset.licence
    require(
        isinstance(licence, str) and bool(licence.strip()),
        f"licence is {licence!r}; name it",
        at="licence",
    )
    require(
        type(dataset.flips) is bool,
        f"flips is {dataset.flips!r}; expected True or False",
        at="flips",
    )
    repeated = dataset.test_in_train
    require(
        type(repeated) is int and repeated >= 0, f"test_in_train is {repeated!r}; expected a count"
    )


def check_dataset_splits(dataset: DataSet) -> None:
    """Every call of split(name) gives the same: rows numbered from 0, each with an image and a label of
    every target."""
    labels = {
        split: {name: y.copy() for name, y in dataset.split(split).y.items()} for split in SPLITS
    }
    targets = set(dataset.meta.targets)
    for split in reversed(SPLITS):
        again = dataset.split(split)
        require(
            np.array_equal(again.rows, np.arange(len(again.rows))),
            f"{split}: rows are {again.rows[:3]}...; expected 0, 1, 2, ...: they index the images",
        )
        require(len(again.rows) > 0, f"{split} has no rows")
        x = _images_or_features(again)
        noun = "rows of features" if isinstance(x, np.ndarray) else "images"
        require(len(x) == len(again.rows), f"{split}: {len(x)} {noun} for {len(again.rows)} rows")
        require(
            set(again.y) == targets,
            f"{split} has labels of {sorted(again.y)}; expected {sorted(targets)}",
        )
        same = all(
            np.array_equal(y, labels[split][name], equal_nan=y.dtype.kind == "f")
            for name, y in again.y.items()
        )
        require(same, f"{split}: labels differ from call to call; draw and shuffle in build")


def check_dataset_labels(dataset: DataSet) -> None:
    """In every split, labels have their target's type, shape and range; train has a row of every class
    that is not unseen, and test a row of every class."""
    for split in SPLITS:
        try:
            check_labels(split, dataset.meta.targets, dataset.split(split))
        except BenchError as error:
            raise Finding(str(error)) from error
    for name, target in dataset.meta.targets.items():
        for split in ("train", "test"):
            labels = dataset.split(split).y[name]
            require(
                not bool(missing(target, labels).all()),
                f"{name!r}: all labels of {split} are missing",
            )
            if target.kind == "number":
                require(not np.isinf(labels).any(), f"{name!r}: a number of {split} is infinite")
            if target.kind == "classes":
                unseen = target.unseen if split == "train" else frozenset()
                empty = sorted(set(range(target.size)) - set(labels.tolist()) - unseen)
                classes = ", ".join(repr(target.names[c]) for c in empty[:3])
                require(
                    not empty,
                    f"{name!r}: {split} has no row of {classes}; every class needs one in train and "
                    "one in test",
                )


def _digest(source: Path | bytes) -> bytes:
    """The sha256 of an encoded image: a folder of files need not fit into memory."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    return hashlib.sha256(data).digest()


def check_dataset_disjoint(dataset: DataSet) -> None:
    """No validation image is a copy of a training image (equal pixels, encoded files or features);
    `test_in_train` counts the test images that are copies of training or validation images."""

    def contents(split: SplitName) -> list[bytes]:
        images = _images_or_features(dataset.split(split))
        if isinstance(images, np.ndarray):
            return [row.tobytes() for row in images]
        if isinstance(images, EncodedImages):
            return [_digest(source) for source in images.sources]
        return [x.tobytes() for x in images.read(np.arange(len(images)), images.native)]

    train, val = set(contents("train")), contents("val")
    repeated = sum(image in train for image in val)
    require(not repeated, f"{repeated} validation images are also in train")
    seen = train.union(val)
    count = sum(image in seen for image in contents("test"))
    require(
        count == dataset.test_in_train, f"test_in_train is {dataset.test_in_train}, counted {count}"
    )


def check_dataset_images(dataset: DataSet) -> None:
    """read(indices, input) gives new uint8 arrays in the size and channels of `input`, for indices in any
    order, the same in every call. A data set of features gives finite float32 (n, d) instead, and says in
    `pretrained_on` which data sets the model that made them was trained on."""
    if isinstance(dataset.split("train").x, np.ndarray):
        _check_features(dataset)
        return
    form = images_of(dataset.split("train")).native
    for split in SPLITS:
        images = images_of(dataset.split(split))
        require(images.native == form, f"{split} is stored as {images.native}, train as {form}")
        indices = np.array([len(images) - 1, 0, len(images) // 2])
        native = images.read(indices, form)
        shape = (3, form.channels, *form.size)
        require(
            native.dtype == np.uint8 and native.shape == shape,
            f"{split}: images are {native.dtype} {native.shape}; expected uint8 {shape}",
        )
        single = np.stack([images.read(np.array([i]), form)[0] for i in indices])
        require(
            np.array_equal(native, single),
            f"{split}: an image depends on the images that are read with it",
        )
        if native.flags.writeable:
            native[:] = 0
        require(
            np.array_equal(images.read(indices, form), single),
            f"{split}: writing into the array that was read changes the images; return a copy",
        )
        converted = images.read(indices, Input(size=(20, 12), channels=3))
        require(
            converted.shape == (3, 3, 20, 12) and converted.dtype == np.uint8,
            f"{split}: read(indices, input) gives {converted.dtype} {converted.shape}; expected uint8 "
            "(3, 3, 20, 12)",
        )


def _check_features(dataset: DataSet) -> None:
    train: Any = dataset.split("train").x
    for split in SPLITS:
        x = dataset.split(split).x
        require(isinstance(x, np.ndarray), f"train has features, but {split} has images")
        assert isinstance(x, np.ndarray)
        is_matrix = x.dtype == np.float32 and x.ndim == 2 and x.shape[1:] == train.shape[1:]
        require(
            is_matrix and x.shape[1] > 0,
            f"{split}: features are {x.dtype} {x.shape}; expected float32 (n, d), with one d for all "
            "splits",
        )
        require(bool(np.isfinite(x).all()), f"{split}: a feature is NaN or infinite")
        again: Any = dataset.split(split).x
        require(np.array_equal(again, x), f"{split}: features differ from call to call")
    names = getattr(dataset, "pretrained_on", None)
    require(
        isinstance(names, tuple) and all(isinstance(name, str) for name in names),
        f"`pretrained_on` is {names!r}; expected a tuple of the data sets that the model behind the "
        "features was trained on",
    )


def _images_or_features(samples: Samples) -> Images | Array:
    return samples.x if isinstance(samples.x, np.ndarray) else images_of(samples)


def build_checks() -> list[Check[DataSetCase]]:
    """For a data set that is built twice."""
    return [check_dataset_alone, check_dataset_fingerprint]


def dataset_checks() -> list[Check[DataSet]]:
    """For a data set that is built, the most basic check first."""
    return [
        check_dataset_meta,
        check_dataset_splits,
        check_dataset_labels,
        check_dataset_images,
        check_dataset_disjoint,
    ]


def inspect_dataset(case: DataSetCase) -> Iterator[Mapping[str, str]]:
    """All checks of a data set, of its signatures and of its file, see `Inspection.run`; the last alone
    where it cannot be built. Raises Declined if the data are missing."""
    inspection = Inspection(case.spec.entry.path)
    try:
        dataset = case.dataset
    except Declined:
        raise
    except Exception:  # the checks of the file tell it
        pass
    else:
        yield from inspection.run(dataset_checks(), dataset)
        yield from inspection.run(semantics_checks(), dataset.meta)
    yield from inspection.run(build_checks(), case)
