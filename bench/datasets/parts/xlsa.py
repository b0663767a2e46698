"""The files of a zero-shot data set after Xian et al.: features, signatures and split, read with care.

They are MATLAB files, read by scipy.io.loadmat; only the keys that are named here are read from them.
Indices count from 1 and may be unsigned, so they become int64 before anything is subtracted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

FEATURES, SPLITS_FILE = "res101.mat", "att_splits.mat"
PLACES = ("trainval_loc", "test_seen_loc", "test_unseen_loc")
LEAKY = ("train_loc", "val_loc")  # see `_warn_of_leak`
MISSING = -1  # in original_att: nobody was asked

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Names of classes in the file's order, their signatures float32 (classes, attributes) with NaN where
    one is missing, labels int64 (n,), and the sorted rows of each part, counted from 0."""

    names: tuple[str, ...]
    signatures: Array
    labels: Array
    trainval: Array
    test_seen: Array
    test_unseen: Array

    @property
    def unseen(self) -> tuple[int, ...]:
        """The classes of test_unseen, sorted."""
        return tuple(np.unique(self.labels[self.test_unseen]).tolist())


def is_there(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (FEATURES, SPLITS_FILE))


def read_tables(folder: Path) -> Tables:
    """Everything but the features. Raises BenchError, naming file and key, for what cannot be read or
    does not fit together: the rest of the programme trusts it."""
    path = folder / SPLITS_FILE
    split = _load(path, ("allclasses_names", "att", "original_att", *PLACES), optional=LEAKY)
    names = _names(path, split["allclasses_names"])
    labels = _labels(folder / FEATURES, names)
    rows = {key: _rows(path, key, split[key], len(labels)) for key in PLACES}
    _check_split(path, rows, labels, names)
    _warn_of_leak(path, split, rows)
    signatures = _signatures(path, split["att"], split["original_att"], len(names))
    return Tables(names, signatures, labels, *(rows[key] for key in PLACES))


def read_features(folder: Path, count: int) -> Array:
    """Features float32 (n, d), of which the file has a column an image."""
    path = folder / FEATURES
    found = _numbers(path, "features", _load(path, ("features",))["features"])
    if found.ndim != 2 or found.shape[1] != count or not found.shape[0]:
        told = f"is {found.shape}; (features, {count}) is wanted, a column an image"
        raise _refused(path, "features", told)
    features = np.ascontiguousarray(found.T, dtype=np.float32)
    if not np.isfinite(features).all():
        raise _refused(path, "features", "has numbers that are not finite")
    return features


def _load(path: Path, keys: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, Any]:
    """The values of these keys. What is optional may be missing."""
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(path, appendmat=False, variable_names=[*keys, *optional])
    except Exception as error:  # what the reader meets in a damaged file comes out as anything
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise BenchError(
            f"{_place(path)} cannot be read as a MATLAB file of version 4 to 7.2 ({why}); fetch it again"
        ) from error
    for key in keys:
        if key not in found:
            raise _refused(path, key, "is not in it")
    return found


def _place(path: Path) -> str:
    return f"xlsa17/{path.parent.name}/{path.name}"


def _refused(path: Path, key: str, why: str) -> BenchError:
    return BenchError(f"{_place(path)}: {key} {why}; fetch the files of this set again, together")


def _numbers(path: Path, key: str, value: Any) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        kind = getattr(value, "dtype", type(value).__name__)
        raise _refused(path, key, f"holds {kind} values; a plain array of numbers is wanted")
    return value


def _whole(path: Path, key: str, value: Any) -> Array:
    """A vector of whole numbers, int64, whether it lies or stands."""
    found = _numbers(path, key, value)
    if found.size != max(found.shape, default=0) or not found.size:
        raise _refused(path, key, f"is {found.shape}; a vector with something in it is wanted")
    flat = found.ravel()
    if flat.dtype.kind == "f" and not (np.isfinite(flat) & (flat == np.floor(flat))).all():
        raise _refused(path, key, "has values that are no whole numbers")
    if flat.dtype.kind in "uf" and flat.max() > 2**53:
        raise _refused(path, key, f"has the value {flat.max()}, which is no index")
    return flat.astype(np.int64)


def _names(path: Path, value: Any) -> tuple[str, ...]:
    """From a cell (classes, 1) of text. Names stay as they stand, with the + of AwA and the numbers of
    CUB, which is how image folders are called, too."""
    key = "allclasses_names"
    if not isinstance(value, np.ndarray) or value.dtype.kind != "O" or value.size < 2:
        raise _refused(path, key, "is no cell of two or more names")
    names: list[str] = []
    for item in value.ravel():
        while isinstance(item, np.ndarray) and item.size == 1:
            item = item.item()
        if not isinstance(item, str) or not item.strip():
            raise _refused(path, key, f"has no text for class {len(names) + 1}")
        names.append(item.strip())
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _refused(path, key, f"has {twice[0]!r} twice")
    return tuple(names)


def _labels(path: Path, names: Sequence[str]) -> Array:
    labels = _whole(path, "labels", _load(path, ("labels",))["labels"])
    low, high = int(labels.min()), int(labels.max())
    if low < 1 or high > len(names):
        told = f"run from {low} to {high}, and {SPLITS_FILE} names {len(names)} classes"
        raise _refused(path, "labels", told)
    return labels - 1


def _rows(path: Path, key: str, value: Any, count: int) -> Array:
    rows = _whole(path, key, value)
    low, high = int(rows.min()), int(rows.max())
    if low < 1 or high > count:
        told = f"runs from {low} to {high}; there are images 1 to {count}"
        raise _refused(path, key, told)
    if len(np.unique(rows)) < len(rows):
        raise _refused(path, key, "names an image twice")
    return np.sort(rows - 1)


def _check_split(path: Path, rows: dict[str, Array], labels: Array, names: Sequence[str]) -> None:
    """Parts share no image; classes of training and of test_unseen share none, and are all there are."""
    for number, key in enumerate(PLACES):
        for other in PLACES[:number]:
            if shared := len(np.intersect1d(rows[key], rows[other])):
                raise _refused(path, key, f"shares {shared} images with {other}")
    classes = {key: set(labels[rows[key]].tolist()) for key in PLACES}
    train, seen, unseen = (classes[key] for key in PLACES)
    told = {
        "test_unseen_loc": (train & unseen, "has classes of trainval_loc, which are not unseen"),
        "test_seen_loc": (seen - train, "has classes without an image in trainval_loc"),
        "trainval_loc": (train - seen, "has classes without an image in test_seen_loc"),
        "allclasses_names": (
            set(range(len(names))) - train - unseen,
            "names classes without images",
        ),
    }
    for key, (wrong, why) in told.items():
        if wrong:
            raise _refused(path, key, f"{why} ({names[min(wrong)]!r} is one of {len(wrong)})")
    few = np.bincount(labels[rows["trainval_loc"]], minlength=len(names))[sorted(train)].min()
    if few < 2:
        raise _refused(path, "trainval_loc", "has one image of a class; two or more are wanted")


def _warn_of_leak(path: Path, split: dict[str, Any], rows: dict[str, Array]) -> None:
    """In the release of January 2018 train_loc and val_loc hold all of test_seen_loc: what is chosen on
    them is chosen on test images. Nothing here reads them for anything else."""
    given = [split[key] for key in LEAKY if key in split]
    plain = [v.ravel() for v in given if isinstance(v, np.ndarray) and v.dtype.kind in "iuf"]
    named = np.concatenate([np.empty(0), *(v.astype(np.float64) for v in plain)]) - 1
    test = np.concatenate([rows["test_seen_loc"], rows["test_unseen_loc"]])
    if leaked := int(np.isin(test, named).sum()):
        log.warning(
            "%s: train_loc and val_loc hold %d of the %d test images (the release of 2018 does); they are "
            "not used: validation is a share of trainval_loc",
            _place(path),
            leaked,
            len(test),
        )


def _signatures(path: Path, value: Any, original: Any, classes: int) -> Array:
    """`att` by classes, NaN where `original_att` says missing. Missing markers went into the length that
    `att` was divided by; that is left as published, and moves AwA's antelope by less than 0.1 %."""
    att = _numbers(path, "att", value).astype(np.float64)
    source = _numbers(path, "original_att", original).astype(np.float64)
    if att.ndim != 2 or att.shape[1] != classes or not att.shape[0]:
        told = f"is {att.shape}; (attributes, {classes}) is wanted, a column a class"
        raise _refused(path, "att", told)
    if source.shape != att.shape:
        raise _refused(path, "original_att", f"is {source.shape}, and att {att.shape}")
    absent = source == MISSING
    if not np.isfinite(source).all() or (source[~absent] < 0).any():
        raise _refused(
            path,
            "original_att",
            "has numbers that are negative (but for -1: missing) or not finite",
        )
    lengths = np.linalg.norm(source, axis=0)
    if not np.allclose(att * lengths, source, rtol=1e-4, atol=1e-4 * float(np.abs(source).max())):
        told = "is not original_att with each column divided by its length"
        raise _refused(path, "att", told)
    att[absent] = np.nan
    if np.isnan(att).all(axis=1).any():
        raise _refused(path, "original_att", "has an attribute that is missing for all classes")
    return np.ascontiguousarray(att.T, dtype=np.float32)
