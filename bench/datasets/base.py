"""What data sets share: splits, fingerprints, expected facts, and the errors for missing data.

A file with a REVISION and a `build` is a data set. A small one, in memory::

    REVISION = 1

    def build(*, root: Path) -> SplitDataSet:
        if not (root / "shapes.npz").is_file():
            raise absent("shapes", "shapes.npz")
        arrays = np.load(root / "shapes.npz")  # uint8 (n, c, h, w), and int64 (n,)
        rows = take_split(len(arrays["labels"]), index_file("shapes"))
        return SplitDataSet.of(
            "shapes",
            meta=Meta({"label": Target("classes", 2, ("disc", "square"))}),
            licence="CC0-1.0",
            flips=True,
            images={split: arrays["images"][rows[split]] for split in SPLITS},
            labels={split: {"label": arrays["labels"][rows[split]]} for split in SPLITS},
        )

`IMAGES = ("cifar10",)` in such a file names data sets whose images it shows, whole or in parts: an
encoder that was trained on those has seen this one's classes, whatever their names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.images import ArrayImages
from bench.data.samples import SPLITS, Array, DataSet, Meta, Samples, SplitName, check_labels
from bench.digests import digest
from bench.errors import BenchError, Declined
from bench.files.paths import user_cache
from bench.naming import registry
from bench.naming.specs import resolve
from bench.seeding import generator

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, eq=False)
class SplitDataSet:
    """A data set as its three splits; `of` makes one from images in memory."""

    name: str
    meta: Meta  # the targets
    licence: str
    flips: bool  # may images be mirrored without changing what they show?
    splits: Mapping[SplitName, Samples]
    fingerprint: str  # digest over images and labels, see `fingerprint_of`
    test_in_train: int  # number of test images that are also in train or val
    pretrained_on: tuple[str, ...] = ()  # of features: data sets that their network was trained on

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
        """A data set of images in memory.

        name: as in the spec; for known.json, too
        meta: the targets
        licence, flips: as above
        images: by split, uint8 (n, c, h, w), c 1 or 3
        labels: by split and target: classes int64 (n,), binary int64 (n, size), number float32 (n, size)
        contents: by split, what the fingerprint is computed from instead of the pixels, where the images
            were decoded from files (see `encoded`)

        Raises BenchError for labels of another shape, type or range, and where known.json has another
        fingerprint for this name.
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
        expected = known_facts().get(name, {}).get("fingerprint", fingerprint)
        if fingerprint != expected:
            raise BenchError(
                f"the images or labels of {name} are not the expected ones (digest {fingerprint}, "
                f"expected {expected}); remove the files and fetch them again"
            )
        pixels = {split: (image.tobytes() for image in images[split]) for split in SPLITS}
        return cls(name, meta, licence, flips, splits, fingerprint, count_repeated(pixels))

    def split(self, name: SplitName) -> Samples:
        return self.splits[name]


def fingerprint_of(
    meta: Meta,
    contents: Mapping[SplitName, object],
    labels: Mapping[SplitName, Mapping[str, Array]],
) -> str:
    """Digest over the targets and, by split, the `contents` (any JSON that identifies the images) and the
    labels."""
    parts: dict[str, Any] = {
        key: [t.kind, t.size, list(t.names)] for key, t in sorted(meta.targets.items())
    }
    for split in SPLITS:
        parts[f"{split}/images"] = contents[split]
        for key, values in sorted(labels[split].items()):
            plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
            parts[f"{split}/{key}"] = hashlib.sha256(plain.data).hexdigest()
    return digest(parts)


def _pixels(images: Array) -> object:
    array = np.ascontiguousarray(images)
    return [list(array.shape), hashlib.sha256(array.data).hexdigest()]


def encoded(digests: Sequence[bytes]) -> object:
    """The contents (see `fingerprint_of`) of images in files, from the sha256 of each file: independent
    of the decoder's rounding."""
    return ["encoded", len(digests), hashlib.sha256(b"".join(digests)).hexdigest()]


def count_repeated(images: Mapping[SplitName, Iterable[bytes]]) -> int:
    """Number of test images that are also in train or val, from the bytes or digests of each image."""
    training = {*images["train"], *images["val"]}
    return sum(image in training for image in images["test"])


def share_of_train(count: int) -> int:
    """The size of a validation split: 10 % of the training images, at most 5,000."""
    return min(count // 10, 5_000)


def stratified_rows(labels: Array, count: int, *, seed: int) -> Array:
    """`count` rows, sorted, drawn at random from labels (n,), count <= n: each class in proportion to its
    size, by largest remainders."""
    classes, sizes = np.unique(labels, return_counts=True)
    quotas, remainders = np.divmod(sizes * count, len(labels))  # integers, so that ties are exact
    # Ties go to the lower class, so that the split depends on labels and seed alone.
    for index in np.argsort(-remainders, kind="stable")[: count - int(quotas.sum())]:
        quotas[index] += 1
    rng = generator(seed, "split")
    chosen = [
        rng.permutation(np.flatnonzero(labels == c))[:n]
        for c, n in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def drawn_split(labels: Array) -> dict[SplitName, Array]:
    """Rows of train, val and test for 70/10/20 % of labels (n,), stratified, drawn with fixed seeds."""
    # Rounded up, so that a class of five has a test image; val cannot take its last one.
    test = stratified_rows(labels, -(-len(labels) // 5), seed=0)
    others = np.setdiff1d(np.arange(len(labels)), test)
    val = others[stratified_rows(labels[others], max(1, len(labels) // 10), seed=1)]
    return {"train": np.setdiff1d(others, val), "val": val, "test": test}


def index_file(name: str) -> Mapping[str, Array]:
    """Rows by split from the committed indices/NAME.npz: `val`, and `test` if there is no official one."""
    with np.load(HERE / "indices" / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key].astype(np.int64) for key in file.files}


def take_split(count: int, rows: Mapping[str, Array]) -> dict[str, Array]:
    """`rows` of an index file with `train` added: those of `count` images that are in no other split."""
    train = np.setdiff1d(np.arange(count), np.concatenate(list(rows.values())))
    return {"train": train, **rows}


@cache
def known_facts() -> Mapping[str, Mapping[str, Any]]:
    """Facts from known.json by name of data set: `fingerprint`, `rows` of each split, `test_in_train`.
    With these, status and plans need no data."""
    facts: Mapping[str, Mapping[str, Any]] = json.loads((HERE / "known.json").read_text())
    return facts


class DataSets:
    """Data sets by spec, each read once from the data root.

    places: folders of the user's own by the names that specs call them; None: specs have paths
    """

    def __init__(
        self,
        root: Path,
        *,
        places: Mapping[str, Path] | None = None,
    ) -> None:
        self.root, self._read = root, dict[tuple[Any, ...], DataSet | Declined]()
        self._places = None if places is None else dict(places)
        self._arguments = dict[str, Mapping[str, Any]]()  # by the names of folders

    def __call__(self, spec: str) -> DataSet:
        """The data set. Raises Declined where its files are missing; that is tried only once, since a
        download may be slow."""
        resolved = resolve("datasets", spec)
        arguments = {**resolved.arguments, **self._placed(resolved.paths)}
        for name in resolved.paths.values():
            arguments |= self._arguments.get(name, {})
        key = (resolved.entry.path, *arguments.items())
        if key not in self._read:
            module = registry.load(resolved.entry)
            try:
                self._read[key] = module.build(root=self.root, **arguments)
            except Declined as error:
                self._read[key] = error
        dataset = self._read[key]
        if isinstance(dataset, Declined):
            raise dataset
        return dataset

    def place(self, name: str, folder: Path, **arguments: Any) -> None:
        """Call a folder by a name from now on; its `build` has `arguments` that no spec sets, by default
        those that it had."""
        self._places = {**(self._places or {}), name: folder}
        self._arguments[name] = {**self._arguments.get(name, {}), **arguments}

    def has_place(self, spec: str) -> bool:
        """Are all folders that a spec names known on this machine?"""
        return all(
            name in (self._places or {}) for name in resolve("datasets", spec).paths.values()
        )

    def _placed(self, paths: Mapping[str, str]) -> dict[str, str]:
        """The paths of folders that a spec names. Raises Declined for one that is not known here."""
        if self._places is None:
            return dict(paths)
        for name in paths.values():
            place = self._places.get(name, Path(name) if os.sep in name else None)
            if place is None or not place.is_dir():
                raise Declined(
                    f"the folder of images {name!r} is not known on this machine; name it with --images"
                )
        return {key: str(self._places.get(name, name)) for key, name in paths.items()}


def data_root(folder: str | Path | None) -> Path:
    """The folder of data files: `folder`, else REPTRANSFER_DATA, else one in the user's cache folder.

    Raises BenchError for a missing folder, but not for the last, which may be made later.
    """
    chosen = folder or os.environ.get("REPTRANSFER_DATA")
    if chosen:
        root = Path(os.path.expanduser(chosen))
        if not root.is_dir():
            origin = "--data" if folder else "REPTRANSFER_DATA"
            raise BenchError(f"no folder {str(root)!r} ({origin}); make it, or name another")
        return root
    return user_cache() / "reptransfer" / "data"


def absent(name: str, files: str, error: Exception | None = None) -> Declined:
    """The error to raise for a data set whose files are missing.

    files: what to put into the data root, by names relative to it
    error: why a download has failed

    It is stored in records, and so does not name the folder.
    """
    first = next(iter(str(error).splitlines()), repr(error)).rstrip(":")
    why = f" and could not be fetched ({first})" if error else ""
    return Declined(
        f"{name} is not in the data root{why}; put {files} there, or name another data root with "
        "--data or REPTRANSFER_DATA"
    )
