"""What data sets share: stratified splits kept as index files, fingerprints, known facts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images import ArrayImages
from bench.data.samples import SPLITS, DataSet, Meta, Samples, SplitName, check_labels
from bench.digests import digest
from bench.errors import BenchError, Declined
from bench.naming import registry
from bench.naming.specs import resolve
from bench.seeding import generator

__all__ = [
    "DataSets",
    "SplitDataSet",
    "absent",
    "data_root",
    "encoded",
    "fingerprint_of",
    "index_file",
    "known",
    "share_of_train",
    "stratified_rows",
    "take_split",
]

Array = npt.NDArray[Any]
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, eq=False)
class SplitDataSet:
    """A data set as its three splits; `of` makes one of images in memory."""

    name: str
    meta: Meta
    licence: str
    flips: bool
    splits: Mapping[SplitName, Samples]
    fingerprint: str
    test_in_train: int
    pretrained_on: tuple[str, ...] = ()  # what the makers of given features had seen

    @classmethod
    def of(
        cls,
        name: str,
        *,
        meta: Meta,
        licence: str,
        flips: bool,
        images: Mapping[SplitName, Array],
        labels: Mapping[SplitName, Mapping[str, Array]],
        contents: Mapping[SplitName, object] | None = None,
    ) -> SplitDataSet:
        """From uint8 images (n, c, h, w) and labels by target, of each split. `contents` are what the
        fingerprint takes for the images where they were decoded (see `encoded`); None: their pixels.

        Raises BenchError for labels out of range, and where the repository knows the fingerprint of
        a data set of this name and this one has another.
        """
        splits: dict[SplitName, Samples] = {}
        for split in SPLITS:
            samples = Samples(
                ArrayImages(images[split]), labels[split], np.arange(len(images[split]))
            )
            check_labels(f"{name}, {split}", meta.targets, samples)
            splits[split] = samples
        if contents is None:
            contents = {split: _pixels(images[split]) for split in SPLITS}
        fingerprint = fingerprint_of(meta, contents, labels)
        expected = known().get(name, {}).get("fingerprint", fingerprint)
        if fingerprint != expected:
            raise BenchError(
                f"the images or labels of {name} are not the known ones (digest {fingerprint}, "
                f"known {expected}); remove the files and fetch them again"
            )
        return cls(name, meta, licence, flips, splits, fingerprint, _repeated(images))

    def split(self, name: SplitName) -> Samples:
        return self.splits[name]


def fingerprint_of(
    meta: Meta,
    contents: Mapping[SplitName, object],
    labels: Mapping[SplitName, Mapping[str, Array]],
) -> str:
    """Digest over the contents (any JSON that stands for the images), the labels and the names of
    what they mean, split by split."""
    found: dict[str, Any] = {
        key: [t.kind, t.size, list(t.names)] for key, t in sorted(meta.targets.items())
    }
    for split in SPLITS:
        found[f"{split}/images"] = contents[split]
        for key, values in sorted(labels[split].items()):
            plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
            found[f"{split}/{key}"] = hashlib.sha256(plain.data).hexdigest()
    return digest(found)


def _pixels(images: Array) -> object:
    array = np.ascontiguousarray(images)
    return [list(array.shape), hashlib.sha256(array.data).hexdigest()]


def encoded(digests: Sequence[bytes]) -> object:
    """What stands in a fingerprint for images that lie encoded, from the sha256 of each: so no last
    bit of a decoder enters it."""
    return ["encoded", len(digests), hashlib.sha256(b"".join(digests)).hexdigest()]


def _repeated(images: Mapping[SplitName, Array]) -> int:
    """How many test images stand, pixel by pixel, in train or val too."""
    seen = {image.tobytes() for split in ("train", "val") for image in images[split]}
    return sum(image.tobytes() in seen for image in images["test"])


def share_of_train(count: int) -> int:
    """The size of a validation split: 10 % of the training images, at most 5,000."""
    return min(count // 10, 5_000)


def stratified_rows(labels: Array, count: int, *, seed: int) -> Array:
    """`count` sorted rows of labels (n,), each class by its share (largest remainders), seeded."""
    classes, sizes = np.unique(labels, return_counts=True)
    take, rest = np.divmod(sizes * count, len(labels))  # whole numbers: floats would part equals
    # Ties go to the lower class, so that the split hangs on nothing but labels and seed.
    for index in np.argsort(-rest, kind="stable")[: count - int(take.sum())]:
        take[index] += 1
    rng = generator(seed, "split")
    chosen = [
        rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, take, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def index_file(name: str) -> Mapping[str, Array]:
    """The committed rows of a data set's splits: `val`, and `test` where there is no official one."""
    with np.load(HERE / "indices" / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key].astype(np.int64) for key in file.files}


def take_split(count: int, rows: Mapping[str, Array]) -> dict[str, Array]:
    """All splits of `count` images from an index file: what it does not name is train."""
    rest = np.setdiff1d(np.arange(count), np.concatenate(list(rows.values())))
    return {"train": rest, **rows}


@cache
def known() -> Mapping[str, Mapping[str, Any]]:
    """What the repository knows of data sets by name: fingerprint, rows of each split, and how many
    test images stand in train too. So status and plans need no data."""
    found: Mapping[str, Mapping[str, Any]] = json.loads((HERE / "known.json").read_text())
    return found


class DataSets:
    """Data sets by spec, each read once from the data root."""

    def __init__(self, root: Path) -> None:
        self.root, self._found = root, dict[str, DataSet | Declined]()

    def __call__(self, spec: str) -> DataSet:
        """Raises Declined where the data are absent: looked for once, since a network may be slow."""
        if spec not in self._found:
            named = resolve("datasets", spec)
            module = registry.load(named.entry)
            try:
                self._found[spec] = module.build(root=self.root, **named.arguments)
            except Declined as error:
                self._found[spec] = error
        found = self._found[spec]
        if isinstance(found, Declined):
            raise found
        return found


def data_root(given: str | Path | None) -> Path:
    """Where data sets lie: what is given, else REPTRANSFER_DATA, else the user's cache folder.

    Raises BenchError for a folder that is named but is not there; the cache folder may be made later.
    """
    named = given or os.environ.get("REPTRANSFER_DATA")
    if named:
        root = Path(named).expanduser()
        if not root.is_dir():
            where = "--data" if given else "REPTRANSFER_DATA"
            raise BenchError(f"no folder {str(root)!r} ({where}); make it, or name another")
        return root
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "reptransfer" / "data"


def absent(name: str, wanted: str, error: Exception | None = None) -> Declined:
    """The error for a data set that is not there. It goes into records, so it names no folder."""
    first = next(iter(str(error).splitlines()), repr(error)).rstrip(":")
    why = f" and could not be fetched ({first})" if error else ""
    return Declined(
        f"{name} is not in the data root{why}; put {wanted} there, or name another data root with "
        "--data or REPTRANSFER_DATA"
    )
