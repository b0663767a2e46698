"""CIFAR-10 with two targets: its ten classes, and animal or vehicle."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from bench.data.samples import SPLITS, Meta, Samples, Target
from bench.datasets.base import DataSets, SplitDataSet, fingerprint_of
from bench.errors import BenchError

REVISION = 1
IMAGES = ("cifar10",)
KINDS = {"animal": "bird cat deer dog frog horse", "vehicle": "airplane automobile ship truck"}


def build(
    *, root: Path, source: Literal["cifar10", "cifar10_jpeg"] = "cifar10_jpeg"
) -> SplitDataSet:
    """The images, splits and classes of `source`, with the targets `class` and `kind`: six animals, four
    vehicles. `kind` follows from `class`, and is easier; always answering animal is right for 60 % of
    the images.

    The re-encoded images are the default, since known.json has their fingerprint. The fingerprint is
    computed from that of `source` and the labels.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images; the kinds are ours.
    """
    base = DataSets(root)(source)
    names = base.meta.targets["label"].names
    kinds = {name: kind for kind, members in enumerate(KINDS.values()) for name in members.split()}
    if set(names) != set(kinds):
        raise BenchError(f"the classes of {source} are not those of CIFAR-10: {', '.join(names)}")
    kind_of = np.array([kinds[name] for name in names], dtype=np.int64)
    meta = Meta(
        {
            "class": Target("classes", len(names), names),
            "kind": Target("classes", len(KINDS), tuple(KINDS)),
        }
    )
    parts = {split: base.split(split) for split in SPLITS}
    splits = {
        split: Samples(
            part.x, {"class": part.y["label"], "kind": kind_of[part.y["label"]]}, part.rows
        )
        for split, part in parts.items()
    }
    return SplitDataSet(
        name="cifar10_kinds",
        meta=meta,
        licence=base.licence,
        flips=base.flips,
        splits=splits,
        fingerprint=fingerprint_of(
            meta,
            {split: ["of", base.fingerprint] for split in SPLITS},
            {split: part.y for split, part in splits.items()},
        ),
        test_in_train=base.test_in_train,
    )
