"""The files of Xian et al.: read by names and int64 indices; versions that leak or do not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.io import savemat

from bench import testing
from bench.data import semantics
from bench.data.samples import SPLITS
from bench.datasets import xlsa
from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined

Array = npt.NDArray[Any]
Files = dict[str, dict[str, Any]]
# As in CUB's file: in no order, with numbers that begin the names; a + is a space in AwA's.
NAMES = ["002.Tern", "003.Wren", "blue+whale", "001.Gull", "004.Owl"]
EACH, DIMENSIONS, ATTRIBUTES = 20, 6, 4
UNSEEN = [2, 4]


def cell(words: list[str]) -> Array:
    return np.array([[word] for word in words], dtype=object)


def column(rows: Array, dtype: str = "uint16") -> Array:
    """Indices as the file has them: from 1, unsigned, standing."""
    return (np.asarray(rows) + 1)[:, None].astype(dtype)


def files() -> Files:
    """What is written: 100 images of 5 classes, features that tell each row, 3 seen classes with 16 images
    in trainval and 4 in test."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(NAMES)), EACH))
    features = rng.normal(size=(len(labels), DIMENSIONS))
    original = rng.uniform(1, 100, size=(ATTRIBUTES, len(NAMES)))
    seen = [rng.permutation(np.flatnonzero(labels == c)) for c in (0, 1, 3)]
    return {
        "res101": {
            "features": features.T,
            "labels": column(labels, "uint8"),
            "image_files": cell([f"/home/of/authors/{row}.jpg" for row in range(len(labels))]),
        },
        "att_splits": {
            "allclasses_names": cell(NAMES),
            "att": original / np.linalg.norm(original, axis=0),
            "original_att": original,
            "trainval_loc": column(np.concatenate([rows[:16] for rows in seen])),
            "test_seen_loc": column(np.concatenate([rows[16:] for rows in seen])),
            "test_unseen_loc": column(np.flatnonzero(np.isin(labels, UNSEEN))),
        },
    }


def plant(root: Path, tables: Files, name: str = "AWA2") -> Path:
    folder = root / "xlsa17" / name
    folder.mkdir(parents=True, exist_ok=True)
    for stem, values in tables.items():
        savemat(folder / f"{stem}.mat", values)
    return folder


def part(tables: Files, *keys: str) -> Array:
    return np.concatenate([tables["att_splits"][key].ravel().astype(int) - 1 for key in keys])


def with_leak(tables: Files) -> Files:
    """(a), January 2018: train_loc and val_loc are all of trainval and test_seen."""
    both = part(tables, "trainval_loc", "test_seen_loc")
    tables["att_splits"] |= {
        "train_loc": column(both[::3]),
        "val_loc": column(np.delete(both, np.s_[::3])),
    }
    return tables


def without_keys(tables: Files) -> Files:
    """(b), September 2019."""
    return tables


def with_exact_keys(tables: Files) -> Files:
    """(c), 2021: train_loc and val_loc are trainval."""
    rows = part(tables, "trainval_loc")
    tables["att_splits"] |= {"train_loc": column(rows[:30]), "val_loc": column(rows[30:])}
    return tables


def test_features_labels_and_splits_are_those_of_the_files(tmp_path: Path) -> None:
    tables = files()
    plant(tmp_path, tables)
    data = xlsa.build(root=tmp_path)
    target = data.meta.targets["class"]
    assert target.names == tuple(NAMES) and target.unseen == frozenset(UNSEEN)
    features, labels = tables["res101"]["features"].T, tables["res101"]["labels"].ravel() - 1
    expected = {
        "test": np.sort(part(tables, "test_seen_loc", "test_unseen_loc")),
        "trainval": np.sort(part(tables, "trainval_loc")),
    }
    samples = data.split("test")
    assert isinstance(samples.x, np.ndarray)
    assert samples.x.dtype == np.float32 and samples.x.flags.c_contiguous
    np.testing.assert_array_equal(samples.x, features[expected["test"]].astype(np.float32))
    np.testing.assert_array_equal(samples.y["class"], labels[expected["test"]])
    # Train and val are trainval: each row once, each in the order of the file.
    train, val = data.split("train"), data.split("val")
    assert (len(train), len(val)) == (44, 4)
    messages = {
        row.tobytes(): c for s in (train, val) for row, c in zip(s.x, s.y["class"], strict=True)
    }
    rows = expected["trainval"]
    assert messages == {
        row.tobytes(): c
        for row, c in zip(features[rows].astype(np.float32), labels[rows], strict=True)
    }
    assert data.test_in_train == 0 and not data.flips
    for check in (testing.datasets.check_dataset_meta, testing.datasets.check_dataset_labels):
        check(data)
    for check in testing.semantics_checks():
        check(data.meta)
    for build_check in testing.build_checks():
        build_check(testing.DataSetCase("xlsa,set=AWA2", DataSets(tmp_path)))


def test_no_unseen_class_is_in_train_or_val_and_every_seen_one_is_in_train(tmp_path: Path) -> None:
    plant(tmp_path, files())
    data = xlsa.build(root=tmp_path)
    classes = {split: set(data.split(split).y["class"].tolist()) for split in SPLITS}
    assert classes["train"] == {0, 1, 3} >= classes["val"]
    assert classes["test"] == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("version", "warns"),
    [(with_leak, True), (without_keys, False), (with_exact_keys, False)],
)
def test_versions_give_one_data_set_and_the_one_that_leaks_warns_once(
    version: Callable[[Files], Files],
    warns: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plant(tmp_path / "plain", files())
    plant(tmp_path / "other", version(files()))
    plain = xlsa.build(root=tmp_path / "plain")
    with caplog.at_level(logging.WARNING):
        data = xlsa.build(root=tmp_path / "other")
    assert data.fingerprint == plain.fingerprint
    for split in SPLITS:
        np.testing.assert_array_equal(data.split(split).x, plain.split(split).x)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == warns
    if warns:
        assert "train_loc and val_loc contain 12 of the 52 test images" in messages[0]
        assert "not used" in messages[0] and str(tmp_path) not in messages[0]


def test_leaky_keys_that_are_no_indices_are_not_read_either(tmp_path: Path) -> None:
    tables = files()
    tables["att_splits"]["train_loc"] = {"a": "struct"}
    tables["att_splits"]["val_loc"] = np.array([[0.5, np.nan]])
    plant(tmp_path, tables)
    assert len(xlsa.build(root=tmp_path).split("train")) == 44


def test_signatures_are_by_name_whatever_the_order_of_classes(tmp_path: Path) -> None:
    tables = files()
    plant(tmp_path, tables, "CUB")
    table = xlsa.semantics(tmp_path, "CUB")
    assert table.classes == tuple(NAMES) and table.attributes == ("a0", "a1", "a2", "a3")
    assert table.splits == {"proposed": ("blue+whale", "004.Owl")}
    assert table.table.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(table.table, axis=1), 1, rtol=1e-6)
    # The same images with classes in another order: signatures and labels go with the names.
    order = np.random.default_rng(1).permutation(len(NAMES))
    place = np.argsort(order)
    shuffled = files()
    for key in ("att", "original_att"):
        shuffled["att_splits"][key] = tables["att_splits"][key][:, order]
    shuffled["att_splits"]["allclasses_names"] = cell([NAMES[c] for c in order])
    shuffled["res101"]["labels"] = column(place[tables["res101"]["labels"].ravel() - 1], "uint8")
    plant(tmp_path, shuffled, "SUN")
    again = xlsa.semantics(tmp_path, "SUN")
    assert again.classes != table.classes
    np.testing.assert_array_equal(again.of(NAMES), table.of(NAMES))
    assert set(again.splits["proposed"]) == set(table.splits["proposed"])
    first, second = (xlsa.build(root=tmp_path, set=s).split("test") for s in ("CUB", "SUN"))
    np.testing.assert_array_equal(first.x, second.x)
    names = [again.classes[c] for c in second.y["class"]]
    assert names == [NAMES[c] for c in first.y["class"]]


def test_markers_of_what_is_missing_become_nan_and_are_written_and_read(tmp_path: Path) -> None:
    tables = files()
    original = tables["att_splits"]["original_att"]
    original[[0, 2], 1] = -1
    tables["att_splits"]["att"] = original / np.linalg.norm(original, axis=0)
    assert (tables["att_splits"]["att"] < 0).sum() == 2
    plant(tmp_path, tables)
    table = xlsa.semantics(tmp_path, "AWA2")
    assert np.argwhere(np.isnan(table.table)).tolist() == [[1, 0], [1, 2]]
    assert np.nanmin(table.table) > 0
    semantics.write_semantics(table, tmp_path / "awa2.toml")
    again = semantics.read_semantics(str(tmp_path / "awa2.toml"))
    np.testing.assert_array_equal(again.table, table.table)
    assert (again.classes, again.splits) == (table.classes, table.splits)


def test_large_unsigned_indices_do_not_wrap(tmp_path: Path) -> None:
    """300 images: the last index does not fit into uint8, and index 1 less 1 is no -1 or 65,535."""
    tables = files()
    tables["res101"]["features"] = np.tile(tables["res101"]["features"], 3) + np.arange(300)
    tables["res101"]["labels"] = np.tile(tables["res101"]["labels"], (3, 1))
    for key in ("trainval_loc", "test_seen_loc", "test_unseen_loc"):
        rows = part(tables, key)
        tables["att_splits"][key] = column(np.concatenate([rows, rows + 100, rows + 200]))
    plant(tmp_path, tables)
    assert sum(len(xlsa.build(root=tmp_path).split(split)) for split in SPLITS) == 300


def moved(tables: Files) -> None:
    """An image from test_seen to trainval, as another version of the proposed split has it."""
    split = tables["att_splits"]
    split["trainval_loc"] = np.vstack([split["trainval_loc"], split["test_seen_loc"][:1]])
    split["test_seen_loc"] = split["test_seen_loc"][1:]


CHANGES: dict[str, Callable[[Files], object]] = {
    "a feature": lambda g: g["res101"]["features"].__setitem__((0, 0), 9.0),
    "a name": lambda g: g["att_splits"].update(allclasses_names=cell([*NAMES[:4], "Owl"])),
    "an index": moved,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_tells_versions_apart(change: str, tmp_path: Path) -> None:
    tables = files()
    plant(tmp_path, tables)
    before = xlsa.build(root=tmp_path).fingerprint
    CHANGES[change](tables)
    plant(tmp_path, tables)
    assert xlsa.build(root=tmp_path).fingerprint != before


def test_features_of_test_that_are_in_train_are_counted(tmp_path: Path) -> None:
    tables = files()
    test, train = part(tables, "test_unseen_loc")[0], part(tables, "trainval_loc")[0]
    tables["res101"]["features"][:, test] = tables["res101"]["features"][:, train]
    plant(tmp_path, tables)
    assert xlsa.build(root=tmp_path).test_in_train == 1


@pytest.mark.parametrize("gone", ["res101", "att_splits"])
def test_absent_files_are_declined_with_what_to_put_where(gone: str, tmp_path: Path) -> None:
    (plant(tmp_path, files(), "SUN") / f"{gone}.mat").unlink()
    for call in (
        lambda: xlsa.build(root=tmp_path, set="SUN"),
        lambda: xlsa.semantics(tmp_path, "SUN"),
    ):
        with pytest.raises(Declined, match=r"xlsa17/SUN/res101.mat and xlsa17/SUN/att_splits.mat"):
            call()


def put(file: str, **values: Any) -> Callable[[Files], object]:
    return lambda tables: tables[file].update(values)


def drop(file: str, key: str) -> Callable[[Files], object]:
    return lambda tables: tables[file].pop(key)


def at(file: str, key: str, place: Any, value: Any) -> Callable[[Files], object]:
    return lambda tables: tables[file][key].__setitem__(place, value)


def shared(first: str, second: str) -> Callable[[Files], object]:
    def apply(tables: Files) -> None:
        split = tables["att_splits"]
        split[first] = np.vstack([split[first], split[second][:2]])

    return apply


def unseen_in_trainval(tables: Files) -> None:
    """Moved, so that no two parts share an image."""
    split = tables["att_splits"]
    split["trainval_loc"] = np.vstack([split["trainval_loc"], split["test_unseen_loc"][:1]])
    split["test_unseen_loc"] = split["test_unseen_loc"][1:]


def seen_without_training(tables: Files) -> None:
    split, labels = tables["att_splits"], tables["res101"]["labels"].ravel()
    rows = part(tables, "trainval_loc")
    split["trainval_loc"] = column(rows[labels[rows] != 1])


S, R = "att_splits", "res101"
WRONG: dict[str, tuple[Callable[[Files], object], str]] = {
    "no split": (drop(S, "trainval_loc"), "att_splits.mat: trainval_loc is missing"),
    "no percentages": (drop(S, "original_att"), "att_splits.mat: original_att is missing"),
    "no features": (drop(R, "features"), "res101.mat: features is missing"),
    "no labels": (drop(R, "labels"), "res101.mat: labels is missing"),
    "an index too large": (at(S, "test_seen_loc", 0, 101), "test_seen_loc has rows from .* to 101"),
    "an index of 0": (at(S, "test_unseen_loc", 0, 0), "test_unseen_loc has rows from 0 "),
    "a half index": (put(S, trainval_loc=np.array([[1.5], [2.0]])), "not integers"),
    "an endless index": (put(S, trainval_loc=np.array([[np.inf], [2.0]])), "not integers"),
    "no index": (put(S, trainval_loc=np.zeros((0, 1))), "trainval_loc is .0, 1."),
    "a table of indices": (put(S, trainval_loc=np.ones((2, 2))), "trainval_loc is .2, 2."),
    "indices in a struct": (put(S, trainval_loc={"a": 1}), "trainval_loc holds .* plain array"),
    "indices in a cell": (put(S, trainval_loc=cell(["1"])), "trainval_loc holds object values"),
    "an image twice": (shared("trainval_loc", "trainval_loc"), "names an image twice"),
    "test in train": (shared("test_seen_loc", "trainval_loc"), "shares 2 images with trainval_loc"),
    "unseen in test_seen": (
        shared("test_unseen_loc", "test_seen_loc"),
        "test_unseen_loc shares 2 images with test_seen_loc",
    ),
    "an unseen class in train": (
        unseen_in_trainval,
        "classes of trainval_loc, which are not unseen",
    ),
    "a class to test alone": (
        seen_without_training,
        "without an image in trainval_loc .'002.Tern'",
    ),
    "a name too many": (
        lambda g: (
            put(S, allclasses_names=cell([*NAMES, "x"]))(g),
            put(S, **{k: np.tile(g[S][k], 2)[:, :6] for k in ("att", "original_att")})(g),
        ),
        "names classes without images .'x'",
    ),
    "a name too few": (
        put(S, allclasses_names=cell(NAMES[:4])),
        "labels are from 1 to 5.* 4 classes",
    ),
    "a name twice": (put(S, allclasses_names=cell([*NAMES[:4], NAMES[0]])), "'002.Tern' twice"),
    "a name that is a number": (
        put(S, allclasses_names=np.array([["a"], ["b"], ["c"], ["d"], [5.0]], dtype=object)),
        "no text for class 5",
    ),
    "names that are no cell": (put(S, allclasses_names=np.arange(5)), "is not a cell"),
    "a label of 0": (at(R, "labels", 0, 0), "labels are from 0"),
    "a label too few": (lambda g: g[R].update(labels=g[R]["labels"][:-1]), "99"),
    "features of rows": (
        lambda g: g[R].update(features=g[R]["features"].T),
        "features is .100, 6.",
    ),
    "features that are not finite": (
        at(R, "features", (0, 0), np.nan),
        "features has numbers .* finite",
    ),
    "features that are complex": (lambda g: g[R].update(features=g[R]["features"] * 1j), "complex"),
    "signatures of rows": (lambda g: g[S].update(att=g[S]["att"].T), "att is .5, 4."),
    "signatures of another set": (
        lambda g: g[S].update(original_att=g[S]["original_att"][:2]),
        "original_att is .2, 5., but att .4, 5.",
    ),
    "signatures of another length": (
        lambda g: g[S].update(att=17 * g[S]["att"]),
        "att is not original_att with each column divided",
    ),
    "a negative percentage": (
        at(S, "original_att", (0, 0), -3.0),
        "original_att has numbers .* negative",
    ),
    "an attribute nobody knows": (
        lambda g: (
            at(S, "original_att", 1, -1)(g),
            g[S].update(att=g[S]["original_att"] / np.linalg.norm(g[S]["original_att"], axis=0)),
        ),
        "missing for all classes",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_files_that_do_not_fit_are_reported_by_file_and_key(fault: str, tmp_path: Path) -> None:
    change, text = WRONG[fault]
    tables = files()
    change(tables)
    plant(tmp_path, tables)
    with pytest.raises(BenchError, match=text) as caught:
        xlsa.build(root=tmp_path)
    message = str(caught.value)
    assert not isinstance(caught.value, Declined)
    assert "\n" not in message and "xlsa17/AWA2/" in message and str(tmp_path) not in message


DAMAGE: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no MATLAB file": lambda _: b"<html>not found</html>" * 20,
    "cut short": lambda data: data[:600],
    "MATLAB 7.3": lambda data: b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + data[128:],
}


@pytest.mark.parametrize("file", ["res101", "att_splits"])
@pytest.mark.parametrize("fault", DAMAGE)
def test_damaged_files_are_refused_in_one_line(fault: str, file: str, tmp_path: Path) -> None:
    path = plant(tmp_path, files()) / f"{file}.mat"
    path.write_bytes(DAMAGE[fault](path.read_bytes()))
    with pytest.raises(BenchError, match=rf"xlsa17/AWA2/{file}.mat") as caught:
        xlsa.build(root=tmp_path)
    assert not isinstance(caught.value, Declined) and "\n" not in str(caught.value)
