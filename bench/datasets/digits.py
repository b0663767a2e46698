"""Handwritten digits of scikit-learn: 1,797 grey images of 8 x 8, installed with scikit-learn."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from bench.data.samples import SPLITS, Meta, Target
from bench.datasets.base import SplitDataSet, index_file, take_split

REVISION = 1


@cache
def _read() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (n, 1, 8, 8) and labels (n,); unpacking the file takes a tenth of a second."""
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    return images, bunch.target.astype(np.int64)


def build(*, root: Path) -> SplitDataSet:
    """The data set (nothing is read from `root`), with 16 grey levels scaled to 0..255. There is no
    official test split: ours, 540 images, and validation, 125, are stratified, in an index file.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, CC BY 4.0.
    """
    images, labels = _read()
    splits = take_split(len(labels), index_file("digits"))
    return SplitDataSet.of(
        "digits",
        meta=Meta({"label": Target("classes", 10, tuple(str(c) for c in range(10)))}),
        licence="CC-BY-4.0",
        flips=False,
        images={name: images[splits[name]] for name in SPLITS},
        labels={name: {"label": labels[splits[name]]} for name in SPLITS},
    )
