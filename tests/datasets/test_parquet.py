"""CIFAR-10 as JPEGs in Parquet: what is read, what is refused, and the real files."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.data.images import Input
from bench.data.samples import SPLITS
from bench.datasets import base, cifar10_jpeg
from bench.datasets.base import index_file, known_facts, share_of_train, stratified_rows
from bench.datasets.parts.parquet import read_rows
from bench.errors import BenchError, Declined

Array = npt.NDArray[Any]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer")
CLASSES += ("dog", "frog", "horse", "ship", "truck")


def jpegs(count: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    files = []
    for pixels in rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def write(
    path: Path,
    files: list[bytes | None],
    labels: list[int] | None = None,
    *,
    image: str = "img",
    names: tuple[str, ...] | None = CLASSES,
) -> Path:
    """A file as Hugging Face's library writes one; labels are 0, 1, ... 9, 0, ... by default."""
    path.parent.mkdir(exist_ok=True)
    rows = [
        None if data is None else {"bytes": data, "path": f"{i}.jpg"}
        for i, data in enumerate(files)
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    label = [i % 10 for i in range(len(files))] if labels is None else labels
    table = pa.table({image: pa.array(rows, kind), "label": pa.array(label, pa.int64())})
    if names is not None:
        features = {image: {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(meta)
    pq.write_table(table, path, row_group_size=7)  # several, as in large files
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with 20 + 10 images; val are rows 3 and 18; no fingerprint is known."""
    write(tmp_path / "cifar10" / "train.parquet", list(jpegs(20)))
    write(tmp_path / "cifar10" / "test.parquet", list(jpegs(10, seed=1)))
    monkeypatch.setattr(cifar10_jpeg, "index_file", lambda _: {"val": np.array([3, 18])})
    monkeypatch.setattr(base, "known_facts", dict)
    return tmp_path


def refusal(root: Path) -> str:
    with pytest.raises(BenchError) as caught:
        cifar10_jpeg.build(root=root)
    assert not isinstance(caught.value, Declined)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- What is read


@pytest.mark.parametrize("image", ["img", "image"])
def test_rows_are_the_files_bytes_labels_and_names(image: str, tmp_path: Path) -> None:
    files = jpegs(20)
    rows = read_rows(write(tmp_path / "x.parquet", list(files), image=image))
    assert list(rows.files) == files
    assert rows.labels.dtype == np.int64
    assert rows.labels.tolist() == [i % 10 for i in range(20)]
    assert rows.classes == CLASSES
    assert rows.digests() == [hashlib.sha256(data).digest() for data in files]


def test_pixels_are_pillow_s_and_splits_are_those_of_the_index_file(tiny: Path) -> None:
    data = cifar10_jpeg.build(root=tiny)
    files = {"train": jpegs(20), "test": jpegs(10, seed=1)}
    rows = {"train": [i for i in range(20) if i not in (3, 18)], "val": [3, 18], "test": range(10)}
    form = Input(size=(32, 32), channels=3)
    for split in SPLITS:
        source = files["test" if split == "test" else "train"]
        expected = [
            np.asarray(Image.open(io.BytesIO(source[row]))).transpose(2, 0, 1)
            for row in rows[split]
        ]
        samples = data.split(split)
        np.testing.assert_array_equal(
            samples.x.read(np.arange(len(samples)), form), np.stack(expected)
        )
        assert samples.y["label"].tolist() == [row % 10 for row in rows[split]]
    assert data.meta.targets["label"].names == CLASSES
    assert data.test_in_train == 0
    assert data.flips


def test_the_fingerprint_is_over_bytes_labels_and_names_not_pixels(tiny: Path) -> None:
    first = cifar10_jpeg.build(root=tiny).fingerprint
    assert cifar10_jpeg.build(root=tiny).fingerprint == first
    train, downloaded = tiny / "cifar10" / "train.parquet", {first}
    files, labels = jpegs(20), [i % 10 for i in range(20)]
    commented = files[5][:2] + b"\xff\xfe\x00\x04hi" + files[5][2:]  # a comment moves no pixel
    for edit in (
        {"files": [*files[:5], commented, *files[6:]]},
        {"files": [files[1], files[0], *files[2:]]},
        {"files": files, "labels": [*labels[:-1], 8]},
    ):
        write(train, **edit)  # type: ignore[arg-type]
        downloaded.add(cifar10_jpeg.build(root=tiny).fingerprint)
    for name in ("train", "test"):
        count = {"train": 20, "test": 10}[name]
        write(tiny / "cifar10" / f"{name}.parquet", list(jpegs(count, seed=count == 10)),
              names=(*CLASSES[:9], "lorry"))  # fmt: skip
    downloaded.add(cifar10_jpeg.build(root=tiny).fingerprint)
    assert len(downloaded) == 5


def test_repeated_images_are_counted_by_their_pixels(tiny: Path) -> None:
    files = jpegs(20)
    commented = files[5][:2] + b"\xff\xfe\x00\x04hi" + files[5][2:]
    write(tiny / "cifar10" / "test.parquet", [files[3], commented, *jpegs(8, seed=1)])
    assert cifar10_jpeg.build(root=tiny).test_in_train == 2


def test_altered_files_under_the_known_name_are_refused(tiny: Path) -> None:
    assert known_facts()["cifar10_jpeg"]["rows"] == {"train": 45_000, "val": 5_000, "test": 10_000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "known_facts", lambda: {"cifar10_jpeg": {"fingerprint": "0" * 32}})
        assert "are not the expected ones" in refusal(tiny)


# --- What is refused


def test_absent_files_are_declined_with_what_to_put_where(tiny: Path) -> None:
    (tiny / "cifar10" / "test.parquet").unlink()
    for _ in range(2):
        with pytest.raises(Declined, match=r"cifar10/train.parquet and .*--data") as caught:
            cifar10_jpeg.build(root=tiny)
        assert str(tiny) not in str(caught.value)
        (tiny / "cifar10" / "train.parquet").unlink(missing_ok=True)


@pytest.mark.parametrize("keep", [0, 3, 2000, -1])
def test_a_cut_off_file_is_reported(keep: int, tiny: Path) -> None:
    path = tiny / "cifar10" / "train.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path} cannot be read as Parquet" in refusal(tiny)


def test_bytes_overwritten_in_the_middle_are_reported(tiny: Path) -> None:
    path = tiny / "cifar10" / "train.parquet"
    data = bytearray(path.read_bytes())
    data[4:3000] = bytes(2996)
    path.write_bytes(bytes(data))
    assert "train.parquet" in refusal(tiny)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"picture": [b"x"], "label": [0]},
            "has the columns picture, label; it needs label, and img or image",
        ),
        (
            {"img": [{"bytes": b"x", "path": ""}]},
            "has the columns img; it needs label, and img or image",
        ),
        ({"img": [b"x"], "label": [0]}, "img is binary; it must be a struct of bytes and path"),
        ({"img": [{"path": "a.jpg"}], "label": [0]}, "a struct of bytes and path"),
        ({"img": [{"bytes": b"x"}], "label": ["cat"]}, "label is string"),
        ({"img": [{"bytes": b"x"}], "label": pa.array([None], pa.int64())}, "1 missing"),
    ],
    ids=["picture", "img alone", "bytes alone", "path alone", "words", "nothing"],
)
def test_other_columns_are_reported_with_those_expected(
    table: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(BenchError, match=message) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [None, b""], ids=["null", "empty"])
def test_a_row_without_an_image_is_reported(bad: bytes | None, tiny: Path) -> None:
    write(tiny / "cifar10" / "test.parquet", [*jpegs(4), bad, *jpegs(5)])
    assert "test.parquet, row 4, has no image" in refusal(tiny)


@pytest.mark.parametrize("bad", [b"no image", jpegs(1)[0][:-40]], ids=["text", "cut"])
def test_a_row_whose_bytes_are_no_image_is_reported(bad: bytes, tiny: Path) -> None:
    write(tiny / "cifar10" / "train.parquet", [*jpegs(11), bad, *jpegs(8)])
    assert "train.parquet, row 11, cannot be read: " in refusal(tiny)


def test_labels_without_a_name_and_names_that_are_not_there_are_reported(tiny: Path) -> None:
    train = tiny / "cifar10" / "train.parquet"
    write(train, list(jpegs(3)), [0, 10, 2])
    assert "labels are from 0 to 10; there are 10 classes" in refusal(tiny)
    write(train, list(jpegs(3)), [0, -1, 2])
    assert "labels are from -1 to 2" in refusal(tiny)
    write(train, list(jpegs(3)), names=None)
    assert "does not name its classes" in refusal(tiny)


def test_fewer_rows_or_other_classes_than_the_known_ones_are_reported(tiny: Path) -> None:
    write(tiny / "cifar10" / "train.parquet", list(jpegs(18)))
    assert "18 training images" in refusal(tiny)
    write(tiny / "cifar10" / "train.parquet", list(jpegs(20)), names=(*CLASSES[:9], "lorry"))
    assert "not the expected ones" in refusal(tiny)


# --- The real files


def test_the_index_file_names_validation_rows_of_50_000_sorted_and_each_once() -> None:
    (rows,) = index_file("cifar10_jpeg").values()
    assert len(rows) == share_of_train(50_000) == 5_000
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] < rows[-1] < 50_000


@pytest.mark.data
def test_the_index_file_is_stratified_rows_of_the_real_labels(data: Path) -> None:
    path = data / "cifar10" / "train.parquet"
    if not path.is_file():
        pytest.skip(f"cifar10_jpeg is not in {data}")
    labels = pq.read_table(path, columns=["label"])["label"].to_numpy()
    expected = stratified_rows(labels, share_of_train(len(labels)), seed=0)
    np.testing.assert_array_equal(index_file("cifar10_jpeg")["val"], expected)
    assert np.bincount(labels[expected]).tolist() == [500] * 10


@pytest.mark.data
def test_real_rows_are_32_by_32_in_colour_and_as_pillow_decodes_them(data: Path) -> None:
    """The whole data set is built, and held against known.json, in test_check_kit.py."""
    path = data / "cifar10" / "test.parquet"
    if not path.is_file():
        pytest.skip(f"cifar10_jpeg is not in {data}")
    rows = read_rows(path)
    assert rows.classes == CLASSES
    assert np.bincount(rows.labels).tolist() == [1000] * 10  # chance is 0.1
    picked = np.arange(0, 10_000, 97)
    part = type(rows)(
        rows.file, tuple(rows.files[i] for i in picked), rows.labels[picked], rows.classes
    )
    pixels = part.pixels(Input(size=(32, 32), channels=3))
    expected = [np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1) for file in part.files]
    np.testing.assert_array_equal(pixels, np.stack(expected))
