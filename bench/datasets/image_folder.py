"""A folder of your own: images of any size, a folder a class (path=FOLDER, size=64)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images import EncodedImages, Input, decode
from bench.data.samples import SPLITS, Meta, Samples, SplitName, Target, check_labels
from bench.datasets.base import (
    SplitDataSet,
    encoded,
    fingerprint_of,
    share_of_train,
    stratified_rows,
    take_split,
)
from bench.datasets.parts.folders import Found, find_images
from bench.errors import BenchError, Declined
from bench.threads import threaded

REVISION = 1
LEAST_SIDE = 2  # pixels; what is smaller is a tracking dot, not a picture
LEAST_TO_SPLIT = 5  # images a class, so that each has one in test and one to learn from

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)


def build(*, root: Path, path: Path | None = None, size: int = 64) -> SplitDataSet:
    """The images under `path` (nothing is read from `root`), `size` x `size` where an encoder does
    not say otherwise; grey if every file is grey, else RGB. One target, `label`.

    Either `path`/train and `path`/test, and `path`/val if you like (else a tenth of train), each with
    a folder a class; or folders of classes in `path` itself, split 70/10/20 into train, val and test.
    Splits are stratified and hang on the sorted names alone: the same names give the same split on
    any machine, and adding a file moves others between splits. Nothing is written.

    Every file is decoded once here, and again when it is read. Raises BenchError, and takes nothing,
    where a file is damaged, where classes differ between splits or have too few images; Declined
    where no `path` is given.
    """
    if path is None:
        raise Declined("image_folder is no folder yet; name yours: image_folder,path=FOLDER")
    path = Path(path)
    if size < LEAST_SIDE:
        raise BenchError(f"size={size} is too small; {LEAST_SIDE} or more is wanted")
    found = find_images(path)
    checked = _check_files(path, found.files)
    digests = [c.digest for c in checked]
    native = Input(size=(size, size), channels=1 if all(c.grey for c in checked) else 3)
    labels = np.array([found.classes.index(c) for c in found.labels], dtype=np.int64)
    rows = _rows(found, labels)
    splits: dict[SplitName, Samples] = {}
    meta = Meta({"label": Target("classes", len(found.classes), found.classes)})
    for split in SPLITS:
        names = [found.files[row] for row in rows[split]]
        images = EncodedImages([path / n for n in names], native=native, names=names)
        splits[split] = Samples(images, {"label": labels[rows[split]]}, np.arange(len(names)))
        check_labels(f"{path}, {split}", meta.targets, splits[split])
    parts = {split: [digests[row] for row in rows[split]] for split in SPLITS}
    seen = {*parts["train"], *parts["val"]}
    if found.ignored:
        log.warning("%s: %d files are hidden or named like no image: ignored", path, found.ignored)
    return SplitDataSet(
        name="image_folder",
        meta=meta,
        licence="the user's own",
        flips=True,
        splits=splits,
        fingerprint=fingerprint_of(
            meta,
            {s: [encoded(parts[s]), [found.files[row] for row in rows[s]]] for s in SPLITS},
            {split: splits[split].y for split in SPLITS},
        ),
        test_in_train=sum(digest in seen for digest in parts["test"]),
    )


@dataclass(frozen=True, slots=True)
class _Checked:
    digest: bytes
    grey: bool


def _check_files(path: Path, files: Sequence[str]) -> list[_Checked]:
    """Every file read and decoded once. Raises BenchError naming the first three that cannot be."""
    from tqdm import tqdm

    def check(row: int) -> _Checked | str:
        name = files[row]
        try:
            data = (path / name).read_bytes()
            image = decode(data, name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        except BenchError as error:
            return str(error)
        if min(image.size) < LEAST_SIDE:
            least = f"at least {LEAST_SIDE} x {LEAST_SIDE} pixels are wanted"
            return f"{name} is {image.width} x {image.height}; {least}"
        return _Checked(hashlib.sha256(data).digest(), image.mode == "L")

    good: list[_Checked] = []
    bad: list[str] = []
    work = threaded(check, len(files))
    for result in tqdm(work, total=len(files), desc="checking images", disable=None, leave=False):
        if isinstance(result, str):
            bad.append(result)
        else:
            good.append(result)
    if bad:
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise BenchError(
            f"{path}: {len(bad)} of {len(files)} images cannot be used ({'; '.join(bad[:3])}{more}); "
            "mend them or move them away"
        )
    return good


def _rows(found: Found, labels: Array) -> dict[SplitName, Array]:
    """Rows of each split, from the folders' own split or by one drawn from the labels in order."""
    if found.splits is None:
        _require(found, labels, LEAST_TO_SPLIT, "")
        # Rounded up, so that a class of five has a test image; val cannot take its last one.
        test = stratified_rows(labels, -(-len(labels) // 5), seed=0)
        rest = np.setdiff1d(np.arange(len(labels)), test)
        count = max(1, len(labels) // 10)
        val = rest[stratified_rows(labels[rest], count, seed=1)]
        parts = take_split(len(labels), {"val": val, "test": test})
        return {split: parts[split] for split in SPLITS}
    given = np.array(found.splits)
    rows: dict[SplitName, Array] = {split: np.flatnonzero(given == split) for split in SPLITS}
    if not len(rows["val"]):
        train = rows["train"]
        _require(found, labels[train], 2, " in train")
        val = train[stratified_rows(labels[train], max(1, share_of_train(len(train))), seed=0)]
        rows |= {"train": np.setdiff1d(train, val), "val": val}
    return rows


def _require(found: Found, labels: Array, least: int, where: str) -> None:
    counts = np.bincount(labels, minlength=len(found.classes))
    few = [f"{found.classes[c]!r} has {counts[c]}" for c in np.flatnonzero(counts < least)]
    if few:
        more = f" and {len(few) - 3} more classes too few" if len(few) > 3 else ""
        raise BenchError(
            f"{found.path}: too few images to split{where}: {', '.join(few[:3])}{more}; at least "
            f"{least} a class are wanted"
        )
