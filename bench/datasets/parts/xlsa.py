"""Reader for the files of a zero-shot data set of Xian et al.: features, signatures and split.

They are MATLAB files, read by scipy.io.loadmat; only the keys named here are read. Indices start at 1 and
may be unsigned, so they are converted to int64 before anything is subtracted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.errors import BenchError

FEATURES, SPLITS_FILE = "res101.mat", "att_splits.mat"
PLACES = ("trainval_loc", "test_seen_loc", "test_unseen_loc")
LEAKY = ("train_loc", "val_loc")  # see `_warn_of_leak`
MISSING = -1  # the marker of missing values in original_att
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class XlsaTables:
    """Everything but the features of n images."""

    names: tuple[str, ...]  # of the classes, in the file's order
    signatures: Array  # float32 (classes, attributes), NaN where missing
    labels: Array  # int64 (n,)
    trainval: Array  # sorted rows, from 0
    test_seen: Array
    test_unseen: Array

    @property
    def unseen(self) -> tuple[int, ...]:
        """The classes of test_unseen, sorted."""
        return tuple(np.unique(self.labels[self.test_unseen]).tolist())


def is_there(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (FEATURES, SPLITS_FILE))


def read_tables(folder: Path) -> XlsaTables:
    """Everything but the features. Raises BenchError, naming file and key, for values that cannot be read
    or do not fit together."""
    path = folder / SPLITS_FILE
    split = _load(path, ("allclasses_names", "att", "original_att", *PLACES), optional=LEAKY)
    names = _names(path, split["allclasses_names"])
    labels = _labels(folder / FEATURES, names)
    rows = {key: _rows(path, key, split[key], len(labels)) for key in PLACES}
    _check_split(path, rows, labels, names)
    _warn_of_leak(path, split, rows)
    signatures = _signatures(path, split["att"], split["original_att"], len(names))
    return XlsaTables(names, signatures, labels, *(rows[key] for key in PLACES))


def read_features(folder: Path, count: int) -> Array:
    """Features float32 (n, d) of the n = `count` images; the file has a column for each. Raises BenchError
    for another shape, and for values that are not finite."""
    path = folder / FEATURES
    columns = _numbers(path, "features", _load(path, ("features",))["features"])
    if columns.ndim != 2 or columns.shape[1] != count or not columns.shape[0]:
        problem = f"is {columns.shape}; it must be (features, {count}), a column for each image"
        raise _invalid(path, "features", problem)
    features = np.ascontiguousarray(columns.T, dtype=np.float32)
    if not np.isfinite(features).all():
        raise _invalid(path, "features", "has numbers that are not finite")
    return features


def _load(path: Path, keys: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, Any]:
    """The values of `keys`, and those of `optional` that exist."""
    from scipy.io import loadmat

    try:
        values: dict[str, Any] = loadmat(path, appendmat=False, variable_names=[*keys, *optional])
    except Exception as error:  # damaged files raise errors of any type
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise BenchError(
            f"{_relative_name(path)} cannot be read as a MATLAB file of version 4 to 7.2 ({why}); "
            "fetch it again"
        ) from error
    for key in keys:
        if key not in values:
            raise _invalid(path, key, "is missing")
    return values


def _relative_name(path: Path) -> str:
    return f"xlsa17/{path.parent.name}/{path.name}"


def _invalid(path: Path, key: str, problem: str) -> BenchError:
    return BenchError(
        f"{_relative_name(path)}: {key} {problem}; fetch both files of this set again"
    )


def _numbers(path: Path, key: str, value: Any) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        kind = getattr(value, "dtype", type(value).__name__)
        raise _invalid(path, key, f"holds {kind} values; it must be a plain array of numbers")
    return value


def _integers(path: Path, key: str, value: Any) -> Array:
    """A row or column vector of integers as int64 (n,)."""
    numbers = _numbers(path, key, value)
    if numbers.size != max(numbers.shape, default=0) or not numbers.size:
        raise _invalid(path, key, f"is {numbers.shape}; it must be a vector that is not empty")
    flat = numbers.ravel()
    if flat.dtype.kind == "f" and not (np.isfinite(flat) & (flat == np.floor(flat))).all():
        raise _invalid(path, key, "has values that are not integers")
    if flat.dtype.kind in "uf" and flat.max() > 2**53:
        raise _invalid(path, key, f"has the value {flat.max()}, which is not an index")
    return flat.astype(np.int64)


def _names(path: Path, value: Any) -> tuple[str, ...]:
    """Names from a cell (classes, 1) of text, unchanged, with the + of AwA and the numbers of CUB, as in
    the names of image folders."""
    key = "allclasses_names"
    if not isinstance(value, np.ndarray) or value.dtype.kind != "O" or value.size < 2:
        raise _invalid(path, key, "is not a cell of two or more names")
    names: list[str] = []
    for item in value.ravel():
        while isinstance(item, np.ndarray) and item.size == 1:
            item = item.item()
        if not isinstance(item, str) or not item.strip():
            raise _invalid(path, key, f"has no text for class {len(names) + 1}")
        names.append(item.strip())
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _invalid(path, key, f"has {twice[0]!r} twice")
    return tuple(names)


def _labels(path: Path, names: Sequence[str]) -> Array:
    labels = _integers(path, "labels", _load(path, ("labels",))["labels"])
    low, high = int(labels.min()), int(labels.max())
    if low < 1 or high > len(names):
        problem = f"are from {low} to {high}, but {SPLITS_FILE} names {len(names)} classes"
        raise _invalid(path, "labels", problem)
    return labels - 1


def _rows(path: Path, key: str, value: Any, count: int) -> Array:
    rows = _integers(path, key, value)
    low, high = int(rows.min()), int(rows.max())
    if low < 1 or high > count:
        raise _invalid(path, key, f"has rows from {low} to {high}; there are images 1 to {count}")
    if len(np.unique(rows)) < len(rows):
        raise _invalid(path, key, "names an image twice")
    return np.sort(rows - 1)


def _check_split(path: Path, rows: dict[str, Array], labels: Array, names: Sequence[str]) -> None:
    """Raise BenchError where parts share images, or classes of trainval and test_unseen overlap or are not
    all classes, or those of trainval and test_seen differ."""
    for number, key in enumerate(PLACES):
        for earlier in PLACES[:number]:
            if shared := len(np.intersect1d(rows[key], rows[earlier])):
                raise _invalid(path, key, f"shares {shared} images with {earlier}")
    classes = {key: set(labels[rows[key]].tolist()) for key in PLACES}
    train, seen, unseen = (classes[key] for key in PLACES)
    problems = {
        "test_unseen_loc": (train & unseen, "has classes of trainval_loc, which are not unseen"),
        "test_seen_loc": (seen - train, "has classes without an image in trainval_loc"),
        "trainval_loc": (train - seen, "has classes without an image in test_seen_loc"),
        "allclasses_names": (
            set(range(len(names))) - train - unseen,
            "names classes without images",
        ),
    }
    for key, (wrong, problem) in problems.items():
        if wrong:
            raise _invalid(path, key, f"{problem} ({names[min(wrong)]!r} is one of {len(wrong)})")
    smallest = np.bincount(labels[rows["trainval_loc"]], minlength=len(names))[sorted(train)].min()
    if smallest < 2:
        raise _invalid(path, "trainval_loc", "has a single image of a class; it needs two or more")


def _warn_of_leak(path: Path, split: dict[str, Any], rows: dict[str, Array]) -> None:
    """Warn if train_loc and val_loc contain test images, as in the release of January 2018, where they
    contain all of test_seen_loc. They are used for nothing else here."""
    leaky = [split[key] for key in LEAKY if key in split]
    flat = [v.ravel() for v in leaky if isinstance(v, np.ndarray) and v.dtype.kind in "iuf"]
    leaky_rows = np.concatenate([np.empty(0), *(v.astype(np.float64) for v in flat)]) - 1
    test = np.concatenate([rows["test_seen_loc"], rows["test_unseen_loc"]])
    if leaked := int(np.isin(test, leaky_rows).sum()):
        log.warning(
            "%s: train_loc and val_loc contain %d of the %d test images (as in the release of 2018); they "
            "are not used: validation is a share of trainval_loc",
            _relative_name(path),
            leaked,
            len(test),
        )


def _signatures(path: Path, value: Any, original: Any, classes: int) -> Array:
    """`att` transposed, NaN where `original_att` marks a value as missing. The authors included these -1
    in the length that divides `att`; this is kept, and changes AwA's antelope by less than 0.1 %."""
    att = _numbers(path, "att", value).astype(np.float64)
    source = _numbers(path, "original_att", original).astype(np.float64)
    if att.ndim != 2 or att.shape[1] != classes or not att.shape[0]:
        problem = f"is {att.shape}; it must be (attributes, {classes}), a column for each class"
        raise _invalid(path, "att", problem)
    if source.shape != att.shape:
        raise _invalid(path, "original_att", f"is {source.shape}, but att {att.shape}")
    absent = source == MISSING
    if not np.isfinite(source).all() or (source[~absent] < 0).any():
        problem = "has numbers that are not finite, or negative (except -1: missing)"
        raise _invalid(path, "original_att", problem)
    lengths = np.linalg.norm(source, axis=0)
    if not np.allclose(att * lengths, source, rtol=1e-4, atol=1e-4 * float(np.abs(source).max())):
        problem = "is not original_att with each column divided by its length"
        raise _invalid(path, "att", problem)
    att[absent] = np.nan
    if np.isnan(att).all(axis=1).any():
        raise _invalid(path, "original_att", "has an attribute that is missing for all classes")
    return np.ascontiguousarray(att.T, dtype=np.float32)
