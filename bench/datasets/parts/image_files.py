"""Data sets whose images are files in one folder: read once for their digests, decoded when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images import EncodedImages, Input
from bench.data.samples import SPLITS, Meta, Samples, SplitName
from bench.datasets.base import SplitDataSet, encoded, fingerprint_of
from bench.errors import BenchError
from bench.threads import threaded

Array = npt.NDArray[Any]


def of_files(
    name: str,
    *,
    root: Path,
    folder: str,
    files: Sequence[str],
    labels: Mapping[str, Array],
    rows: Mapping[SplitName, Array],
    meta: Meta,
    size: int,
    licence: str,
) -> SplitDataSet:
    """From all `files` of `root`/`folder`, their labels by target, and the rows of each split. They are
    photographs: RGB, `size` x `size` where an encoder does not say otherwise, and may be mirrored.

    The fingerprint is over bytes of files and labels, not over names and `size`. Raises BenchError for
    files that cannot be read.
    """
    digests = _digests(name, root, folder, files)
    native = Input(size=(size, size), channels=3)
    splits: dict[SplitName, Samples] = {}
    contents: dict[SplitName, list[bytes]] = {}
    for split in SPLITS:
        names = [files[row] for row in rows[split]]
        images = EncodedImages([root / folder / n for n in names], native=native, names=names)
        some = {target: values[rows[split]] for target, values in labels.items()}
        splits[split] = Samples(images, some, np.arange(len(names)))
        contents[split] = [digests[row] for row in rows[split]]
    seen = {*contents["train"], *contents["val"]}
    return SplitDataSet(
        name=name,
        meta=meta,
        licence=licence,
        flips=True,
        splits=splits,
        fingerprint=fingerprint_of(
            meta,
            {split: encoded(contents[split]) for split in SPLITS},
            {split: splits[split].y for split in SPLITS},
        ),
        test_in_train=sum(each in seen for each in contents["test"]),
    )


def check_size(size: int) -> None:
    """Raises BenchError for a side below two pixels."""
    if size < 2:
        raise BenchError(f"size={size} is too small; 2 or more is wanted")


def _digests(name: str, root: Path, folder: str, files: Sequence[str]) -> list[bytes]:
    """The sha256 of each file. Raises BenchError naming the first three that are not there."""
    from tqdm import tqdm

    def read(row: int) -> bytes | None:
        try:
            return hashlib.sha256((root / folder / files[row]).read_bytes()).digest()
        except OSError:
            return None

    work = threaded(read, len(files))
    found = list(tqdm(work, total=len(files), desc=f"reading {name}", disable=None, leave=False))
    gone = [file for file, each in zip(files, found, strict=True) if each is None]
    if gone:
        raise BenchError(
            f"{len(gone)} of {len(files)} images of {name} cannot be read ({', '.join(gone[:3])}); put "
            f"them into {folder}"
        )
    return [each for each in found if each is not None]
