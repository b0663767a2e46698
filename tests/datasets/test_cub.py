"""CUB-200-2011: lists joined by identifiers, attributes by the number in a name, the official test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench import testing
from bench.data import semantics
from bench.data.images import EncodedImages, Input
from bench.data.samples import SPLITS
from bench.datasets import cub
from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined

Array = npt.NDArray[Any]
NAMES = ("001.Gull", "002.Tern", "003.Wren")
EACH, TESTED = 14, 4
TABLE = np.array([[0.0, 12.5, 100.0, 40.0], [1.0, 2.0, 3.0, 4.0], [50.0, 60.0, 70.0, 80.0]])
ATTRIBUTES = ("has_bill_shape::curved_(up_or_down)", "has_bill_shape::dagger", "a::b", "c::d")


def plant(root: Path, *, order: tuple[int, ...] = (0, 1, 2)) -> Path:
    """3 classes of 14 images, 4 of them in test, as red as their class; classes.txt gives them
    identifiers in `order`, and lists are in no order."""
    folder = root / cub.FOLDER
    (folder / "attributes").mkdir(parents=True)
    files = [f"{name}/{name[4:]}_{row:04d}.jpg" for name in NAMES for row in range(EACH)]
    for number, file in enumerate(files):
        path = folder / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (100 * (number // EACH), 15 * (number % EACH), 90)
        Image.new("RGB", (40, 30), colour).save(path, quality=95)
    identifier = {name: 1 + order.index(place) for place, name in enumerate(NAMES)}
    lines = {
        "classes.txt": [f"{i} {name}" for name, i in identifier.items()],
        "images.txt": [f"{n} {file}" for n, file in enumerate(files, start=1)][::-1],
        "image_class_labels.txt": [
            f"{n} {identifier[file.partition('/')[0]]}" for n, file in enumerate(files, start=1)
        ],
        "train_test_split.txt": [
            f"{n} {int((n - 1) % EACH >= TESTED)}" for n in range(1, len(files) + 1)
        ],
        cub.TABLE: [" ".join(map(str, row)) for row in TABLE],
        "attributes/image_attribute_labels.txt": ["1 1 0 3 27.7", "2 1 no such 1 2 3 line"],
    }
    for name, text in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in text))
    return folder


def test_images_labels_and_the_official_split_are_those_of_the_lists(tmp_path: Path) -> None:
    plant(tmp_path)
    data = cub.build(root=tmp_path)
    assert data.meta.targets["class"].names == NAMES
    assert {split: len(data.split(split)) for split in SPLITS} == {
        "train": 27,
        "val": 3,
        "test": 12,
    }
    for split in SPLITS:
        samples = data.split(split)
        images = samples.x
        assert isinstance(images, EncodedImages)
        assert images.native == Input(size=(64, 64), channels=3)
        seen = images.read(samples.rows, Input(size=(8, 8), channels=3))
        np.testing.assert_allclose(seen[:, 0].mean((1, 2)), 100 * samples.y["class"], atol=4)
        numbers = [int(name[-8:-4]) for name in images.names]
        assert all((number < TESTED) == (split == "test") for number in numbers)
    assert np.bincount(data.split("val").y["class"]).tolist() == [1, 1, 1]
    assert data.flips and data.test_in_train == 0
    for check in testing.dataset_checks():
        check(data)
    for build_check in testing.build_checks():
        build_check(testing.DataSetCase("cub", DataSets(tmp_path)))


def test_classes_go_by_the_number_in_their_name_and_not_by_their_line(tmp_path: Path) -> None:
    plant(tmp_path / "a")
    plant(tmp_path / "b", order=(2, 0, 1))
    first, second = (cub.build(root=tmp_path / name) for name in "ab")
    assert first.fingerprint == second.fingerprint
    tables = [cub.semantics(tmp_path / name) for name in "ab"]
    for table in tables:
        assert table.classes == NAMES and table.splits == {}
        np.testing.assert_allclose(table.table, TABLE / 100, rtol=1e-6)
    np.testing.assert_allclose(
        tables[1].of(["003.Wren", "001.Gull"]), TABLE[[2, 0]] / 100, rtol=1e-6
    )


@pytest.mark.parametrize("place", [None, *cub.NAMES])
def test_attributes_are_named_inside_or_beside_the_folder_or_numbered(
    place: str | None, tmp_path: Path
) -> None:
    folder = plant(tmp_path)
    if place is not None:
        lines = [f"{n} {name}\n" for n, name in enumerate(ATTRIBUTES, start=1)]
        (folder / place).write_text("".join(lines))
    table = cub.semantics(tmp_path)
    assert table.attributes == (("a0", "a1", "a2", "a3") if place is None else ATTRIBUTES)
    semantics.write_semantics(table, tmp_path / "mine.toml")
    again = semantics.read_semantics(str(tmp_path / "mine.toml"))
    assert again.attributes == table.attributes and again.classes == NAMES
    np.testing.assert_array_equal(again.table, table.table)


@pytest.mark.parametrize("gone", [None, "images", *cub.LISTS])
def test_absent_files_are_declined_with_what_to_put_where(gone: str | None, tmp_path: Path) -> None:
    folder = plant(tmp_path)
    (folder / (gone or "")).rename(tmp_path / "away")
    with pytest.raises(Declined, match=r"cub is not in the data root.*--data") as error:
        cub.build(root=tmp_path)
    assert "CUB_200_2011/images/" in str(error.value) and str(tmp_path) not in str(error.value)
    if gone in (None, "classes.txt"):
        with pytest.raises(Declined, match=r"class_attribute_labels_continuous.txt"):
            cub.semantics(tmp_path)


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return apply


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a label of another class": (edit("image_class_labels.txt", "1 1\n", "1 2\n"), "002.Tern"),
    "a label too large": (edit("image_class_labels.txt", "1 1\n", "1 4\n"), "no class"),
    "a label that is no number": (edit("image_class_labels.txt", "1 1\n", "1 x\n"), "no class"),
    "a label too few": (
        edit("image_class_labels.txt", "1 1\n", ""),
        "41 lines; they must be numbered 1 to 42",
    ),
    "an image twice": (edit("images.txt", "Gull_0001", "Gull_0000"), "2 times"),
    "a path with a blank": (edit("images.txt", "Gull_0001", "Gull 0001"), "a number and a word"),
    "a third split": (edit("train_test_split.txt", "1 0\n", "1 2\n"), "'2', not 1 for train or 0"),
    "a class that is not tested": (
        lambda f: (f / "train_test_split.txt").write_text(
            "".join(f"{n} {int(n < 30)}\n" for n in range(1, 43))
        ),
        "fewer than 2 images in train|fewer than 1 images in test",
    ),
    "names without a number": (edit("classes.txt", "002.Tern", "Tern"), "do not begin with 001"),
    "a number twice": (edit("classes.txt", "002.Tern", "001.Tern"), "do not begin with 001"),
    "an image missing": (
        lambda f: (f / "images" / "001.Gull" / "Gull_0003.jpg").unlink(),
        "1 of 42 images of cub cannot be read .001.Gull/Gull_0003.jpg",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_lists_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    change, message = BAD[fault]
    change(plant(tmp_path))
    with pytest.raises(BenchError, match=message) as caught:
        cub.build(root=tmp_path)
    assert not isinstance(caught.value, Declined) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(cub.TABLE, "1.0 2.0 3.0 4.0\n", ""), "2 lines for 3 classes"),
        (edit(cub.TABLE, "100.0", "100.1"), "100.1 in line 1"),
        (
            lambda f: (f / "attributes.txt").write_text("1 a\n"),
            "1 lines; they must be numbered 1 to 4",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    change(plant(tmp_path))
    with pytest.raises(BenchError, match=message):
        cub.semantics(tmp_path)


def test_too_small_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="size=1: must be 2 or more"):
        cub.build(root=tmp_path, size=1)
