"""Your own images, of any size, in a folder for each class (path=FOLDER, size=64)."""

from __future__ import annotations

import hashlib
import logging
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.data.images import EncodedImages, Input, decode
from bench.data.samples import SPLITS, Array, Meta, Samples, SplitName, Target, check_labels
from bench.data.semantics import composed
from bench.datasets.base import (
    SplitDataSet,
    count_repeated,
    drawn_split,
    encoded,
    fingerprint_of,
    share_of_train,
    stratified_rows,
)
from bench.datasets.parts.folders import FolderContents, find_images, first_names, left_out
from bench.datasets.parts.image_files import check_size
from bench.errors import BenchError, Declined
from bench.progress import each
from bench.threads import threaded

REVISION = 1
LEAST_SIDE = 2  # pixels; smaller images are not pictures but tracking pixels
MOST_BYTES = 2**31  # of a file
LEAST_TO_SPLIT = 5  # images of a class, so that it has one in test and one in train

log = logging.getLogger(__name__)


class BadImages(BenchError):
    """Images of a folder that cannot be used; `files` says of each why, by its name."""

    def __init__(self, text: str, files: Mapping[str, str]) -> None:
        super().__init__(text)
        self.files = files


@dataclass(frozen=True, slots=True, eq=False)
class FolderDataSet(SplitDataSet):
    """A folder's images; `summary` is one line on its classes, images and splits, `skipped` has the bad
    images that were left out, and why."""

    summary: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)


def build(
    *, root: Path, path: Path | None = None, size: int = 64, skip_bad: int = 0
) -> FolderDataSet:
    """The images under `path` (nothing is read from `root`), `size` x `size` pixels where an encoder
    does not declare another size; grey if every file is grey, else RGB. One target, `label`.

    Either `path` has folders train and test, and perhaps val (else a tenth of train), each with a folder
    for each class, in any case or by another usual name (see `find_images`); or `path` has the folders of
    classes, and is split 70/10/20 into train, val and test. Splits are stratified and depend on the sorted
    names alone: equal names give equal splits on any machine, and a new file may move others between
    splits. Nothing is written.

    Every file is decoded here once as a check, and again each time it is used. Up to `skip_bad` files that
    cannot be used are left out. Raises BadImages where there are more, BenchError where classes differ
    between splits or have too few images; Declined without `path`.
    """
    if path is None:
        raise Declined("image_folder needs a folder; name yours: image_folder,path=FOLDER")
    path = Path(path)
    check_size(size)
    if skip_bad < 0:
        raise BenchError(f"skip_bad={skip_bad}: must be 0 or more")
    contents = find_images(path)
    for note in contents.notes:
        log.warning("%s: %s", path, note)
    if contents.ignored:
        log.warning("%s: %s", path, left_out(contents.ignored))
    results = _check_files(path, contents.files)
    bad = {
        name: result
        for name, result in zip(contents.files, results, strict=True)
        if isinstance(result, str)
    }
    if bad:
        _tell_bad(path, len(contents.files), bad, skip_bad)
        contents = _without(contents, bad)
    checked = [result for result in results if not isinstance(result, str)]
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
    repeated = count_repeated(parts)
    for line in (
        _unusual_levels(checked),
        _unread(contents, checked),
        _two_labels(contents, digests),
        _in_train(repeated, len(rows["test"])),
    ):
        if line:
            log.warning("%s: %s", path, line)
    return FolderDataSet(
        name="image_folder",
        meta=meta,
        licence="the user's own",
        flips=True,
        splits=splits,
        fingerprint=fingerprint_of(
            meta,
            {
                s: [encoded(parts[s]), [composed(contents.files[row]) for row in rows[s]]]
                for s in SPLITS
            },
            {split: splits[split].y for split in SPLITS},
        ),
        test_in_train=repeated,
        summary=_summary(contents, rows),
        skipped=bad,
    )


@dataclass(frozen=True, slots=True)
class _CheckedFile:
    digest: bytes
    grey: bool
    highest: int  # the largest level of any channel
    deep: bool  # 16 bits of grey, else 8 bits a channel
    unread: str  # what the file holds beside the image


def _check_files(path: Path, files: Sequence[str]) -> list[_CheckedFile | str]:
    """Read and decode every file once; a text says why one cannot be used."""

    def check(row: int) -> _CheckedFile | str:
        name = files[row]
        try:
            facts = (path / name).stat()
            if not stat.S_ISREG(facts.st_mode):
                return f"{name} is not a regular file"
            if facts.st_size > MOST_BYTES:
                return f"{name} has {facts.st_size} bytes; at most {MOST_BYTES} are read"
            data = (path / name).read_bytes()
            image = decode(data, name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        except BenchError as error:
            return str(error)
        if min(image.size) < LEAST_SIDE:
            minimum = f"it must be at least {LEAST_SIDE} x {LEAST_SIDE} pixels"
            return f"{name} is {image.width} x {image.height}; {minimum}"
        deep = image.info.get("largest_level")
        highest = int(np.max(image.getextrema())) if deep is None else deep
        digest = hashlib.sha256(data).digest()
        unread = image.info["unread"]
        return _CheckedFile(digest, image.mode == "L", highest, deep is not None, unread)

    work = threaded(check, len(files))
    return list(each(work, f"checking images in {path.name}", len(files), "files"))


def _tell_bad(path: Path, count: int, bad: Mapping[str, str], most: int) -> None:
    """Say in one line which images are left out, the first three by name. Raises BadImages if there are
    more than `most`."""
    first = "; ".join(list(bad.values())[:3])
    omitted = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    if len(bad) <= most:
        log.warning(
            "%s: left out %d of %d images, which cannot be used (%s%s)",
            path, len(bad), count, first, omitted,
        )  # fmt: skip
        return
    allowed = f", which is more than the {most} that may be left out" if most else ""
    raise BadImages(
        f"{path}: {len(bad)} of {count} images cannot be used ({first}{omitted}){allowed}; repair them or "
        "move them elsewhere",
        bad,
    )


def _without(contents: FolderContents, bad: Collection[str]) -> FolderContents:
    """The contents without some files. Raises BenchError where a class has no other image in a split."""
    rows = [row for row, name in enumerate(contents.files) if name not in bad]
    labels = [contents.labels[row] for row in rows]
    splits = None if contents.splits is None else [contents.splits[row] for row in rows]
    before: Sequence[SplitName | None] = contents.splits or [None] * len(contents.files)
    usable = {(before[row], contents.labels[row]) for row in rows}
    for split, label in zip(before, contents.labels, strict=True):
        if (split, label) not in usable:
            where = f" in {contents.folders[split]!r}" if split else ""
            raise BenchError(
                f"{contents.path}: no image of {label!r}{where} can be used; repair one or "
                "remove the class"
            )
    return replace(
        contents,
        files=tuple(contents.files[row] for row in rows),
        labels=tuple(labels),
        splits=None if splits is None else tuple(splits),
    )


def _unusual_levels(checked: Sequence[_CheckedFile]) -> str:
    """One line where no file uses the brighter half of its levels, such as 12 bits in files of 16."""
    lines = []
    for deep, white in ((True, 65_535), (False, 255)):
        highest = [file.highest for file in checked if file.deep == deep]
        if highest and max(highest) <= white // 2:
            bits = max(1, max(highest).bit_length())
            kind = f"{len(highest)} files with {16 if deep else 8} bits a level"
            lines.append(
                f"{kind} have none above {max(highest)} ({bits} bits), and {white} counts as white: "
                "encoders see dark images; scale the levels up unless they are meant to be dark"
            )
    return "; ".join(lines)


def _unread(contents: FolderContents, checked: Sequence[_CheckedFile]) -> str:
    """One line where files hold more than the image that is read."""
    lines = []
    for unread in sorted({file.unread for file in checked if file.unread}):
        names = [
            n for n, file in zip(contents.files, checked, strict=True) if file.unread == unread
        ]
        count = f"{len(names)} file{'s' * (len(names) != 1)}"
        lines.append(f"{unread} are not read in {count} ({first_names(names)})")
    return "; ".join(lines)


def _two_labels(contents: FolderContents, digests: Sequence[bytes]) -> str:
    """One line where equal files lie in different classes."""
    labels: dict[bytes, set[str]] = {}
    for digest, label in zip(digests, contents.labels, strict=True):
        labels.setdefault(digest, set()).add(label)
    names = [n for n, d in zip(contents.files, digests, strict=True) if len(labels[d]) > 1]
    return (
        f"{len(names)} files are equal to a file of another class ({first_names(sorted(names))}): no "
        "encoder can tell them apart"
        if names
        else ""
    )


def _in_train(repeated: int, count: int) -> str:
    """One line where test images are training images as well."""
    return (
        f"{repeated} of {count} test images are in train or val as well, byte by byte: scores are too "
        "high for new images"
        if repeated
        else ""
    )


def _summary(contents: FolderContents, rows: Mapping[SplitName, Array]) -> str:
    """One line: classes by name, up to ten; images; splits and where they come from."""
    classes = ", ".join(map(repr, contents.classes[:10]))
    more = f" and {len(contents.classes) - 10} more" if len(contents.classes) > 10 else ""
    counts = ", ".join(f"{len(rows[split])} {split}" for split in SPLITS)
    if contents.splits is None:
        origin = "drawn class by class"
    else:
        origin = ", ".join(f"{s} from {contents.folders[s]!r}" for s in contents.folders)
        origin += "" if "val" in contents.folders else ", val a tenth of train"
    return (
        f"{contents.path}: {len(contents.classes)} classes ({classes}{more}), {len(contents.files)} "
        f"images: {counts} ({origin})"
    )


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
