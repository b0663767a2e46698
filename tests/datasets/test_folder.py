"""A user's own folder: layouts, splits, fingerprints, and everything that can be wrong with it."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from bench import testing
from bench.cli.main import main
from bench.data.images import EncodedImages, Input
from bench.data.samples import SPLITS
from bench.datasets import image_folder
from bench.datasets.base import DataSets, SplitDataSet
from bench.errors import BenchError, Declined
from bench.naming import registry
from bench.naming.specs import resolve
from bench.running.features import images_of
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.tasks.cell import Cell
from bench.tasks.own_images import folder_tasks


def picture(path: Path, seed: int, *, mode: str = "RGB", size: tuple[int, int] = (12, 9)) -> Path:
    """A file of noise, of its own for each seed, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def fill(folder: Path, counts: dict[str, int], *, seed: int = 0, mode: str = "RGB") -> Path:
    for number, (label, count) in enumerate(counts.items()):
        for i in range(count):
            size = (10 + i % 5, 9 + number)
            picture(folder / label / f"{i:03}.png", seed + 1000 * number + i, mode=mode, size=size)
    return folder


def three(folder: Path, *, val: bool = False) -> Path:
    """train/ and test/, and val/, of cats and dogs."""
    fill(folder / "train", {"cat": 12, "dog": 8})
    fill(folder / "test", {"cat": 3, "dog": 4}, seed=10_000)
    if val:
        fill(folder / "val", {"cat": 2, "dog": 2}, seed=20_000)
    return folder


def build(path: Path, size: int = 8) -> image_folder.FolderDataSet:
    return image_folder.build(root=Path("nowhere"), path=path, size=size)


def names(data: SplitDataSet) -> dict[str, list[str]]:
    files = {}
    for split in SPLITS:
        images = images_of(data.split(split))
        assert isinstance(images, EncodedImages)
        files[split] = list(images.names)
    return files


def refusal(path: Path) -> str:
    with pytest.raises(BenchError) as caught:
        build(path)
    assert not isinstance(caught.value, Declined)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- Layouts and splits


@pytest.mark.parametrize("val", [True, False])
def test_a_folder_s_own_split_is_kept_and_val_is_a_tenth_of_train_if_absent(
    val: bool, tmp_path: Path
) -> None:
    data = build(three(tmp_path, val=val))
    splits = names(data)
    assert data.meta.targets["label"].names == ("cat", "dog")
    assert all(name.startswith("test/") for name in splits["test"])
    assert len(splits["test"]) == 7
    if val:
        assert sorted(splits["val"]) == [
            f"val/{c}/00{i}.png" for c in ("cat", "dog") for i in (0, 1)
        ]
        assert len(splits["train"]) == 20
    else:
        assert (len(splits["train"]), len(splits["val"])) == (18, 2)
        assert {name.split("/")[0] for name in splits["train"] + splits["val"]} == {"train"}
    assert len({name for split in SPLITS for name in splits[split]}) == 27 + 4 * val
    for split in SPLITS:
        labels = [("cat", "dog")[label] for label in data.split(split).y["label"]]
        assert labels == [name.split("/")[1] for name in splits[split]]


def test_classes_alone_are_split_70_10_20_each_class_by_its_share(tmp_path: Path) -> None:
    data = build(fill(tmp_path, {"b": 30, "a": 20, "c": 10}))
    assert data.meta.targets["label"].names == ("a", "b", "c")
    counts = {s: np.bincount(data.split(s).y["label"]).tolist() for s in SPLITS}
    assert counts == {"train": [14, 21, 7], "val": [2, 3, 1], "test": [4, 6, 2]}
    splits = names(data)
    assert sorted(name for split in SPLITS for name in splits[split]) == sorted(
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")
    )


def test_the_split_depends_on_the_names_alone(tmp_path: Path) -> None:
    first = fill(tmp_path / "first", {"a": 9, "b": 12})
    second = tmp_path / "second"
    for path in sorted(first.rglob("*.png"), reverse=True):  # made in another order, other pixels
        picture(second / path.relative_to(first), 77 + int(path.stem))
    assert names(build(first)) == names(build(second)) == names(build(first))
    (first / "a" / "000.png").rename(first / "a" / "zzz.png")
    assert names(build(first)) != names(build(second))


@pytest.mark.parametrize("counts", [{"a": 5, "b": 5}, {"a": 5, "b": 60}, {"a": 5, "b": 7, "c": 6}])
def test_the_smallest_class_that_is_taken_is_in_train_and_test(
    counts: dict[str, int], tmp_path: Path
) -> None:
    data = build(fill(tmp_path, counts))
    for split in ("train", "test"):
        assert set(data.split(split).y["label"]) == set(range(len(counts)))  # type: ignore[arg-type]
    assert len(data.split("val")) >= 1


def test_images_may_lie_deeper_and_be_of_any_format_and_the_rest_is_ignored_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, {"a": 5, "b": 5})
    for i, suffix in enumerate(("jpg", "JPEG", "webp", "tif", "bmp", "gif", "ppm")):
        picture(tmp_path / "a" / "deep" / "er" / f"x.{suffix}", 500 + i)
    build(tmp_path)
    assert not caplog.messages
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "a" / ".hidden.png").write_text("no image")
    (tmp_path / "b" / "labels.csv").write_text("")
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    (tmp_path / "b" / ".thumbs").mkdir()
    (tmp_path / "b" / ".thumbs" / "1.png").write_text("no image")
    data = build(tmp_path)
    assert sum(len(data.split(s)) for s in SPLITS) == 17
    # .thumbs counts as one, .git was never looked at
    [line] = caplog.messages
    assert line == f"{tmp_path}: left out 5 files: 3 hidden, 1 .csv, 1 .txt"


def test_a_file_in_train_test_is_counted_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    three(tmp_path)
    (tmp_path / "readme.md").write_text("")
    (tmp_path / "train" / "cat" / "readme.md").write_text("")
    build(tmp_path)
    assert "left out 2 files: 2 .md" in caplog.text


def test_nothing_is_written_and_a_folder_may_be_read_only(tmp_path: Path) -> None:
    three(tmp_path)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    build(tmp_path)
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("train", "test", "val"),
    [
        ("Train", "Test", None),
        ("TRAIN", "TEST", "VAL"),
        ("training", "testing", "validation"),
        ("training_set", "test_set", None),
        ("TrainingSet", "TestSet", "DevSet"),
        ("seg_train", "seg_test", None),
        ("train_images", "test_images", "val_images"),
        ("images-train", "images-test", "images-dev"),
        ("trainset", "testset", "validset"),
        ("train2017", "test2017", "val2017"),
        ("01 Train data", "02 Test data", "03 Valid data"),
        ("train", "eval", "val"),
        ("train", "test", "eval"),
        ("train", "eval", None),
        ("train", "test1", None),
    ],
)
def test_folders_of_splits_are_known_by_their_usual_names_in_any_case(
    train: str, test: str, val: str | None, tmp_path: Path
) -> None:
    fill(tmp_path / train, {"cat": 12, "dog": 8})
    fill(tmp_path / test, {"cat": 3, "dog": 4}, seed=10_000)
    if val:
        fill(tmp_path / val, {"cat": 2, "dog": 2}, seed=20_000)
    data = build(tmp_path)
    assert data.meta.targets["label"].names == ("cat", "dog")
    folders = {split: {name.split("/")[0] for name in of} for split, of in names(data).items()}
    assert folders == {"train": {train}, "test": {test}, "val": {val or train}}
    assert f"2 classes ('cat', 'dog'), {31 if val else 27} images: " in data.summary
    assert f"test from {test!r}" in data.summary


@pytest.mark.parametrize("val", ["val", "Validation", "val_images"])
def test_without_a_test_folder_val_is_the_test_split_and_this_is_reported(
    val: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = val.lower().replace("validation", "training").replace("val", "train")
    fill(tmp_path / train, {"cat": 12, "dog": 8})
    fill(tmp_path / val, {"cat": 3, "dog": 4}, seed=10_000)
    data = build(tmp_path)
    assert {s: len(of) for s, of in names(data).items()} == {"train": 18, "val": 2, "test": 7}
    [line] = caplog.messages
    assert (
        f"there is no test folder: {val!r} is the test split, and a tenth of {train!r} validates"
        in line
    )


def test_splits_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    fill(tmp_path / "seg_train" / "seg_train", {"cat": 12, "dog": 8})
    fill(tmp_path / "seg_test" / "seg_test", {"cat": 3, "dog": 4}, seed=10_000)
    (tmp_path / "__MACOSX" / "seg_train").mkdir(parents=True)
    data = build(tmp_path)
    assert data.meta.targets["label"].names == ("cat", "dog")
    assert "test from 'seg_test/seg_test'" in data.summary


@pytest.mark.parametrize("name", ["train", "Test", "validation", "test_tube", "eval"])
def test_a_folder_named_like_a_split_among_classes_is_a_class(name: str, tmp_path: Path) -> None:
    data = build(fill(tmp_path, {"bus": 6, "car": 6, name: 6}))
    assert set(data.meta.targets["label"].names) == {"bus", "car", name}
    assert "3 classes (" in data.summary and repr(name) in data.summary


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["Train/a", "Train/b", "c"], "'Train' may be a split or a class beside 'c'"),
        (["train/a", "train/b", "Train/a", "Train/b", "test/a", "test/b"], "both name the train split"),
        (["train/a", "val/a", "valid/a", "test/a"], "'val' and 'valid' both name the val split"),
        (["train/a", "eval/a", "val/a", "test/a"], "'eval' and 'val' both name the val split"),
        (["train", "test"], "images outside the folders of classes"),
        (["train", "test", "car"], "has 'car' beside 'test' and 'train'"),
        (["seg_val/a", "seg_val/b", "seg_test/a", "seg_test/b"], "has no folder 'train'"),
        (["val/a", "val/b"], "has no folder 'train'"),
        (["train/a", "train/b"], "has no folder 'test'"),
        (["a_train/x", "a_test/x", "b_train/x", "b_test/x"], "the splits of several data sets"),
        (["cat/train", "cat/test", "dog/train", "dog/test"], "splits lie inside the folders of classes"),
        (["train/Cat", "train/dog", "test/cat", "test/dog"], "names differ in capital letters"),
        (["archive/cat", "archive/dog"], "archive' the folder that you mean?"),
    ],
)  # fmt: skip
def test_folders_that_may_be_splits_or_classes_are_reported_in_one_line(
    folders: list[str], message: str, tmp_path: Path
) -> None:
    for number, folder in enumerate(folders):
        for i in range(6):
            picture(tmp_path / folder / f"{i}.png", 10 * number + i)
    assert message in refusal(tmp_path)


def test_folders_of_one_name_in_each_class_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, part in enumerate(("entrenamiento", "prueba")):
        fill(tmp_path / part, {"gato": 6, "perro": 6}, seed=100 * number)
    build(tmp_path)
    [line] = caplog.messages
    assert (
        "('gato', 'perro') lie in each of 'entrenamiento', 'prueba', which are the classes" in line
    )


@pytest.mark.parametrize("splits", [False, True])
def test_folders_in_classes_are_reported_where_they_may_be_the_classes(
    splits: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, part in enumerate(("train", "test") if splits else (".",)):
        fill(tmp_path / part / "insect", {"ant": 5, "bee": 5}, seed=9000 * number)
        fill(tmp_path / part / "mammal", {"cat": 5, "dog": 5}, seed=9000 * number + 500)
    build(tmp_path)
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "folders lie in each of 'insect', 'mammal', which are the classes here; if the inner ones "
        "('insect/ant', 'insect/bee') are the classes, move them up"
    ]


def test_classes_that_differ_in_capital_letters_and_spaces_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, {"sea_lion": 5, "Sea lion": 5, "lion": 5})
    build(tmp_path)
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "'Sea lion' and 'sea_lion' are different classes here"
    ]


def test_the_summary_names_ten_classes_and_counts_the_others(tmp_path: Path) -> None:
    data = build(fill(tmp_path, {f"c{i:02}": 5 for i in range(12)}))
    assert (
        "12 classes ('c00', " in data.summary and "'c09' and 2 more), 60 images: " in data.summary
    )
    assert data.summary.endswith("42 train, 6 val, 12 test (drawn class by class)")


CAFES = ("café", "thé", "été")


def decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


def test_classes_equal_but_for_their_unicode_form_are_one(tmp_path: Path) -> None:
    mixed, plain = tmp_path / "mixed", tmp_path / "plain"
    fill(mixed / "train", dict.fromkeys(CAFES, 6))
    fill(mixed / "test", dict.fromkeys(map(decomposed, CAFES), 3), seed=500)
    fill(plain / "train", dict.fromkeys(CAFES, 6))
    fill(plain / "test", dict.fromkeys(CAFES, 3), seed=500)
    first, second = build(mixed), build(plain)
    assert first.meta.targets["label"].names == tuple(sorted(CAFES))
    assert first.fingerprint == second.fingerprint
    images_of(first.split("test")).read(np.arange(9), Input(size=(4, 4), channels=1))
    both = tmp_path / "both"
    fill(both, dict.fromkeys(CAFES, 6))
    fill(both, {decomposed("café"): 2}, seed=500)
    assert build(both).meta.targets["label"].names == tuple(sorted(CAFES))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_table_names_classes_in_either_unicode_form(
    form: Literal["NFC", "NFD"], tmp_path: Path
) -> None:
    classes = [*CAFES, "jus", "eau"]
    fill(tmp_path / "mac", dict.fromkeys(map(decomposed, classes), 6))
    lines = [
        f'"{unicodedata.normalize(form, c)}" = [{i & 1}, {i >> 1 & 1}, {i >> 2}]'
        for i, c in enumerate(classes)
    ]
    split = unicodedata.normalize(form, "['café', 'été']")
    table = tmp_path / "t.toml"
    text = (
        'attributes = ["a", "b", "c"]\n[classes]\n'
        + "\n".join(lines)
        + f"\n[splits]\nx = {split}\n"
    )
    table.write_text(text, encoding="utf-8")
    last = folder_tasks(tmp_path / "mac", DataSets(tmp_path), table)[-1]
    assert last.replicates.splits == ((0, 4),)


# --- Links


def test_a_class_and_an_image_may_be_links(tmp_path: Path) -> None:
    fill(tmp_path / "other", {"b": 5})
    path = fill(tmp_path / "mine", {"a": 4})
    (path / "b").symlink_to(tmp_path / "other" / "b")
    (path / "a" / "last.png").symlink_to(picture(tmp_path / "x.png", 77))
    assert build(path).meta.targets["label"].names == ("a", "b")


LINKS: dict[str, tuple[str, str, str]] = {  # link, where it leads, what is said
    "to another class": ("c", "b", "'b' and 'c' are one folder; remove the link"),
    "to the folder itself": ("c", ".", "remove the link"),
    "to a folder above": ("c", "..", "remove the link"),
    "into another class": ("c", "a/inner", "remove the link"),
    "nowhere": ("c", "gone", "c is a link that leads nowhere; mend or remove it"),
    "to itself": ("c", "c", "c is a link that leads nowhere; mend or remove it"),
}


@pytest.mark.parametrize("where", LINKS)
def test_links_by_which_a_class_is_nowhere_or_in_two_places_are_reported(
    where: str, tmp_path: Path
) -> None:
    link, target, words = LINKS[where]
    path = fill(tmp_path / "mine", {"a": 5, "b": 5, "a/inner": 5})
    (path / link).symlink_to(target)
    assert words in refusal(path)


@pytest.mark.parametrize("link", ["test", "test/cat", "val/dog"])
def test_images_that_are_in_two_splits_by_a_link_are_reported(link: str, tmp_path: Path) -> None:
    path = three(tmp_path, val=True)
    shutil.rmtree(path / link)
    (path / link).symlink_to(path / "train" / link.partition("/")[2])
    assert "are one folder; remove the link" in refusal(path)


def test_images_that_are_in_two_classes_or_splits_as_equal_files_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    three(tmp_path)
    shutil.copy(tmp_path / "train" / "cat" / "000.png", tmp_path / "train" / "dog" / "copy.png")
    shutil.copy(tmp_path / "train" / "cat" / "001.png", tmp_path / "test" / "cat" / "copy.png")
    assert build(tmp_path).test_in_train == 1
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "2 files are equal to a file of another class ('train/cat/000.png', 'train/dog/copy.png'): no "
        "encoder can tell them apart",
        "1 of 8 test images are in train or val as well, byte by byte: scores are too high for new "
        "images",
    ]


# --- Images


def several(path: Path, seed: int) -> None:
    """Two frames or pages, the second black."""
    image = Image.open(picture(path.with_suffix(".png"), seed))
    path.with_suffix(".png").unlink()
    kind = {".jpg": "MPO"}.get(path.suffix)
    image.save(path, kind, save_all=True, append_images=[Image.new("RGB", image.size)])


@pytest.mark.parametrize("ending", ["gif", "tif", "webp", "apng"])
def test_frames_and_pages_that_are_not_read_are_reported(
    ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, {"a": 6, "b": 6})
    several(tmp_path / "a" / f"x.{ending}", 70)
    several(tmp_path / "b" / "preview.jpg", 71)  # as of a camera
    data = build(tmp_path)
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        f"frames or pages after the first are not read in 1 file ('a/x.{ending}')"
    ]
    split = next(s for s in SPLITS if f"a/x.{ending}" in names(data)[s])
    row = names(data)[split].index(f"a/x.{ending}")
    pixels = images_of(data.split(split)).read(np.array([row]), Input(size=(8, 8), channels=3))
    assert pixels.mean() > 100


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "apng", "avif", "j2k", "dib", "qoi"])
def test_every_ending_of_a_format_that_is_read_is_taken(suffix: str, tmp_path: Path) -> None:
    fill(tmp_path, {"a": 6, "b": 6})
    ending = f".{suffix.lower()}"
    Image.init()
    kind = Image.registered_extensions().get(ending)
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {ending}")
    image = Image.open(picture(tmp_path / "other.png", 5))
    (tmp_path / "other.png").rename(tmp_path / ".other")
    image.save(tmp_path / "a" / f"x.{suffix}", kind)
    total = sum(len(of) for of in names(build(tmp_path)).values())
    assert total == (12 if suffix == "dib" else 13)


def test_pictures_that_are_not_read_are_reported_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, {"a": 6, "b": 6})
    for i in range(3):
        (tmp_path / "a" / f"IMG_{i}.HEIC").write_bytes(b"x")
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "b" / "README").write_bytes(b"x")
    build(tmp_path)
    [line] = caplog.messages
    assert line.endswith(
        "left out 5 files: 3 .heic, 1 .db, 1 without an ending (.heic: not read here; convert such "
        "pictures to .jpg or .png)"
    )


@pytest.mark.parametrize(
    ("top", "message"),
    [
        (4095, "12 files with 16 bits a level have none above 4095 (12 bits)"),
        (1023, "(10 bits)"),
        (65535, None),
    ],
)
def test_levels_that_fill_a_part_of_their_bits_are_reported(
    top: int, message: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(12):
        levels = np.linspace(0, top, 80).reshape(8, 10).astype(np.uint16)
        levels[0, 1] = number
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(levels).save(path)
    build(tmp_path)
    assert [message in line for line in caplog.messages] == ([True] if message else [])


def test_masks_of_0_and_1_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(12):
        levels = np.random.default_rng(number).integers(0, 2, (8, 10), dtype=np.uint8)
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(levels).save(path)
    build(tmp_path)
    [line] = caplog.messages
    assert "12 files with 8 bits a level have none above 1 (1 bits)" in line


def test_bad_images_are_left_out_up_to_a_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    three(tmp_path)
    good = build(tmp_path)
    for number in range(2):
        (tmp_path / "train" / "dog" / f"{number:03}.png").write_text("<html>404</html>")
    with pytest.raises(
        image_folder.BadImages, match=r"2 of 27 .* more than the 1 that may"
    ) as caught:
        image_folder.build(root=tmp_path, path=tmp_path, size=8, skip_bad=1)
    assert list(caught.value.files) == ["train/dog/000.png", "train/dog/001.png"]
    for limit in (2, 5):
        caplog.clear()
        data = image_folder.build(root=tmp_path, path=tmp_path, size=8, skip_bad=limit)
        [line] = caplog.messages
        assert "left out 2 of 27 images, which cannot be used (train/dog/000.png" in line
        assert "25 images: 17 train, 1 val, 7 test" in data.summary
        assert list(data.skipped) == ["train/dog/000.png", "train/dog/001.png"]
    assert data.fingerprint != good.fingerprint
    for number in range(2):
        (tmp_path / "train" / "dog" / f"{number:03}.png").unlink()
    assert build(tmp_path).fingerprint == data.fingerprint  # what is left out is not there
    with pytest.raises(BenchError, match="skip_bad=-1: must be 0 or more"):
        image_folder.build(root=tmp_path, path=tmp_path, skip_bad=-1)


def test_a_class_without_a_usable_image_is_reported_when_bad_ones_are_left_out(
    tmp_path: Path,
) -> None:
    three(tmp_path)
    for path in (tmp_path / "test" / "cat").iterdir():
        path.write_text("no image")
    with pytest.raises(BenchError, match="no image of 'cat' in 'test' can be used"):
        image_folder.build(root=tmp_path, path=tmp_path, skip_bad=9)


@pytest.mark.parametrize("command", ["run", "plan", "status"])
def test_the_command_lists_all_bad_images_and_leaves_them_out_on_request(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, results = fill(tmp_path / "p", {"a": 8, "b": 8}), tmp_path / "results"
    for number in range(5):
        (images / "a" / f"bad{number}.jpg").write_text("<html>404</html>")
    words = [
        command,
        "--images",
        str(images),
        "--encoder",
        "pixels,size=4",
        "--results",
        str(results),
    ]
    words += ["--cache", str(tmp_path / "cache")]
    assert main(words) == 2
    listed = results / "bad-images.txt"
    output = capsys.readouterr().err
    assert len(output.splitlines()) == 1
    assert f"--skip-bad N; all 5 are listed in {listed}" in output
    lines = listed.read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [f"a/bad{i}.jpg" for i in range(5)]
    assert lines[0].endswith(
        "\tcannot be read: empty, or not an image of a format that is read "
        "(a web page or another text; fetch the file itself)"
    )
    assert main([*words, "--skip-bad", "4"]) == 2
    assert "more than the 4 that may be left out" in capsys.readouterr().err
    assert main([*words, "--skip-bad", "5"]) == (1 if command == "status" else 0)
    output = capsys.readouterr().err
    assert "left out 5 of 21 images" in output or "all 5 are listed in" in output
    assert f"{images}: 2 classes ('a', 'b'), 16 images: 11 train, 1 val, 4 test" in output


@pytest.mark.parametrize("number", ["-1", "x", "1.5"])
def test_a_number_of_bad_images_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--images", ".", f"--skip-bad={number}"])
    assert caught.value.code == 2


def test_leaving_out_bad_images_needs_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--skip-bad", "3"]) == 2
    assert "--images DIR; give both" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    three(tmp_path)
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.png")
    assert "train/cat/pipe.png is not a regular file" in refusal(tmp_path)


def test_images_come_from_their_files_at_the_size_requested(tmp_path: Path) -> None:
    data = build(three(tmp_path), size=6)
    assert (data.licence, data.flips) == ("the user's own", True)
    test = images_of(data.split("test"))
    assert test.native == Input(size=(6, 6), channels=3)
    expected = EncodedImages([tmp_path / n for n in names(data)["test"]], native=test.native)
    for form in (test.native, Input(size=(20, 30), channels=1)):
        rows = np.array([4, 0, 6])
        np.testing.assert_array_equal(test.read(rows, form), expected.read(rows, form))
    (tmp_path / "test" / "cat" / "000.png").unlink()  # nothing is held in memory
    with pytest.raises(BenchError, match=r"^test/cat/000\.png cannot be read: No such file"):
        test.read(np.arange(1), test.native)


def test_grey_is_grey_only_where_every_file_is(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 6, "b": 6}, mode="L")
    assert images_of(build(tmp_path).split("train")).native.channels == 1
    picture(tmp_path / "b" / "one.png", 9)
    assert images_of(build(tmp_path).split("train")).native.channels == 3


def test_the_check_kit_passes_also_by_its_spec(tmp_path: Path) -> None:
    three(tmp_path)
    shutil.copy(tmp_path / "train" / "dog" / "001.png", tmp_path / "test" / "dog" / "again.png")
    entry = registry.find("datasets", "image_folder")
    assert list(entry.parameters) == ["root", "path", "size", "skip_bad"]
    escaped = str(tmp_path).replace("/", "%2F")
    data = DataSets(Path("nowhere"))(f"image_folder,path={escaped},size=8")
    assert data.test_in_train == 1
    for check in testing.dataset_checks():
        check(data)
    object.__setattr__(data, "test_in_train", 0)
    findings = [f["finding"] for f in testing.run_checks(testing.dataset_checks(), data)]
    assert [f for f in findings if f] == ["test_in_train is 0, counted 1"]


def test_the_kit_tells_of_files_that_are_in_val_and_train(tmp_path: Path) -> None:
    three(tmp_path, val=True)
    shutil.copy(tmp_path / "train" / "dog" / "001.png", tmp_path / "val" / "dog" / "again.png")
    findings = [f["finding"] for f in testing.run_checks(testing.dataset_checks(), build(tmp_path))]
    assert [f for f in findings if f] == ["1 validation images are also in train"]


# --- Fingerprint


def rename(path: Path) -> None:
    (path / "train" / "cat" / "003.png").rename(path / "train" / "cat" / "333.png")


def one_file(path: Path) -> None:
    picture(path / "train" / "cat" / "003.png", 999)


def one_byte_behind_the_image(path: Path) -> None:
    with (path / "test" / "cat" / "001.png").open("ab") as file:
        file.write(b"\0")


def two_files_change_names(path: Path) -> None:
    a, b = path / "train" / "cat" / "000.png", path / "train" / "dog" / "000.png"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


def a_class_is_renamed(path: Path) -> None:
    for split in ("train", "test"):
        (path / split / "cat").rename(path / split / "bat")


def a_file_more(path: Path) -> None:
    picture(path / "test" / "cat" / "x.png", 998)


EDITS = [rename, one_file, one_byte_behind_the_image, two_files_change_names]
EDITS += [a_class_is_renamed, a_file_more]


def test_a_fingerprint_changes_with_every_edit_and_with_nothing_else(tmp_path: Path) -> None:
    chosen = set()
    for number, edit in enumerate([lambda _: None, *EDITS]):
        path = three(tmp_path / str(number))
        edit(path)
        chosen.add(build(path).fingerprint)
    assert len(chosen) == 1 + len(EDITS)
    again = three(tmp_path / "again")
    (again / "train" / "notes.txt").write_text("ignored")
    os.utime(again / "train" / "cat" / "003.png", (1, 1))
    assert build(again, size=16).fingerprint in chosen


# --- What is refused


def test_a_folder_that_is_missing_empty_or_a_file_is_reported_with_the_layouts(
    tmp_path: Path,
) -> None:
    assert "no folder" in refusal(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    assert "no folder" in refusal(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "has no classes; it must hold train/CLASS/... and test/CLASS/..." in refusal(
        tmp_path / "empty"
    )


def test_without_a_folder_it_is_declined_with_how_to_name_one() -> None:
    with pytest.raises(Declined, match="image_folder,path=FOLDER"):
        image_folder.build(root=Path("nowhere"))


def test_one_class_alone_is_reported(tmp_path: Path) -> None:
    assert "has only one class ('only')" in refusal(fill(tmp_path / "a", {"only": 12}))
    both = tmp_path / "b"
    fill(both / "train", {"only": 12})
    fill(both / "test", {"only": 12})
    assert "has only one class ('only')" in refusal(both)


def test_images_outside_a_class_are_reported(tmp_path: Path) -> None:
    picture(fill(tmp_path, {"a": 5, "b": 5}) / "loose.png", 1)
    assert "images outside the folders of classes: 'loose.png'" in refusal(tmp_path)
    second = three(tmp_path / "other")
    picture(second / "test" / "loose.png", 1)
    assert "images outside the folders of classes: 'test/loose.png'" in refusal(second)


def test_half_a_layout_and_other_folders_beside_it_are_reported(tmp_path: Path) -> None:
    three(tmp_path)
    fill(tmp_path / "extra", {"cat": 1, "dog": 1})
    assert "has 'extra' beside 'test' and 'train', which are named like splits" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "extra")
    shutil.rmtree(tmp_path / "test")
    assert "has no folder 'test'" in refusal(tmp_path)


def test_classes_that_differ_between_splits_are_reported(tmp_path: Path) -> None:
    three(tmp_path, val=True)
    picture(tmp_path / "test" / "owl" / "1.png", 1)
    assert "the classes of train and test differ ('owl' only in one)" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "test" / "owl")
    shutil.rmtree(tmp_path / "val" / "cat")
    assert "the classes of train and val differ ('cat' only in one)" in refusal(tmp_path)


def test_a_class_without_images_is_reported(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.svg").write_text("<svg/>")
    message = refusal(tmp_path)
    assert (
        "no images in 'c', which hold 1 file: 1 .svg (.svg: not read here; convert such " in message
    )
    assert message.count("; names of images must end with one of .apng .avif .") == 1


def test_a_class_with_too_few_images_is_reported_with_how_many_it_has(tmp_path: Path) -> None:
    message = refusal(fill(tmp_path / "a", {"a": 20, "b": 4, "c": 1}))
    assert "too few images to split: 'b' has 4, 'c' has 1; each class needs 5 or more" in message
    two = tmp_path / "b"
    fill(two / "train", {"a": 20, "b": 1})
    fill(two / "test", {"a": 2, "b": 1}, seed=9_000)
    assert "too few images to split in train: 'b' has 1; each class needs 2 or more" in refusal(two)
    fill(two / "val", {"a": 2, "b": 1}, seed=8_000)  # with a val of its own one is enough
    assert len(build(two).split("train")) == 21


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def text(path: Path) -> None:
    path.write_text("<html>404</html>")


def dot(path: Path) -> None:
    picture(path, 0, size=(1, 1))


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone.png")


@pytest.mark.parametrize("damage", [empty, cut, text, dot, link_to_nothing])
def test_damaged_images_are_refused_by_name_and_number_never_skipped(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    three(tmp_path)
    damage(tmp_path / "train" / "dog" / "002.png")
    message = refusal(tmp_path)
    assert "1 of 27 images cannot be used (train/dog/002.png " in message
    for number in range(3, 8):
        damage(tmp_path / "train" / "dog" / f"{number:03}.png")
    message = refusal(tmp_path)
    assert "6 of 27 images cannot be used (train/dog/002.png " in message
    assert "train/dog/004.png" in message and "train/dog/005.png" not in message
    assert "and 3 more)" in message
    assert message.endswith("; repair them or move them elsewhere")


def test_a_dot_is_reported_with_its_size_and_the_least(tmp_path: Path) -> None:
    three(tmp_path)
    picture(tmp_path / "test" / "dog" / "000.png", 0, size=(1, 30))
    reason = "test/dog/000.png is 1 x 30; it must be at least 2 x 2 pixels"
    assert reason in refusal(tmp_path)
    picture(tmp_path / "test" / "dog" / "000.png", 0, size=(2, 2))
    build(tmp_path)


def test_an_absurdly_large_image_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(tmp_path)
    picture(tmp_path / "test" / "dog" / "000.png", 0, size=(50, 40))
    monkeypatch.setattr("bench.data.images.MAX_PIXELS", 1000)
    message = (
        "1 of 27 images cannot be used (test/dog/000.png cannot be read: more than 1000 pixels"
    )
    assert message in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("kind", ["train/dog", "train/dog/002.png"])
def test_what_may_not_be_read_is_reported(kind: str, tmp_path: Path) -> None:
    three(tmp_path)
    (tmp_path / kind).chmod(0)
    try:
        message = refusal(tmp_path)
    finally:
        (tmp_path / kind).chmod(0o755)
    assert kind in message and "Permission denied" in message


def test_a_folder_and_a_file_that_refuse_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, where the tests run as root."""
    three(tmp_path)
    scandir, opened = os.scandir, Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "002.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    def lock(path: str) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert "train/cat/002.png cannot be read: Permission denied" in refusal(tmp_path)
    monkeypatch.setattr(os, "scandir", lock)
    assert "dog cannot be read (Permission denied)" in refusal(tmp_path)


@pytest.mark.parametrize("size", [1, 0, -3])
def test_a_size_that_is_none_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"size={size}: must be 2 or more"):
        build(three(tmp_path), size=size)


TABLE = """
attributes = ["a", "b", "c"]
[classes]
ant = [1, 0, 0]
bee = [0, 1, 0]
cow = [0, 0, 1]
dog = [1, 1, 0]
elk = [0, 1, 1]
"""


def test_a_table_of_attributes_makes_a_zero_shot_task_too(tmp_path: Path) -> None:
    animals = fill(tmp_path / "animals", dict.fromkeys(("ant", "bee", "cow", "dog", "elk"), 20))
    table = tmp_path / "animals.toml"
    table.write_text(TABLE)
    tasks = folder_tasks(animals, DataSets(tmp_path), table)
    assert [t.name for t in tasks] == ["animals-linear", "animals-knn", "animals-zeroshot"]
    last = tasks[-1]
    splits = last.replicates.splits
    assert len(set(splits)) == 10 and {len(split) for split in splits} == {2}
    assert last.chance == pytest.approx(1 / 12)
    cell = Cell(last, resolve("encoders", "pixels,size=4"))
    record, _ = run_cell(cell, Workspace(DataSets(tmp_path, places={"animals": animals})))
    assert record.status == "ok", record.reason
    assert {r.coords.control for r in record.replicates} == {None, "shuffled_signatures"}
    table.write_text(TABLE + "[splits]\nmine = ['dog', 'bee']\n")
    assert folder_tasks(animals, DataSets(tmp_path), table)[-1].replicates.splits == ((1, 3),)
    assert last.replicates.control_seeds == 5
    [task] = folder_tasks(animals, DataSets(tmp_path), table)[2:]
    assert task.replicates.control_seeds == 50  # of one split
    table.write_text(TABLE + "[splits]\nmine = ['dog', 'bee']\nagain = ['bee', 'dog']\n")
    assert folder_tasks(animals, DataSets(tmp_path), table)[-1].replicates.splits == ((1, 3),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TABLE.replace("elk", "emu"), "'elk'"),
        (
            TABLE.replace("elk = [0, 1, 1]", "elk = [0, 0, 1]"),
            "'cow' and 'elk' have the same attributes",
        ),
        (
            TABLE + "fly = [1, 1, 1]\n[splits]\nmine = ['fly']\n",
            "'mine' .* leaves 0 of the folder's 5",
        ),
        (
            TABLE + "[splits]\nmine = ['ant']\n",
            "'mine' .* leaves 1 of the folder's 5 classes unseen; at least two",
        ),
        (
            TABLE + "[splits]\nmine = ['ant', 'bee', 'cow']\n",
            "'mine' .* leaves 3 .* unseen and three seen",
        ),
        (
            TABLE.replace("0, 1]", "0, nan]")
            .replace("0]", "nan]")
            .replace("1, 1]", "0.5, nan]")
            .replace("[1, 1, nan", "[1, 1, 7")
            + "[splits]\nmine = ['dog', 'bee']\n",
            "attribute 'c' .* where bee, dog are unseen",
        ),
    ],
    ids=["no row", "twins", "nothing unseen", "one unseen", "two seen", "no value"],
)
def test_a_table_that_cannot_tell_classes_is_refused(text: str, why: str, tmp_path: Path) -> None:
    animals = fill(tmp_path / "animals", dict.fromkeys(("ant", "bee", "cow", "dog", "elk"), 10))
    table = tmp_path / "animals.toml"
    table.write_text(text)
    with pytest.raises(BenchError, match=why) as error:
        folder_tasks(animals, DataSets(tmp_path), table)
    assert len(str(error.value).splitlines()) == 1


def test_four_classes_are_too_few_to_leave_two_unseen(tmp_path: Path) -> None:
    animals = fill(tmp_path / "animals", dict.fromkeys(("ant", "bee", "cow", "dog"), 10))
    table = tmp_path / "animals.toml"
    table.write_text(TABLE)
    with pytest.raises(BenchError, match=r"4 classes are too few .* at least five"):
        folder_tasks(animals, DataSets(tmp_path), table)
