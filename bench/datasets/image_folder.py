"""Your own images, of any size, in a folder for each class (path=FOLDER, size=64)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.images import EncodedImages, Input, decode
from bench.data.samples import SPLITS, Array, Meta, Samples, SplitName, Target, check_labels
from bench.datasets.base import (
    SplitDataSet,
    count_repeated,
    drawn_split,
    encoded,
    fingerprint_of,
    share_of_train,
    stratified_rows,
)
from bench.datasets.parts.folders import FolderContents, find_images
from bench.datasets.parts.image_files import check_size
from bench.errors import BenchError, Declined
from bench.progress import each
from bench.threads import threaded

REVISION = 1
LEAST_SIDE = 2  # pixels; smaller images are not pictures but tracking pixels
LEAST_TO_SPLIT = 5  # images of a class, so that it has one in test and one in train

log = logging.getLogger(__name__)


def build(*, root: Path, path: Path | None = None, size: int = 64) -> SplitDataSet:
    """The images under `path` (nothing is read from `root`), `size` x `size` pixels where an encoder
    does not declare another size; grey if every file is grey, else RGB. One target, `label`.

    Either `path` has folders train and test, and perhaps val (else a tenth of train), each with a folder
    for each class; or `path` has the folders of classes, and is split 70/10/20 into train, val and test.
    Splits are stratified and depend on the sorted names alone: equal names give equal splits on any
    machine, and a new file may move others between splits. Nothing is written.

    Every file is decoded here once as a check, and again each time it is used. Raises BenchError where a
    file is damaged, and where classes differ between splits or have too few images; Declined without
    `path`.
    """
    if path is None:
        raise Declined("image_folder needs a folder; name yours: image_folder,path=FOLDER")
    path = Path(path)
    check_size(size)
    contents = find_images(path)
    checked = _check_files(path, contents.files)
    digests = [c.digest for c in checked]
    native = Input(size=(size, size), channels=1 if all(c.grey for c in checked) else 3)
    labels = np.array([contents.classes.index(c) for c in contents.labels], dtype=np.int64)
    rows = _rows(contents, labels)
    splits: dict[SplitName, Samples] = {}
    meta = Meta({"label": Target("classes", len(contents.classes), contents.classes)})
    for split in SPLITS:
        names = [contents.files[row] for row in rows[split]]
        images = EncodedImages([path / n for n in names], native=native, names=names)
        splits[split] = Samples(images, {"label": labels[rows[split]]}, np.arange(len(names)))
        check_labels(f"{path}, {split}", meta.targets, splits[split])
    parts = {split: [digests[row] for row in rows[split]] for split in SPLITS}
    if contents.ignored:
        log.warning(
            "%s: ignored %d files that are hidden or have no image's suffix", path, contents.ignored
        )
    return SplitDataSet(
        name="image_folder",
        meta=meta,
        licence="the user's own",
        flips=True,
        splits=splits,
        fingerprint=fingerprint_of(
            meta,
            {s: [encoded(parts[s]), [contents.files[row] for row in rows[s]]] for s in SPLITS},
            {split: splits[split].y for split in SPLITS},
        ),
        test_in_train=count_repeated(parts),
    )


@dataclass(frozen=True, slots=True)
class _CheckedFile:
    digest: bytes
    grey: bool


def _check_files(path: Path, files: Sequence[str]) -> list[_CheckedFile]:
    """Read and decode every file once. Raises BenchError, naming the first three that cannot be."""

    def check(row: int) -> _CheckedFile | str:
        name = files[row]
        try:
            data = (path / name).read_bytes()
            image = decode(data, name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        except BenchError as error:
            return str(error)
        if min(image.size) < LEAST_SIDE:
            minimum = f"it must be at least {LEAST_SIDE} x {LEAST_SIDE} pixels"
            return f"{name} is {image.width} x {image.height}; {minimum}"
        return _CheckedFile(hashlib.sha256(data).digest(), image.mode == "L")

    work = threaded(check, len(files))
    results = list(each(work, f"checking images in {path.name}", len(files), "files"))
    problems = [result for result in results if isinstance(result, str)]
    if problems:
        omitted = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise BenchError(
            f"{path}: {len(problems)} of {len(files)} images cannot be used "
            f"({'; '.join(problems[:3])}{omitted}); repair them or move them elsewhere"
        )
    return [result for result in results if not isinstance(result, str)]


def _rows(contents: FolderContents, labels: Array) -> dict[SplitName, Array]:
    """Rows of each split: of the folder's own splits, else drawn from the labels."""
    if contents.splits is None:
        _require(contents, labels, LEAST_TO_SPLIT, "")
        return drawn_split(labels)
    split_of = np.array(contents.splits)
    rows: dict[SplitName, Array] = {split: np.flatnonzero(split_of == split) for split in SPLITS}
    if not len(rows["val"]):
        train = rows["train"]
        _require(contents, labels[train], 2, " in train")
        val = train[stratified_rows(labels[train], max(1, share_of_train(len(train))), seed=0)]
        rows |= {"train": np.setdiff1d(train, val), "val": val}
    return rows


def _require(contents: FolderContents, labels: Array, least: int, where: str) -> None:
    """Raise BenchError unless every class has `least` labels."""
    counts = np.bincount(labels, minlength=len(contents.classes))
    small = [f"{contents.classes[c]!r} has {counts[c]}" for c in np.flatnonzero(counts < least)]
    if small:
        omitted = f" and {len(small) - 3} more classes too few" if len(small) > 3 else ""
        raise BenchError(
            f"{contents.path}: too few images to split{where}: {', '.join(small[:3])}{omitted}; each "
            f"class needs {least} or more"
        )
