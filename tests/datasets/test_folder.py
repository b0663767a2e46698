"""A user's own folder: layouts, splits, fingerprints, and everything that can be wrong with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import testing
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


def build(path: Path, size: int = 8) -> SplitDataSet:
    return image_folder.build(root=Path("nowhere"), path=path, size=size)


def names(data: SplitDataSet) -> dict[str, list[str]]:
    found = {}
    for split in SPLITS:
        images = images_of(data.split(split))
        assert isinstance(images, EncodedImages)
        found[split] = list(images.names)
    return found


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
    found = names(data)
    assert data.meta.targets["label"].names == ("cat", "dog")
    assert all(name.startswith("test/") for name in found["test"])
    assert len(found["test"]) == 7
    if val:
        assert sorted(found["val"]) == [
            f"val/{c}/00{i}.png" for c in ("cat", "dog") for i in (0, 1)
        ]
        assert len(found["train"]) == 20
    else:
        assert (len(found["train"]), len(found["val"])) == (18, 2)
        assert {name.split("/")[0] for name in found["train"] + found["val"]} == {"train"}
    assert len({name for split in SPLITS for name in found[split]}) == 27 + 4 * val
    for split in SPLITS:
        told = [("cat", "dog")[label] for label in data.split(split).y["label"]]
        assert told == [name.split("/")[1] for name in found[split]]


def test_classes_alone_are_split_70_10_20_each_class_by_its_share(tmp_path: Path) -> None:
    data = build(fill(tmp_path, {"b": 30, "a": 20, "c": 10}))
    assert data.meta.targets["label"].names == ("a", "b", "c")
    counts = {s: np.bincount(data.split(s).y["label"]).tolist() for s in SPLITS}
    assert counts == {"train": [14, 21, 7], "val": [2, 3, 1], "test": [4, 6, 2]}
    found = names(data)
    assert sorted(name for split in SPLITS for name in found[split]) == sorted(
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")
    )


def test_the_split_hangs_on_the_names_alone(tmp_path: Path) -> None:
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
    assert "5 files that are hidden or have no image's suffix" in line


def test_a_file_in_train_test_is_counted_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    three(tmp_path)
    (tmp_path / "readme.md").write_text("")
    (tmp_path / "train" / "cat" / "readme.md").write_text("")
    build(tmp_path)
    assert "2 files that are hidden" in caplog.text


def test_nothing_is_written_and_a_folder_may_be_read_only(tmp_path: Path) -> None:
    three(tmp_path)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    build(tmp_path)
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


# --- Images


def test_images_come_from_their_files_at_the_size_asked_for(tmp_path: Path) -> None:
    data = build(three(tmp_path), size=6)
    assert (data.licence, data.flips) == ("the user's own", True)
    test = images_of(data.split("test"))
    assert test.native == Input(size=(6, 6), channels=3)
    wanted = EncodedImages([tmp_path / n for n in names(data)["test"]], native=test.native)
    for form in (test.native, Input(size=(20, 30), channels=1)):
        rows = np.array([4, 0, 6])
        np.testing.assert_array_equal(test.read(rows, form), wanted.read(rows, form))
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
    assert list(entry.parameters) == ["root", "path", "size"]
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
    found = set()
    for number, edit in enumerate([lambda _: None, *EDITS]):
        path = three(tmp_path / str(number))
        edit(path)
        found.add(build(path).fingerprint)
    assert len(found) == 1 + len(EDITS)
    again = three(tmp_path / "again")
    (again / "train" / "notes.txt").write_text("ignored")
    os.utime(again / "train" / "cat" / "003.png", (1, 1))
    assert build(again, size=16).fingerprint in found


# --- What is refused


def test_a_folder_that_is_missing_empty_or_a_file_is_told_with_the_layouts(tmp_path: Path) -> None:
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


def test_one_class_alone_is_told(tmp_path: Path) -> None:
    assert "has only one class ('only')" in refusal(fill(tmp_path / "a", {"only": 12}))
    both = tmp_path / "b"
    fill(both / "train", {"only": 12})
    fill(both / "test", {"only": 12})
    assert "has only one class ('only')" in refusal(both)


def test_images_outside_a_class_are_told(tmp_path: Path) -> None:
    picture(fill(tmp_path, {"a": 5, "b": 5}) / "loose.png", 1)
    assert "images outside the folders of classes: 'loose.png'" in refusal(tmp_path)
    other = three(tmp_path / "other")
    picture(other / "test" / "loose.png", 1)
    assert "images outside the folders of classes: 'test/loose.png'" in refusal(other)


def test_half_a_layout_and_other_folders_beside_it_are_told(tmp_path: Path) -> None:
    three(tmp_path)
    fill(tmp_path / "valid", {"cat": 1, "dog": 1})
    assert "has 'valid' beside train and test; only val is allowed" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "valid")
    shutil.rmtree(tmp_path / "test")
    assert "has no folder 'test'" in refusal(tmp_path)


def test_classes_that_differ_between_splits_are_told(tmp_path: Path) -> None:
    three(tmp_path, val=True)
    picture(tmp_path / "test" / "owl" / "1.png", 1)
    assert "the classes of train and test differ ('owl' only in one)" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "test" / "owl")
    shutil.rmtree(tmp_path / "val" / "cat")
    assert "the classes of train and val differ ('cat' only in one)" in refusal(tmp_path)


def test_a_class_without_images_is_told(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.svg").write_text("<svg/>")
    assert "no images in 'c'; names of images must end with one of .bmp" in refusal(tmp_path)


def test_a_class_with_too_few_images_is_told_with_how_many_it_has(tmp_path: Path) -> None:
    told = refusal(fill(tmp_path / "a", {"a": 20, "b": 4, "c": 1}))
    assert "too few images to split: 'b' has 4, 'c' has 1; each class needs 5 or more" in told
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
    told = refusal(tmp_path)
    assert "1 of 27 images cannot be used (train/dog/002.png " in told
    for number in range(3, 8):
        damage(tmp_path / "train" / "dog" / f"{number:03}.png")
    told = refusal(tmp_path)
    assert "6 of 27 images cannot be used (train/dog/002.png " in told
    assert "train/dog/004.png" in told and "train/dog/005.png" not in told
    assert "and 3 more)" in told
    assert told.endswith("; repair them or move them elsewhere")


def test_a_dot_is_told_with_its_size_and_the_least(tmp_path: Path) -> None:
    three(tmp_path)
    picture(tmp_path / "test" / "dog" / "000.png", 0, size=(1, 30))
    told = "test/dog/000.png is 1 x 30; it must be at least 2 x 2 pixels"
    assert told in refusal(tmp_path)
    picture(tmp_path / "test" / "dog" / "000.png", 0, size=(2, 2))
    build(tmp_path)


@pytest.mark.filterwarnings("ignore:Image size")
def test_an_absurdly_large_image_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path)
    picture(tmp_path / "test" / "dog" / "000.png", 0, size=(50, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    told = "1 of 27 images cannot be used (test/dog/000.png cannot be read: more than 1000 pixels"
    assert told in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("what", ["train/dog", "train/dog/002.png"])
def test_what_may_not_be_read_is_told(what: str, tmp_path: Path) -> None:
    three(tmp_path)
    (tmp_path / what).chmod(0)
    try:
        told = refusal(tmp_path)
    finally:
        (tmp_path / what).chmod(0o755)
    assert what in told and "Permission denied" in told


def test_a_folder_and_a_file_that_refuse_are_told(
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
    [one] = folder_tasks(animals, DataSets(tmp_path), table)[2:]
    assert one.replicates.control_seeds == 50  # of one split
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
    with pytest.raises(BenchError, match=why) as told:
        folder_tasks(animals, DataSets(tmp_path), table)
    assert len(str(told.value).splitlines()) == 1


def test_four_classes_are_too_few_to_leave_two_unseen(tmp_path: Path) -> None:
    animals = fill(tmp_path / "animals", dict.fromkeys(("ant", "bee", "cow", "dog"), 10))
    table = tmp_path / "animals.toml"
    table.write_text(TABLE)
    with pytest.raises(BenchError, match=r"4 classes are too few .* at least five"):
        folder_tasks(animals, DataSets(tmp_path), table)
