"""Published ResNet-101 features for zero-shot learning: AWA1, AWA2, CUB, SUN, APY (set=AWA2)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from bench.data.samples import SPLITS, Array, Meta, Samples, SplitName, Target, check_labels
from bench.data.semantics import Semantics
from bench.datasets.base import (
    SplitDataSet,
    absent,
    count_repeated,
    encoded,
    fingerprint_of,
    share_of_train,
    stratified_rows,
)
from bench.datasets.parts.xlsa import (
    FEATURES,
    SPLITS_FILE,
    XlsaTables,
    is_there,
    read_features,
    read_tables,
)

REVISION = 1
SOURCE = (
    "Xian, Lampert, Schiele and Akata 2019, Zero-shot learning: a comprehensive evaluation of the good, "
    "the bad and the ugly, arXiv:1707.00600"
)

# Repeated in `build`, since specs are checked against the text of its annotation.
Set = Literal["AWA1", "AWA2", "CUB", "SUN", "APY"]


def build(
    *,
    root: Path,
    set: Literal["AWA1", "AWA2", "CUB", "SUN", "APY"] = "AWA2",  # noqa: A002
) -> SplitDataSet:
    """The files res101.mat and att_splits.mat under `root`/xlsa17/`set`, never downloaded. Samples are
    features, float32 (n, 2048), of a network trained on ImageNet-1k, not images. One target, `class`,
    with the names and the order of the file; its `unseen` are the classes of test_unseen_loc.

    Test is test_seen_loc and test_unseen_loc, so that it has every class; val is a stratified tenth of
    trainval_loc, train the remainder: neither has an unseen class. train_loc and val_loc, which some
    releases have, are not used, since in one release they contain test images; a warning says so.

    The fingerprint is computed from features, labels and the three lists of indices, so that versions of
    the proposed split differ in it. Raises Declined where a file is missing; BenchError for files that
    cannot be read or do not fit together.

    Source: Xian, Lampert, Schiele and Akata 2019, arXiv:1707.00600.
    """
    tables = _tables(root, set)
    features = read_features(root / "xlsa17" / set, len(tables.labels))
    rows = _rows(tables)
    classes = Target("classes", len(tables.names), tables.names, unseen=frozenset(tables.unseen))
    meta = Meta({"class": classes})
    splits: dict[SplitName, Samples] = {}
    contents: dict[SplitName, list[bytes]] = {}
    for split in SPLITS:
        x, labels = features[rows[split]], tables.labels[rows[split]]
        splits[split] = Samples(x, {"class": labels}, np.arange(len(x)))
        check_labels(f"xlsa, {split}", meta.targets, splits[split])
        contents[split] = [hashlib.sha256(row.astype("<f4").data).digest() for row in x]
    parts = (tables.trainval, tables.test_seen, tables.test_unseen)
    indices = [hashlib.sha256(part.astype("<i8").data).hexdigest() for part in parts]
    return SplitDataSet(
        name="xlsa",
        meta=meta,
        licence="terms not stated; features of images that may not be passed on",
        flips=False,
        splits=splits,
        fingerprint=fingerprint_of(
            meta,
            {split: [encoded(contents[split]), features.shape[1], indices] for split in SPLITS},
            {split: splits[split].y for split in SPLITS},
        ),
        test_in_train=count_repeated(contents),
        pretrained_on=("imagenet-1k",),
    )


def semantics(root: Path, set: Set = "AWA2") -> Semantics:  # noqa: A002
    """Signatures of all classes of `set` (`att`, of unit length; NaN where the authors' -1 marks a missing
    value), with the split "proposed". The file has no names of attributes: they are a0, a1 and so on.
    Raises the errors of `build`."""
    tables = _tables(root, set)
    count = tables.signatures.shape[1]
    return Semantics(
        name=f"xlsa_{set.lower()}",
        title=f"{set}: {count} attributes of {len(tables.names)} classes, unit length",
        source=SOURCE,
        classes=tables.names,
        attributes=tuple(f"a{number}" for number in range(count)),
        table=tables.signatures,
        splits={"proposed": tuple(tables.names[c] for c in tables.unseen)},
    )


def _tables(root: Path, set: Set) -> XlsaTables:  # noqa: A002
    folder = root / "xlsa17" / set
    if not is_there(folder):
        raise absent("xlsa", f"xlsa17/{set}/{FEATURES} and xlsa17/{set}/{SPLITS_FILE}")
    return read_tables(folder)


def _rows(tables: XlsaTables) -> dict[SplitName, Array]:
    """Rows of each split, in the order of the files."""
    trainval = tables.trainval
    count = max(1, share_of_train(len(trainval)))
    val = trainval[stratified_rows(tables.labels[trainval], count, seed=0)]
    test = np.sort(np.concatenate([tables.test_seen, tables.test_unseen]))
    return {"train": np.setdiff1d(trainval, val), "val": val, "test": test}
