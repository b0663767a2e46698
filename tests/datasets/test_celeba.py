"""CelebA: read from its authors' files as torchvision lays them out; other files are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench import testing
from bench.data.images import EncodedImages, Input, convert
from bench.data.samples import SPLITS, SplitName
from bench.datasets import celeba
from bench.errors import BenchError, Declined

Array = npt.NDArray[Any]
ROWS: dict[SplitName, int] = {"train": 30, "val": 8, "test": 12}
COUNT = sum(ROWS.values())


def plant(folder: Path) -> tuple[Array, Array]:
    """50 faces of 178 x 218 in the authors' layout, splits mixed: attributes bool (50, 40), splits (50,).
    A face is as red as its number; a bar of its middle is blue, what a centre crop leaves out is green."""
    rng = np.random.default_rng(0)
    (folder / "img_align_celeba").mkdir(parents=True)
    yes = rng.random((COUNT, 40)) < 0.4
    parts = rng.permutation(np.repeat([0, 1, 2], [ROWS[split] for split in SPLITS]))
    names = [f"{row + 1:06d}.jpg" for row in range(COUNT)]
    for row, name in enumerate(names):
        pixels = np.zeros((218, 178, 3), dtype=np.uint8)
        pixels[:, :, 0] = 5 * row
        pixels[:20, :, 1] = pixels[-20:, :, 1] = 255
        pixels[:, 80:98, 2] = 255
        Image.fromarray(pixels).save(folder / "img_align_celeba" / name, quality=95)
    lines = [
        f"{name} {' '.join(f'{2 * int(a) - 1:2d}' for a in values)} "
        for name, values in zip(names, yes, strict=True)
    ]
    write(folder / celeba.ATTRIBUTES, [str(COUNT), " ".join(celeba.NAMES) + " ", *lines])
    pairs = zip(names, parts, strict=True)
    write(folder / celeba.PARTITION, [f"{name} {part}" for name, part in pairs])
    return yes, parts


def write(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Array, Array]:
    monkeypatch.setattr(celeba, "ROWS", ROWS)
    return plant(tmp_path / "celeba")


def test_attributes_and_splits_are_those_of_the_lists(
    planted: tuple[Array, Array], tmp_path: Path
) -> None:
    yes, parts = planted
    data = celeba.build(root=tmp_path)
    target = data.meta.targets["attributes"]
    assert (target.kind, target.size) == ("binary", 40)
    assert (target.names[0], target.names[20], target.names[39]) == (
        "5_o_Clock_Shadow",
        "Male",
        "Young",
    )
    for number, split in enumerate(SPLITS):
        samples, rows = data.split(split), np.flatnonzero(parts == number)
        assert len(samples) == ROWS[split]
        assert samples.y["attributes"].dtype == np.int64
        np.testing.assert_array_equal(samples.y["attributes"], yes[rows])
        seen = samples.x.read(np.arange(len(samples)), Input(size=(8, 8), channels=3))
        np.testing.assert_allclose(seen[:, 0].mean(axis=(1, 2)), 5 * rows, atol=2)
    assert data.test_in_train == 0
    for check in testing.dataset_checks():
        check(data)


def test_what_is_delivered_is_the_centre_all_of_the_width(
    planted: tuple[Array, Array], tmp_path: Path
) -> None:
    """The usual crop of 178 x 178, resized, to a few levels: 20 rows above and below are left out."""
    data = celeba.build(root=tmp_path)
    images = data.split("test").x
    assert isinstance(images, EncodedImages)
    assert images.native == Input(size=(64, 64), channels=3)
    seen = images.read(np.arange(12), images.native)
    assert seen.shape == (12, 3, 64, 64)
    assert seen[:, 1, 1:-1].max() < 40  # a resized edge may ring into the outermost row
    files = [tmp_path / "celeba" / "img_align_celeba" / name for name in images.names]
    for face, file in zip(seen, files, strict=True):
        whole = np.array(Image.open(file)).transpose(2, 0, 1)[None]
        crop = convert(whole[:, :, 20:198], images.native)[0]
        np.testing.assert_allclose(face[:, 2:-2].astype(int), crop[:, 2:-2], atol=6)
    small = celeba.build(root=tmp_path, size=32).split("val").x
    assert isinstance(small, EncodedImages) and small.native.size == (32, 32)


def test_images_are_decoded_when_they_are_requested(
    planted: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bench.data.images.decode", lambda *_: pytest.fail("decoded while building"))
        data = celeba.build(root=tmp_path)
    images = data.split("train").x
    assert isinstance(images, EncodedImages)
    (tmp_path / "celeba" / "img_align_celeba" / images.names[3]).write_bytes(b"no image")
    with pytest.raises(BenchError, match=f"{images.names[3]} cannot be read"):
        images.read(np.arange(5), images.native)
    assert images.read(np.array([0, 1]), images.native).shape == (2, 3, 64, 64)


def test_the_fingerprint_is_over_files_and_attributes_and_not_over_the_size_requested(
    planted: tuple[Array, Array], tmp_path: Path
) -> None:
    folder = tmp_path / "celeba"
    first = celeba.build(root=tmp_path).fingerprint
    assert celeba.build(root=tmp_path, size=16).fingerprint == first
    path = folder / celeba.ATTRIBUTES
    content = path.read_bytes()
    place = content.index(b"\r\n", content.index(b"000001.jpg")) - 3
    flipped = b" 1" if content[place : place + 2] == b"-1" else b"-1"
    path.write_bytes(content[:place] + flipped + content[place + 2 :])
    assert celeba.build(root=tmp_path).fingerprint != first
    path.write_bytes(content)
    image = folder / "img_align_celeba" / "000007.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    assert celeba.build(root=tmp_path).fingerprint != first


def test_a_test_image_that_is_also_in_train_is_counted(
    planted: tuple[Array, Array], tmp_path: Path
) -> None:
    _, parts = planted
    folder = tmp_path / "celeba" / "img_align_celeba"
    old, new = (f"{np.flatnonzero(parts == number)[0] + 1:06d}.jpg" for number in (0, 2))
    (folder / new).write_bytes((folder / old).read_bytes())
    assert celeba.build(root=tmp_path).test_in_train == 1


@pytest.mark.parametrize("gone", [None, "img_align_celeba", celeba.ATTRIBUTES, celeba.PARTITION])
def test_absent_files_are_declined_with_what_to_put_where(
    gone: str | None, planted: tuple[Array, Array], tmp_path: Path
) -> None:
    (tmp_path / "celeba" / (gone or "")).rename(tmp_path / "away")
    with pytest.raises(Declined, match="celeba is not in the data root") as error:
        celeba.build(root=tmp_path)
    for part in ("celeba/img_align_celeba/", celeba.ATTRIBUTES, celeba.PARTITION, "--data"):
        assert part in str(error.value)
    assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)


def edit(name: str, change: Callable[[list[str]], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        change(lines)
        write(folder / name, lines)

    return apply


A, P = celeba.ATTRIBUTES, celeba.PARTITION
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty list": (lambda f: (f / A).write_bytes(b""), "does not name the 40 attributes"),
    "bytes that are no text": (
        lambda f: (f / A).write_bytes(b"\xff"),
        "cannot be read as text",
    ),
    "a folder for a list": (
        lambda f: [(f / P).unlink(), (f / P).mkdir()],
        "cannot be read as text",
    ),
    "other attributes": (
        edit(A, lambda n: n.__setitem__(1, n[1].replace("Bald", "Bold"))),
        "40 attributes in its second line",
    ),
    "a line too few": (edit(A, list.pop), "49 lines with a file .* 49 in all; it must have 50"),
    "an attribute too few": (
        edit(A, lambda n: n.__setitem__(5, n[5].rstrip()[:-2])),
        "49 lines .* 50 in all",
    ),
    "an attribute of 0": (
        edit(A, lambda n: n.__setitem__(5, n[5].rstrip()[:-2] + " 0")),
        "49 lines .* 50 in all",
    ),
    "another number": (edit(A, lambda n: n.__setitem__(0, "51")), "that number in the first line"),
    "a split too few": (edit(P, list.pop), "does not list the files"),
    "files in another order": (edit(P, list.reverse), "does not list the files"),
    "a split without a number": (edit(P, lambda n: n.__setitem__(0, "000001.jpg")), "a split each"),
    "a fourth split": (edit(P, lambda n: n.__setitem__(3, "000004.jpg 3")), "has splits of"),
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_lists_that_are_not_the_authors_are_refused(
    fault: str, planted: tuple[Array, Array], tmp_path: Path
) -> None:
    damage, message = DAMAGE[fault]
    damage(tmp_path / "celeba")
    with pytest.raises(BenchError, match=message) as caught:
        celeba.build(root=tmp_path)
    assert not isinstance(caught.value, Declined)
    assert "\n" not in str(caught.value)


def test_missing_images_are_counted_and_named(planted: tuple[Array, Array], tmp_path: Path) -> None:
    for row in (3, 5, 8, 13):
        (tmp_path / "celeba" / "img_align_celeba" / f"{row:06d}.jpg").unlink()
    with pytest.raises(BenchError, match=r"4 of 50 .*000003.jpg, 000005.jpg, 000008.jpg\)"):
        celeba.build(root=tmp_path)


def test_too_small_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="size=1: must be 2 or more"):
        celeba.build(root=tmp_path, size=1)


def test_the_split_is_the_official_one_and_forty_attributes_have_names() -> None:
    assert celeba.ROWS == {"train": 162_770, "val": 19_867, "test": 19_962}
    assert sum(celeba.ROWS.values()) == 202_599
    assert len(celeba.NAMES) == len(set(celeba.NAMES)) == 40
    assert list(celeba.NAMES) == sorted(celeba.NAMES)
