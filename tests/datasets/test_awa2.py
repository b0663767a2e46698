"""Animals with Attributes 2: a folder a class, the continuous matrix as shares, the proposed split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import testing
from bench.data import semantics
from bench.data.images import EncodedImages, Input
from bench.data.samples import SPLITS
from bench.datasets import awa2
from bench.datasets.base import DataSets
from bench.errors import BenchError, Declined

# The order of classes.txt is no alphabet, and the old split's lists name other classes than the proposed.
NAMES = ("antelope", "zebra", *awa2.UNSEEN)
PREDICATES = ("black", "white", "blue", "brown", "big")
EACH = 10


def plant(root: Path) -> Path:
    """12 classes of 10 images, as red as their class and as green as their number, with the lists."""
    folder = root / awa2.FOLDER
    for number, name in enumerate(NAMES):
        inside = folder / "JPEGImages" / name
        inside.mkdir(parents=True)
        for row in range(EACH):
            colour = (20 * number, 25 * row, 90)
            image = Image.new("RGB", (40 + row, 30), colour)
            image.save(inside / f"{name}_{10001 + row}.jpg", quality=95)
    lists = {
        "classes.txt": [f"{n:>4}\t{name}" for n, name in enumerate(NAMES, start=1)],
        "predicates.txt": [f"{n:>4}\t{name}" for n, name in enumerate(PREDICATES, start=1)],
        "predicate-matrix-continuous.txt": [
            " ".join(f"{value:9.2f}" for value in row) for row in percentages()
        ],
        "testclasses.txt": ["antelope", "zebra"],
        "trainclasses.txt": list(awa2.UNSEEN),
    }
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder


def percentages() -> np.ndarray:
    table = np.random.default_rng(0).uniform(1, 100, (len(NAMES), len(PREDICATES))).round(2)
    table[0, :4] = 0
    table[1, 1] = 0
    return table


def test_images_labels_and_names_are_those_of_the_folders(tmp_path: Path) -> None:
    plant(tmp_path)
    data = awa2.build(root=tmp_path)
    assert data.meta.targets["class"].names == NAMES
    assert data.flips and data.test_in_train == 0
    files = []
    for split in SPLITS:
        samples = data.split(split)
        images = samples.x
        assert isinstance(images, EncodedImages)
        assert images.native == Input(size=(64, 64), channels=3)
        seen = images.read(samples.rows, Input(size=(8, 8), channels=3))
        np.testing.assert_allclose(seen[:, 0].mean((1, 2)), 20 * samples.y["class"], atol=4)
        assert [name.partition("/")[0] for name in images.names] == [
            NAMES[c] for c in samples.y["class"]
        ]
        files += images.names
    assert len(files) == len(set(files)) == EACH * len(NAMES)
    for check in testing.dataset_checks():
        check(data)
    for build_check in testing.build_checks():
        build_check(testing.DataSetCase("awa2", DataSets(tmp_path)))


def test_every_class_is_split_70_10_20_the_same_each_time(tmp_path: Path) -> None:
    plant(tmp_path)
    data, again = awa2.build(root=tmp_path), awa2.build(root=tmp_path, size=16)
    for split, count in {"train": 7, "val": 1, "test": 2}.items():
        labels = data.split(split).y["class"]
        assert np.bincount(labels).tolist() == [count] * len(NAMES)
        np.testing.assert_array_equal(labels, again.split(split).y["class"])
    assert data.fingerprint == again.fingerprint


def test_the_table_is_of_shares_and_what_is_missing_is_nan(tmp_path: Path) -> None:
    """The text file has 0.00 for four colours of the antelope; a 0.00 elsewhere is a value."""
    plant(tmp_path)
    table = awa2.semantics(tmp_path)
    assert (table.classes, table.attributes) == (NAMES, PREDICATES)
    expected = percentages() / 100
    expected[0, :4] = np.nan
    np.testing.assert_allclose(table.table, expected, rtol=1e-6)
    assert table.table[1, 1] == 0
    semantics.write_semantics(table, tmp_path / "mine.toml")
    np.testing.assert_array_equal(
        semantics.read_semantics(str(tmp_path / "mine.toml")).table, table.table
    )


def test_the_proposed_split_is_not_that_of_the_folder(tmp_path: Path) -> None:
    plant(tmp_path)
    assert awa2.semantics(tmp_path).splits == {"proposed": awa2.UNSEEN}
    assert len(set(awa2.UNSEEN)) == 10 and "blue+whale" in awa2.UNSEEN


def test_the_table_needs_no_images_and_the_images_no_table(tmp_path: Path) -> None:
    folder = plant(tmp_path)
    (folder / awa2.MATRIX).rename(tmp_path / "away")
    assert len(awa2.build(root=tmp_path).split("val")) == 12
    with pytest.raises(Declined, match="predicate-matrix-continuous"):
        awa2.semantics(tmp_path)
    (tmp_path / "away").rename(folder / awa2.MATRIX)
    (folder / "JPEGImages").rename(tmp_path / "away")
    assert awa2.semantics(tmp_path).classes == NAMES
    with pytest.raises(
        Declined, match=r"Animals_with_Attributes2/JPEGImages/ and .*--data"
    ) as error:
        awa2.build(root=tmp_path)
    assert str(tmp_path) not in str(error.value)


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return apply


def emptied(folder: Path) -> None:
    for row in range(6):
        (folder / "JPEGImages" / "zebra" / f"zebra_{10001 + row}.jpg").unlink()


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a class without a folder": (
        lambda f: (f / "JPEGImages" / "zebra").rename(f / "zebra"),
        "differ .zebra",
    ),
    "another folder": (
        lambda f: (f / "JPEGImages" / "bat").rename(f / "JPEGImages" / "cat"),
        "bat, cat",
    ),
    "too few images": (emptied, "4 images of 'zebra'"),
    "a class twice": (edit("classes.txt", "zebra", "antelope"), "names 'antelope' 2 times"),
    "a number twice": (edit("classes.txt", "   2\t", "   1\t"), "each once"),
    "a line without a number": (edit("classes.txt", "   2\t", ""), "the line 'zebra'"),
    "an empty list": (lambda f: (f / "classes.txt").write_text(""), "1, 2, 3 and so on"),
}


@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_folders_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    change, message = BAD_IMAGES[fault]
    change(plant(tmp_path))
    with pytest.raises(BenchError, match=message) as caught:
        awa2.build(root=tmp_path)
    assert not isinstance(caught.value, Declined) and "\n" not in str(caught.value)


BAD_TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a row too few": (
        lambda f: (f / awa2.MATRIX).write_text("1 2 3 4 5\n" * 11),
        "11 x 5; 12 classes by 5",
    ),
    "lines of two lengths": (lambda f: (f / awa2.MATRIX).write_text("1 2\n1\n"), "not a table"),
    "a word": (lambda f: (f / awa2.MATRIX).write_text("1 two\n"), "not a table of numbers"),
    "nothing": (lambda f: (f / awa2.MATRIX).write_text(""), "no lines of numbers"),
    "more than a hundred": (
        lambda f: (f / awa2.MATRIX).write_text("1 2\n3 101\n"),
        "101 in line 2; it must be 0 to 100",
    ),
    "infinity": (lambda f: (f / awa2.MATRIX).write_text("1 inf\n"), "inf in line 1"),
    "bytes": (lambda f: (f / awa2.MATRIX).write_bytes(b"\xff"), "cannot be read as text"),
    "an unseen class less": (edit("classes.txt", "walrus", "wallaby"), "no class .* 'walrus'"),
}


@pytest.mark.parametrize("fault", BAD_TABLES)
def test_tables_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    change, message = BAD_TABLES[fault]
    change(plant(tmp_path))
    with pytest.raises(BenchError, match=message) as caught:
        awa2.semantics(tmp_path)
    assert not isinstance(caught.value, Declined) and "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_minus_one_is_missing(tmp_path: Path) -> None:
    folder = plant(tmp_path)
    rows = percentages()
    rows[3, 2] = -1
    (folder / awa2.MATRIX).write_text("\n".join(" ".join(map(str, row)) for row in rows))
    assert np.isnan(awa2.semantics(tmp_path).table[3, 2])


def test_too_small_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="size=1: must be 2 or more"):
        awa2.build(root=tmp_path, size=1)
