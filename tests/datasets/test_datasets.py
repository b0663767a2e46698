"""Data sets: splits, index files, fingerprints, and messages where the data are absent or altered."""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets import cifar as torchvision_cifar
from torchvision.datasets import mnist as torchvision_mnist

from bench import testing
from bench.data.images import Input
from bench.data.samples import SPLITS, Meta, Target
from bench.datasets import base, cifar10, cifar100, digits, fashion_mnist, mnist
from bench.datasets.base import (
    SplitDataSet,
    data_root,
    index_file,
    known_facts,
    share_of_train,
    stratified_rows,
    take_split,
)
from bench.errors import BenchError, Declined

Array = npt.NDArray[Any]
REAL = {"mnist": (mnist, "MNIST"), "fashion_mnist": (fashion_mnist, "FashionMNIST")}


# --- Digits


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> SplitDataSet:
    return digits.build(root=tmp_path_factory.mktemp("unused"))


def agrees_with_what_is_known(data: SplitDataSet) -> None:
    facts = known_facts()[data.name]
    assert data.fingerprint == facts["fingerprint"]
    assert {name: len(data.split(name)) for name in SPLITS} == facts["rows"]
    assert data.test_in_train == facts["test_in_train"]


def test_digits_are_the_known_ones(ours: SplitDataSet) -> None:
    agrees_with_what_is_known(ours)
    assert {name: len(ours.split(name)) for name in SPLITS} == {
        "train": 1132,
        "val": 125,
        "test": 540,
    }


def test_digits_are_scikit_learn_s_every_image_once_with_its_label(ours: SplitDataSet) -> None:
    bunch = load_digits()
    expected = sorted(
        ((image * 255 / 16 + 0.5).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(bunch.images, bunch.target, strict=True)
    )
    indices = []
    for name in SPLITS:
        split = ours.split(name)
        assert split.y["label"].dtype == np.int64
        images = split.x.read(np.arange(len(split)), Input(size=(8, 8), channels=1))
        indices += [
            (image.tobytes(), int(label))
            for image, label in zip(images, split.y["label"], strict=True)
        ]
    assert sorted(indices) == expected


def test_the_splits_of_digits_are_disjoint_and_all(ours: SplitDataSet) -> None:
    rows = take_split(1797, index_file("digits"))
    assert sorted(np.concatenate([rows[name] for name in SPLITS])) == list(range(1797))
    for name in SPLITS:
        np.testing.assert_array_equal(ours.split(name).y["label"], load_digits().target[rows[name]])
    assert len(rows["val"]) == share_of_train(1797 - len(rows["test"]))


def test_the_index_file_of_digits_is_what_stratified_rows_gives() -> None:
    """Test with seed 0 among all images, then validation with seed 1 among the rest."""
    labels, rows = load_digits().target, index_file("digits")
    assert set(rows) == {"test", "val"}
    np.testing.assert_array_equal(rows["test"], stratified_rows(labels, 540, seed=0))
    remaining = np.setdiff1d(np.arange(len(labels)), rows["test"])
    val = remaining[stratified_rows(labels[remaining], share_of_train(len(remaining)), seed=1)]
    np.testing.assert_array_equal(rows["val"], val)


@pytest.mark.parametrize("name", sorted(REAL))
def test_an_index_file_names_validation_rows_of_60_000_sorted_and_each_once(name: str) -> None:
    (rows,) = index_file(name).values()
    assert list(index_file(name)) == ["val"]
    assert len(rows) == share_of_train(60_000) == known_facts()[name]["rows"]["val"]
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] < rows[-1] < 60_000


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(REAL))
def test_real_images_are_the_known_ones_and_their_index_file_is_stratified(
    name: str, data: Path
) -> None:
    module, folder = REAL[name]
    if not (data / folder / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip(f"{name} is not in {data}")
    agrees_with_what_is_known(module.build(root=data))
    raw = (data / folder / "raw" / "train-labels-idx1-ubyte").read_bytes()
    labels = np.frombuffer(raw, dtype=np.uint8, offset=8)
    expected = stratified_rows(labels, share_of_train(len(labels)), seed=0)
    np.testing.assert_array_equal(index_file(name)["val"], expected)


# --- Stratified rows


@pytest.mark.parametrize("seed", range(30))
def test_stratified_rows_are_by_largest_remainders_ties_to_the_lower_class(seed: int) -> None:
    """Against exact fractions."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, rng.integers(1, 8))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(labels)
    for count in rng.integers(1, n + 1, 5):
        exact = [Fraction(int(s) * int(count), n) for s in sizes]
        expected = [int(e) for e in exact]
        by_rest = sorted(range(len(sizes)), key=lambda c: (expected[c] - exact[c], c))
        for c in by_rest[: int(count) - sum(expected)]:
            expected[c] += 1
        rows = stratified_rows(labels, int(count), seed=seed)
        assert len(rows) == count
        assert (np.diff(rows) > 0).all()
        assert np.bincount(labels[rows], minlength=len(sizes)).tolist() == expected


def test_equal_remainders_go_to_the_lower_class_although_floats_differ() -> None:
    """3 * 2 / 20 and 13 * 2 / 20 leave 3/10 each; as floats the second is a little more."""
    assert 13 * 2 / 20 - 1 > 3 * 2 / 20
    labels = np.repeat([0, 1, 2, 3], [3, 13, 2, 2])  # 0.3, 1.3, 0.2, 0.2: one row is left over
    assert np.bincount(labels[stratified_rows(labels, 2, seed=0)]).tolist() == [1, 1]


def test_stratified_rows_are_the_same_again_and_others_for_another_seed() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 200)
    np.random.seed(3)  # noqa: NPY002
    first = stratified_rows(labels, 50, seed=0)
    np.testing.assert_array_equal(stratified_rows(labels, 50, seed=0), first)
    assert len({stratified_rows(labels, 50, seed=s).tobytes() for s in range(10)}) == 10
    assert stratified_rows(labels, 200, seed=0).tolist() == list(range(200))
    assert stratified_rows(labels, 0, seed=0).tolist() == []


def test_stratified_rows_come_from_the_whole_of_each_class() -> None:
    labels = np.repeat([0, 1], 500)
    rows = stratified_rows(labels, 100, seed=0)
    assert 150 < rows[labels[rows] == 0].mean() < 350
    assert 650 < rows[labels[rows] == 1].mean() < 850


@pytest.mark.parametrize(("n", "val"), [(1257, 125), (60_000, 5_000), (50_000, 5_000), (9, 0)])
def test_validation_is_a_tenth_of_train_at_most_5000(n: int, val: int) -> None:
    assert share_of_train(n) == val


def test_what_an_index_file_does_not_name_is_train() -> None:
    splits = take_split(6, {"val": np.array([1, 4]), "test": np.array([0])})
    assert {name: rows.tolist() for name, rows in splits.items()} == {
        "train": [2, 3, 5],
        "val": [1, 4],
        "test": [0],
    }


# --- Fingerprints and checks


Parts = dict[str, Any]


def parts() -> Parts:
    rng = np.random.default_rng(0)
    sizes = {"train": 6, "val": 3, "test": 4}
    return {
        "names": ("cat", "dog", "owl"),
        "images": {s: rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8) for s, n in sizes.items()},
        "labels": {s: {"label": np.arange(n, dtype=np.int64) % 3} for s, n in sizes.items()},
    }


def made(rows: Parts, name: str = "tiny") -> SplitDataSet:
    return SplitDataSet.of(
        name,
        meta=Meta({"label": Target("classes", 3, rows["names"])}),
        licence="CC0-1.0",
        flips=False,
        images=rows["images"],
        labels=rows["labels"],
    )


def one_pixel(rows: Parts) -> None:
    rows["images"]["train"][3, 0, 2, 1] ^= 1


def one_test_pixel(rows: Parts) -> None:
    rows["images"]["test"][3, 0, 3, 3] ^= 1


def one_label(rows: Parts) -> None:
    rows["labels"]["val"]["label"][0] = 2


def a_missing_label(rows: Parts) -> None:
    rows["labels"]["train"]["label"][0] = -1


def one_class_name(rows: Parts) -> None:
    rows["names"] = ("cat", "dog", "elk")


def the_order_of_names(rows: Parts) -> None:
    rows["names"] = ("dog", "cat", "owl")


def two_rows(rows: Parts) -> None:
    order = [1, 0, 2, 3, 4, 5]
    rows["images"]["train"] = rows["images"]["train"][order]
    rows["labels"]["train"]["label"] = rows["labels"]["train"]["label"][order]


def two_splits(rows: Parts) -> None:
    for part in (rows["images"], rows["labels"]):
        part["val"], part["test"] = part["test"], part["val"]


def a_row_of_another_split(rows: Parts) -> None:
    """The same bytes one after another, the border one row on."""
    images, labels = rows["images"], rows["labels"]
    images["train"], images["val"] = (
        np.concatenate([images["train"], images["val"][:1]]),
        images["val"][1:],
    )
    joined = [labels["train"]["label"], labels["val"]["label"][:1]]
    labels["val"]["label"] = labels["val"]["label"][1:]
    labels["train"]["label"] = np.concatenate(joined)


def the_shape(rows: Parts) -> None:
    for name, images in rows["images"].items():
        rows["images"][name] = images.reshape(len(images), 1, 2, 8)


EDITS: list[Callable[[Parts], None]] = [
    one_pixel,
    one_test_pixel,
    one_label,
    a_missing_label,
    one_class_name,
    the_order_of_names,
    two_rows,
    two_splits,
    a_row_of_another_split,
    the_shape,
]


def edited(edit: Callable[[Parts], None]) -> Parts:
    rows = parts()
    edit(rows)
    return rows


@pytest.mark.parametrize("edit", EDITS, ids=lambda e: e.__name__)
def test_a_fingerprint_changes_with_every_edit(edit: Callable[[Parts], None]) -> None:
    assert made(edited(edit)).fingerprint != made(parts()).fingerprint


def test_fingerprints_of_all_edits_differ_and_depend_on_content_alone() -> None:
    assert len({made(edited(edit)).fingerprint for edit in EDITS}) == len(EDITS)
    rows = parts()
    for name, images in rows["images"].items():  # another layout in memory
        rows["images"][name] = np.asfortranarray(images)
        rows["labels"][name]["label"] = rows["labels"][name]["label"].astype(">i8").astype("<i8")
    assert made(rows, "another name").fingerprint == made(parts()).fingerprint


@pytest.mark.parametrize("edit", EDITS, ids=lambda e: e.__name__)
def test_altered_data_under_a_known_name_are_refused(
    edit: Callable[[Parts], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"tiny": {"fingerprint": made(parts()).fingerprint}}
    monkeypatch.setattr(base, "known_facts", lambda: facts)
    assert made(parts()).fingerprint == facts["tiny"]["fingerprint"]
    with pytest.raises(BenchError, match="of tiny are not the expected ones") as caught:
        made(edited(edit))
    assert "\n" not in str(caught.value)
    made(edited(edit), "another name")


def test_an_altered_digit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bunch = load_digits()
    bunch.images[7, 3, 3] = (bunch.images[7, 3, 3] + 1) % 17
    monkeypatch.setattr(digits, "load_digits", lambda: bunch)
    monkeypatch.setattr(digits, "_read", digits._read.__wrapped__)  # not what was read before
    with pytest.raises(BenchError, match="of digits are not the expected ones"):
        digits.build(root=tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 3]), "from 0 to 3; 0 to 2"),
        (np.array([-2, 1, 2]), "from -2 to 2"),
        (np.array([0, 1]), r"int64 \(2,\); expected int64 \(3,\)"),
        (np.array([[0], [1], [2]]), r"\(3, 1\)"),
        (np.array([0.0, 1.0, 2.0]), "float64"),
        (np.array([0, 1, 2], dtype=np.int32), "int32"),
    ],
    ids=str,
)
def test_labels_out_of_range_or_shape_are_refused_with_split_and_target(
    labels: Array, message: str
) -> None:
    rows = parts()
    rows["labels"]["val"]["label"] = labels
    with pytest.raises(BenchError, match=message) as caught:
        made(rows)
    assert str(caught.value).startswith("tiny, val: labels of 'label'")
    assert "\n" not in str(caught.value)


def test_test_images_that_are_also_in_train_or_val_are_counted() -> None:
    rows = parts()
    assert made(rows).test_in_train == 0
    rows["images"]["test"][0] = rows["images"]["train"][5]
    rows["images"]["test"][2] = rows["images"]["val"][0]
    assert made(rows).test_in_train == 2
    rows["images"]["test"][1] = rows["images"]["test"][3]  # twice in test is not in train
    assert made(rows).test_in_train == 2


def test_rows_are_numbered_within_each_split() -> None:
    for name in SPLITS:
        split = made(parts()).split(name)
        assert split.rows.tolist() == list(range(len(split)))


# --- Absent, half-written and wrong files


FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(count: int, *, images: bool) -> bytes:
    """A file of `count` images of 28 x 28, or labels, in the format of MNIST."""
    if images:
        return struct.pack(">IIII", 0x803, count, 28, 28) + bytes(count * 784)
    return struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count))


def plant(root: Path, folder: str, count: int) -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).write_bytes(idx(count, images="images" in name))
    return raw


def no_network(monkeypatch: pytest.MonkeyPatch, write: bytes | None = None) -> None:
    """Every download fails; with `write`, after it has left so much of a file."""

    def fail(url: str, download_root: Path, filename: str, **_: object) -> None:
        if write is not None:
            Path(download_root, filename.removesuffix(".gz")).write_bytes(write)
        raise URLError(f"no network for {url}")

    monkeypatch.setattr(torchvision_mnist, "download_and_extract_archive", fail)


def refusal(name: str, root: Path) -> BenchError:
    with pytest.raises(BenchError) as caught:
        REAL[name][0].build(root=root)
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value) or name in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", sorted(REAL))
def test_absent_data_are_declined_in_one_line_with_files_and_option_and_no_path_of_this_machine(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_network(monkeypatch)
    error = refusal(name, tmp_path)
    assert isinstance(error, Declined)
    for part in (name, "data root", f"{REAL[name][1]}/raw/train-images-idx3-ubyte", "--data"):
        assert part in str(error)
    assert str(tmp_path) not in str(error)  # the reason is kept in a record that others read
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(REAL))
@pytest.mark.parametrize("part", [b"", b"\0\0", idx(60_000, images=True)[:5000]], ids=len)
def test_what_a_broken_download_leaves_is_not_taken_for_data(
    name: str, part: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch, write=part)
    for _ in range(3):
        assert isinstance(refusal(name, tmp_path), Declined)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("keep", [0, 2, 4, 7, 12, 200, -1])
def test_a_half_written_file_is_not_taken_for_data(
    file: str, keep: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    raw = plant(tmp_path, "MNIST", 300)
    (raw / file).write_bytes((raw / file).read_bytes()[:keep])
    refusal("mnist", tmp_path)


@pytest.mark.parametrize("count", [0, 20, 300])
def test_whole_files_of_other_images_are_not_taken_for_data(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    plant(tmp_path, "FashionMNIST", count)
    refusal("fashion_mnist", tmp_path)


# --- CIFAR as torchvision reads it


# The table that CIFAR-100's files hold: the coarse label of each fine one.
COARSE = [
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
]


def cifar(
    root: Path, kind: type[Any], classes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[Array, Array]]:
    """200 + 100 images in torchvision's layout, as they were planted: (n, 3, 32, 32) and labels."""
    rng = np.random.default_rng(0)
    folder, key = root / kind.base_folder, "labels" if len(classes) == 10 else "fine_labels"
    folder.mkdir()
    planted: dict[str, list[Any]] = {"train_list": [], "test_list": []}

    def write(name: str, value: object) -> str:
        data = pickle.dumps(value)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    for files, count in (("train_list", 200), ("test_list", 100)):
        sums = []
        for name, _ in getattr(kind, files):
            n = count // len(getattr(kind, files))
            images = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
            labels = rng.permutation(np.arange(n) % len(classes)).tolist()
            sums.append([name, write(name, {"data": images.reshape(n, -1), key: labels})])
            planted[files].append((images, np.array(labels)))
        monkeypatch.setattr(kind, files, sums)
    names = {kind.meta["key"]: list(classes)}
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": write(kind.meta["filename"], names)})
    return {
        part: tuple(np.concatenate(arrays) for arrays in zip(*planted[f"{part}_list"], strict=True))  # type: ignore[misc]
        for part in ("train", "test")
    }


CIFAR: dict[str, tuple[Any, type[Any], tuple[str, ...], str]] = {
    "cifar10": (cifar10, CIFAR10, cifar10.CLASSES, "label"),
    "cifar100": (cifar100, CIFAR100, cifar100.FINE, "fine"),
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, *_: object, **__: object) -> None:
        raise URLError(f"no network for {url}")

    monkeypatch.setattr(torchvision_cifar, "download_and_extract_archive", fail)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", sorted(CIFAR))
def test_cifar_is_torchvision_s_with_a_tenth_of_train_drawn_for_validation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, kind, classes, target = CIFAR[name]
    planted = cifar(tmp_path, kind, classes, monkeypatch)
    data = module.build(root=tmp_path)
    images, labels = planted["train"]
    val = stratified_rows(labels, 20, seed=0)
    rows = {"train": np.setdiff1d(np.arange(200), val), "val": val, "test": np.arange(100)}
    for split in SPLITS:
        x, y = planted["test"] if split == "test" else (images, labels)
        samples = data.split(split)
        pixels = samples.x.read(np.arange(len(samples)), Input(size=(32, 32), channels=3))
        np.testing.assert_array_equal(pixels, x[rows[split]])
        np.testing.assert_array_equal(samples.y[target], y[rows[split]])
        if name == "cifar100":
            np.testing.assert_array_equal(samples.y["coarse"], np.array(COARSE)[y[rows[split]]])
    assert data.meta.targets[target].names == classes
    assert data.flips
    assert module.build(root=tmp_path).fingerprint == data.fingerprint
    for check in testing.dataset_checks():
        check(data)


def test_the_groups_of_cifar_100_are_five_of_each_and_named_as_in_its_files() -> None:
    assert len(cifar100.FINE) == len(set(cifar100.FINE)) == 100
    assert (cifar100.FINE[0], cifar100.FINE[99]) == ("apple", "worm")
    assert np.bincount(COARSE).tolist() == [5] * 20
    for group, names in enumerate(cifar100.GROUPS.values()):
        assert {COARSE[cifar100.FINE.index(name)] for name in names.split()} == {group}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", sorted(CIFAR))
def test_absent_cifar_is_declined_and_damaged_cifar_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, kind, classes, _ = CIFAR[name]
    with pytest.raises(
        Declined, match=f"put the folder {kind.base_folder} there.*--data"
    ) as caught:
        module.build(root=tmp_path)
    assert str(tmp_path) not in str(caught.value)
    cifar(tmp_path, kind, classes, monkeypatch)
    files = [name for name, _ in [*kind.train_list, *kind.test_list]] + [kind.meta["filename"]]
    for file in (files[0], files[-2], files[-1]):
        path = tmp_path / kind.base_folder / file
        content = path.read_bytes()
        for damage in (content[:-1], content[:-1] + b"!", None):
            path.unlink() if damage is None else path.write_bytes(damage)
            with pytest.raises(BenchError, match="damaged or missing; remove the folder") as error:
                module.build(root=tmp_path)
            assert not isinstance(error.value, Declined)
            assert "\n" not in str(error.value)
        path.write_bytes(content)
    module.build(root=tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("offline")
def test_cifar_with_its_classes_in_another_order_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar(tmp_path, CIFAR10, cifar10.CLASSES[::-1], monkeypatch)
    with pytest.raises(BenchError, match="classes of cifar10 are not the expected ones"):
        cifar10.build(root=tmp_path)


# --- The data root


def test_the_data_root_is_what_is_given_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("given", "named"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REPTRANSFER_DATA", str(tmp_path / "named"))
    assert data_root(tmp_path / "given") == data_root(str(tmp_path / "given")) == tmp_path / "given"
    assert data_root("~/given") == tmp_path / "given"
    assert data_root(None) == tmp_path / "named"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("REPTRANSFER_DATA")
        else:
            monkeypatch.setenv("REPTRANSFER_DATA", unset)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert data_root(None) == tmp_path / "cache" / "reptransfer" / "data"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert data_root(None) == tmp_path / ".cache" / "reptransfer" / "data"
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize("kind", ["absent", "file"])
def test_a_named_root_that_is_no_folder_is_refused_with_who_named_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind
    if kind == "file":
        path.write_text("")
    with pytest.raises(BenchError, match="--data"):
        data_root(path)
    monkeypatch.setenv("REPTRANSFER_DATA", str(path))
    with pytest.raises(BenchError, match="REPTRANSFER_DATA") as caught:
        data_root(None)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
