"""Data sets of image files in one folder: read once for their digests, decoded each time they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.data.images import EncodedImages, Input
from bench.data.samples import SPLITS, Array, Meta, Samples, SplitName
from bench.datasets.base import SplitDataSet, count_repeated, encoded, fingerprint_of
from bench.errors import BenchError
from bench.progress import each
from bench.threads import threaded


def dataset_of_files(
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
    """A data set of photographs, RGB, which may be mirrored.

    folder, files: the images are `root`/`folder`/file for each of the n files
    labels: by target, of all n files
    rows: by split, row numbers within `files`
    size: side in pixels in which images are delivered where an encoder does not declare another

    The fingerprint is computed from the bytes of the files and the labels, not from names and `size`.
    Raises BenchError for files that cannot be read.
    """
    digests = _digests(name, root, folder, files)
    native = Input(size=(size, size), channels=3)
    splits: dict[SplitName, Samples] = {}
    contents: dict[SplitName, list[bytes]] = {}
    for split in SPLITS:
        names = [files[row] for row in rows[split]]
        images = EncodedImages([root / folder / n for n in names], native=native, names=names)
        split_labels = {target: values[rows[split]] for target, values in labels.items()}
        splits[split] = Samples(images, split_labels, np.arange(len(names)))
        contents[split] = [digests[row] for row in rows[split]]
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
        test_in_train=count_repeated(contents),
    )


def check_size(size: int) -> None:
    """Raise BenchError for a side of less than two pixels."""
    if size < 2:
        raise BenchError(f"size={size}: must be 2 or more")


def _digests(name: str, root: Path, folder: str, files: Sequence[str]) -> list[bytes]:
    """The sha256 of each file. Raises BenchError, naming the first three that cannot be read."""

    def read(row: int) -> bytes | None:
        try:
            return hashlib.sha256((root / folder / files[row]).read_bytes()).digest()
        except OSError:
            return None

    work = threaded(read, len(files))
    digests = list(each(work, f"reading {name}", len(files), "files"))
    unread = [file for file, digest in zip(files, digests, strict=True) if digest is None]
    if unread:
        raise BenchError(
            f"{len(unread)} of {len(files)} images of {name} cannot be read "
            f"({', '.join(unread[:3])}); put them into {folder}"
        )
    return [digest for digest in digests if digest is not None]
