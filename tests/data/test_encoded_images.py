"""Encoded images against Pillow and timm: every mode, every orientation, damaged files; prefetching."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from packaging.version import Version
from PIL import Image
from timm.data import create_transform

from bench.data.images import ArrayImages, Delivery, EncodedImages, Input, convert, decode
from bench.errors import BenchError

Array = npt.NDArray[Any]
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def smooth(h: int, w: int, c: int = 3, seed: int = 0) -> Array:
    """A picture with edges and all levels: uint8 (h, w, c), or (h, w) for c = 1."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((w, h), Image.Resampling.BICUBIC))
    pixels[h // 4 : h // 2, w // 4 : w // 2] = 255 - pixels[h // 4 : h // 2, w // 4 : w // 2]
    return pixels if c == 3 else pixels[:, :, 0]


def packed(image: Image.Image | Array, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def read(data: bytes | Path, expected: Input) -> Array:
    return EncodedImages([data], native=expected).read(np.arange(1), expected)[0]


def native(data: bytes, channels: Literal[1, 3]) -> Array:
    """The image unresized: (h, w) or (h, w, 3)."""
    with Image.open(io.BytesIO(data)) as image:
        size = (image.height, image.width)
    pixels = read(data, Input(size=size, channels=channels))
    return pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)


def gap(first: Array, second: Array) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


# --- Geometry and resizing

SHAPES = [((37, 53), (16, 16)), ((53, 37), (16, 16)), ((9, 7), (40, 40)), ((41, 41), (30, 17))]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("crop", [1.0, 0.9, 0.5])
@pytest.mark.parametrize(("old", "new"), SHAPES, ids=str)
def test_encoded_images_come_as_convert_gives_the_decoded_ones(
    old: tuple[int, int],
    new: tuple[int, int],
    crop: float,
    channels: Literal[1, 3],
    mode: Literal["bilinear", "bicubic"],
) -> None:
    pixels = smooth(*old)
    reference = Input(size=new, channels=channels, interpolation=mode, crop=crop)
    expected = convert(pixels.transpose(2, 0, 1)[None], reference)[0]
    assert gap(read(packed(pixels), reference), expected) <= 1


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("old", "middle"), [((40, 60), (20, 30)), ((10, 20), (20, 40))], ids=str)
def test_a_crop_is_pillow_s_resize_of_the_whole_and_then_its_centre(
    old: tuple[int, int], middle: tuple[int, int], mode: Literal["bilinear", "bicubic"]
) -> None:
    pixels, size = smooth(*old), (14, 14)
    reference = Input(size=size, channels=3, interpolation=mode, crop=0.7)
    whole = Image.fromarray(pixels).resize((middle[1], middle[0]), FILTERS[mode])
    top, left = (middle[0] - 14) // 2, (middle[1] - 14) // 2
    expected = np.asarray(whole)[top : top + 14, left : left + 14]
    assert gap(read(packed(pixels), reference).transpose(1, 2, 0), expected) <= 1


@pytest.mark.parametrize("crop", [0.875, 0.9, 0.95, 0.61])
@pytest.mark.parametrize("old", [(97, 131), (131, 97), (33, 200), (50, 50), (211, 64)], ids=str)
@pytest.mark.parametrize("new", [(32, 32), (30, 47)], ids=str)
def test_a_crop_below_1_is_timm_s_transform_also_for_odd_sizes(
    old: tuple[int, int], new: tuple[int, int], crop: float
) -> None:
    if new[0] != new[1] and Version(timm.__version__) < Version("1.0.31"):
        pytest.skip("this timm resizes to oblong sizes linearly, whatever it is asked for")
    image = Image.fromarray(smooth(*old))
    transform = create_transform(
        (3, *new), is_training=False, crop_pct=crop, interpolation="bicubic", normalize=False
    )
    expected = transform(image).numpy()  # type: ignore[operator]
    reference = Input(size=new, channels=3, crop=crop)
    np.testing.assert_array_equal(read(packed(image), reference), expected)
    array = np.array(image).transpose(2, 0, 1)[None]
    assert gap(convert(array, reference)[0], expected) <= 2  # torchvision rounds twice, its own way


def test_rounding_where_timm_cuts_would_be_seen() -> None:
    """33 / 0.9 is 36.67: a whole of 37 and one of 36 differ by far more than a level."""
    image = Image.fromarray(smooth(97, 131))
    pixels = read(packed(image), Input(size=(33, 33), channels=3, crop=0.9))
    whole = np.asarray(image.resize((round(131 * 37 / 97), 37), Image.Resampling.BICUBIC))
    rounded = whole[2:35, (whole.shape[1] - 33) // 2 :][:, :33].transpose(2, 0, 1)
    assert gap(pixels, rounded) > 1


@pytest.mark.parametrize("crop", [1.0, 0.8])
@pytest.mark.parametrize("tall", [True, False])
def test_of_a_strip_only_its_centre_is_resized(
    tall: bool, crop: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    strip = Image.fromarray(smooth(1000, 10, c=1))
    strip = strip if tall else strip.transpose(Image.Transpose.ROTATE_90)
    reference = Input(size=(16, 16), channels=1, crop=crop)
    side = round(16 / crop)
    size = (side, side * 100) if tall else (side * 100, side)
    whole, corner = strip.resize(size, Image.Resampling.BICUBIC), [(s - 16) // 2 for s in size]
    expected = whole.crop((corner[0], corner[1], corner[0] + 16, corner[1] + 16))
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image,
        "resize",
        lambda s, size, *a, **k: [sizes.append(size), resize(s, size, *a, **k)][1],
    )
    assert gap(read(packed(strip), reference)[0], np.asarray(expected)) <= 2
    assert sizes == [(16, 16)]


# --- Modes


def test_every_mode_becomes_grey_or_rgb_as_pillow_has_it() -> None:
    rgb = Image.fromarray(smooth(12, 15))
    for mode in ("RGB", "L", "CMYK", "1", "P"):
        image = rgb.convert(mode)
        data = packed(image, "TIFF")
        expected = np.asarray(image.convert("RGB"))
        assert gap(native(data, 3), expected) <= 1, mode
        grey = image.convert("RGB").convert("L") if mode != "1" else image.convert("L")
        assert gap(native(data, 1), np.asarray(grey)) <= 1, mode


def test_grey_files_are_distinguished_from_colour() -> None:
    rgb = Image.fromarray(smooth(12, 15))
    for mode, expected in {"1": "L", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB"}.items():
        assert decode(packed(rgb.convert(mode)), "it").mode == expected


@pytest.mark.parametrize("colour", [True, False])
def test_what_is_transparent_lies_on_white(colour: bool) -> None:
    pixels, alpha = smooth(8, 8), np.full((8, 8), 255, dtype=np.uint8)
    alpha[:4], alpha[4] = 0, 51
    image = Image.fromarray(pixels if colour else pixels[:, :, 0])
    image.putalpha(Image.fromarray(alpha))
    share = alpha[:, :, None] / 255
    truth = pixels if colour else np.repeat(pixels[:, :, :1], 3, axis=2)
    expected = np.rint(truth * share + 255 * (1 - share))
    values = native(packed(image), 3)
    assert gap(values, expected) <= 1
    assert (values[:4] == 255).all()


def test_a_transparent_colour_of_a_palette_and_of_rgb_is_white_too() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 30])
    palette.putpixel((2, 1), 0)
    pixels = native(packed(palette, transparency=0), 3)
    assert pixels[1, 2].tolist() == [255, 255, 255]
    assert pixels[0, 0].tolist() == [200, 10, 30]
    pixels = native(packed(Image.new("RGB", (4, 4), (9, 8, 7)), transparency=(9, 8, 7)), 3)
    assert (pixels == 255).all()
    grey = native(packed(Image.new("L", (4, 4), 9), transparency=9), 1)
    assert (grey == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_of_grey_are_scaled_not_clipped(kind: str) -> None:
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = native(packed(Image.fromarray(levels), kind), 1)
    np.testing.assert_array_equal(pixels, np.rint(levels / 257).astype(np.uint8))
    assert (pixels[0, 0], pixels[-1, -1]) == (0, 255)


@pytest.mark.parametrize("levels", [np.float32(0.5), np.int32(70_000), np.int32(-1)])
def test_grey_levels_without_a_known_range_are_refused(levels: Any) -> None:
    image = Image.fromarray(np.full((4, 4), levels))
    with pytest.raises(BenchError, match=r"row 0 cannot be read: grey levels .* 8 or 16 bits"):
        read(packed(image, "TIFF"), Input(size=(4, 4), channels=1))


ORIENTATIONS: dict[int, Callable[[Array], Array]] = {  # the EXIF standard's own words, by NumPy
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", sorted(ORIENTATIONS))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_s_orientation_is_applied(orientation: int, kind: str) -> None:
    pixels = smooth(16, 24)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = packed(pixels, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        stored = np.asarray(image)
    expected = ORIENTATIONS[orientation](stored)
    height, width = expected.shape[:2]
    values = read(data, Input(size=(height, width), channels=3)).transpose(1, 2, 0)
    np.testing.assert_array_equal(values, expected)


def with_exif(block: bytes) -> bytes:
    """A JPEG with these bytes as its first application segment."""
    jpeg = packed(smooth(40, 60), "JPEG", quality=95)
    length = (len(block) + 2).to_bytes(2, "big")
    return jpeg[:2] + b"\xff\xe1" + length + block + jpeg[2:]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("damage", ["empty", "garbage", "cut short", "orientation 9"])
def test_damaged_exif_does_not_stop_reading_and_turns_nothing(damage: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9 if damage == "orientation 9" else 6
    blocks = {
        "empty": b"Exif\0\0",
        "garbage": b"Exif\0\0garbage!!xx",
        "cut short": exif.tobytes()[:20],
        "orientation 9": exif.tobytes(),
    }
    assert decode(with_exif(blocks[damage]), damage).size == (60, 40)
    exif[0x0112] = 6
    assert decode(with_exif(exif.tobytes()), "whole").size == (40, 60)


def test_the_first_frame_of_a_moving_picture_counts() -> None:
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    data = packed(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (native(data, 1) == 10).all()


# --- Reading


def test_files_and_bytes_of_any_size_come_in_the_order_requested(tmp_path: Path) -> None:
    pictures = [smooth(10 + i, 30 - i, seed=i) for i in range(9)]
    reference = Input(size=(8, 8), channels=3)
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(packed(picture))
    order = np.array([8, 0, 0, 5])
    expected = np.stack(
        [convert(pictures[i].transpose(2, 0, 1)[None], reference)[0] for i in order]
    )
    for sources in ([tmp_path / f"{i}.png" for i in range(9)], [packed(p) for p in pictures]):
        images = EncodedImages(sources, native=reference)
        assert (len(images), images.native) == (9, reference)
        pixels = images.read(order, reference)
        assert pixels.dtype == np.uint8
        assert gap(pixels, expected) <= 1
        assert images.read(np.arange(0), reference).shape == (0, 3, 8, 8)


GOOD = packed(smooth(20, 20), "JPEG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty, or not an image"),
        (b"GIF? no.", "empty, or not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "empty, or not an image"),
        (GOOD[: len(GOOD) // 2], "(?i)truncated"),
        (GOOD[:-20], "truncated"),
        (packed(smooth(20, 20))[:200], "truncated"),
    ],
    ids=["empty", "text", "program", "half a JPEG", "most of a JPEG", "half a PNG"],
)
def test_what_is_no_image_is_reported_in_one_line_with_its_name(
    data: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(data)
    form = Input(size=(4, 4), channels=3)
    cases = [
        (EncodedImages([GOOD, data], native=form), "row 1"),
        (EncodedImages([GOOD, path], native=form), str(path)),
        (EncodedImages([GOOD, data], native=form, names=["a", "b.parquet, row 7"]), "b.parquet, row 7"),
    ]  # fmt: skip
    for images, name in cases:
        with pytest.raises(BenchError, match=message) as caught:
            images.read(np.arange(2), form)
        assert str(caught.value).startswith(f"{name} cannot be read: ")
        assert "\n" not in str(caught.value)
        assert "0x" not in str(caught.value)  # no address: messages are kept in records
        images.read(np.arange(1), form)


def test_a_reader_that_fails_on_the_first_bytes_reads_no_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As some of Pillow 11 do on an empty file."""
    factory, _ = Image.OPEN["GIF"]
    monkeypatch.setitem(Image.OPEN, "GIF", (factory, lambda prefix: prefix[99] == 0))
    with pytest.raises(BenchError, match=r"^it cannot be read: empty, or not an image"):
        decode(b"GIF? no.", "it")
    assert decode(packed(smooth(5, 6)), "it").size == (6, 5)


def test_a_file_that_has_gone_is_reported(tmp_path: Path) -> None:
    images = EncodedImages([tmp_path / "gone.png"], native=Input(size=(4, 4), channels=1))
    with pytest.raises(BenchError, match=r"gone\.png cannot be read: No such file"):
        images.read(np.arange(1), images.native)


def test_more_pixels_than_the_limit_are_refused_with_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = Input(size=(4, 4), channels=3)
    read(GOOD, expected)
    monkeypatch.setattr("bench.data.images.MAX_PIXELS", 399)
    with pytest.raises(BenchError, match="row 0 cannot be read: more than 399 pixels"):
        read(GOOD, expected)


@pytest.mark.parametrize("limit", [100, 250])  # Pillow warns of 400 pixels at 250, refuses at 100
@pytest.mark.filterwarnings("error")
def test_photographs_above_pillow_s_own_limit_are_read_without_a_word(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert decode(GOOD, "a").size == (20, 20)


def test_images_of_phones_are_below_the_limit_and_a_bomb_is_refused_unread() -> None:
    assert decode(packed(Image.new("1", (16_320, 12_240)), "PNG"), "phone").width == 16_320
    header = b"P5 65535 65535 255\n"
    with pytest.raises(BenchError, match=r"^bomb cannot be read: more than 250000000 pixels"):
        decode(header, "bomb")


def test_the_module_needs_neither_torch_nor_pillow_before_it_reads() -> None:
    code = (
        "import bench.data.images, sys; print({'torch', 'PIL', 'torchvision'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "set()"


# --- Deliveries


class Watched:
    """Images of rising value, 2 x 2, that tell which are asked for, by whom; `broken` raises."""

    native = Input(size=(2, 2), channels=1)

    def __init__(self, count: int, broken: int = -1) -> None:
        self.count, self.broken = count, broken
        self.asked: list[list[int]] = []
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Array, input: Input) -> Array:
        self.asked.append(indices.tolist())
        self.threads.add(threading.get_ident())
        if self.broken in indices:
            raise BenchError(f"image {self.broken} is broken")
        return np.broadcast_to(
            indices.astype(np.uint8)[:, None, None, None], (len(indices), 1, 2, 2)
        )


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def test_the_next_batch_is_read_while_the_caller_has_one_and_not_many() -> None:
    images = Watched(20)
    batches = Delivery(images, images.native).batches(4)
    first = next(batches)
    assert until(lambda: len(images.asked) == 2)
    time.sleep(0.02)
    assert images.asked == [[0, 1, 2, 3], [4, 5, 6, 7]]
    remaining = torch.cat([first, *batches])
    assert (remaining[:, 0, 0, 0] * 255).round().tolist() == list(range(20))
    assert threading.get_ident() not in images.threads


def test_an_error_reaches_the_caller_in_its_place_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    images, got = Watched(20, broken=9), 0
    batches = Delivery(images, images.native).batches(4)
    got += len(next(batches)) + len(next(batches))
    with pytest.raises(BenchError, match="image 9 is broken"):
        next(batches)
    assert got == 8
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("how", ["close", "break", "never begun"])
def test_batches_that_are_not_read_to_the_end_leave_no_thread(how: str) -> None:
    before = set(threading.enumerate())
    images = Watched(40)
    batches = Delivery(images, images.native).batches(4)
    if how != "never begun":
        next(batches)
        assert set(threading.enumerate()) - before
    if how == "close":
        batches.close()  # type: ignore[attr-defined]
    del batches
    assert set(threading.enumerate()) <= before
    assert len(images.asked) < 4


# --- Resident


@pytest.mark.parametrize("crop", [1.0, 0.75])
@pytest.mark.parametrize("rows", [None, [3, 1, 1, 7]], ids=str)
def test_a_resident_delivery_gives_the_same_and_converts_once(
    crop: float, rows: list[int] | None
) -> None:
    data = [packed(smooth(20 + i, 17, seed=i)) for i in range(8)]
    images = EncodedImages(data, native=Input(size=(9, 9), channels=3))
    chosen = None if rows is None else np.array(rows)
    delivery = Delivery(images, Input(size=(6, 8), channels=1, crop=crop), chosen)
    resident = delivery.resident()
    assert isinstance(resident.images, ArrayImages)
    assert resident.images.array.dtype == np.uint8
    assert resident.images.native == resident.input  # so that `convert` has nothing to do
    assert len(resident) == len(delivery)
    picked = np.array([3, 0, 2])
    np.testing.assert_array_equal(resident.read(picked).numpy(), delivery.read(picked).numpy())
    images.sources = []  # nothing is read again
    assert len(torch.cat(list(resident.batches(3)))) == len(delivery)


def test_a_delivery_that_is_too_large_or_resident_already_is_itself() -> None:
    array = np.zeros((10, 3, 8, 8), dtype=np.uint8)
    delivery = Delivery(ArrayImages(array), Input(size=(4, 4), channels=3))
    assert delivery.resident(10 * 3 * 16 - 1) is delivery
    assert delivery.resident(10 * 3 * 16) is not delivery
    plain = Delivery(ArrayImages(array), Input(size=(8, 8), channels=3), np.arange(4))
    assert plain.resident() is plain
    cropped = Delivery(ArrayImages(array), Input(size=(8, 8), channels=3, crop=0.5))
    assert cropped.resident() is not cropped


def test_more_rows_than_one_chunk_become_resident_in_order() -> None:
    array = np.arange(2500, dtype=np.uint32).view(np.uint8).reshape(2500, 1, 2, 2)
    rows = np.random.default_rng(0).permutation(2500)[:2100]
    delivery = Delivery(
        ArrayImages(np.repeat(array, 3, axis=1)), Input(size=(2, 2), channels=1), rows
    )
    held = delivery.resident()
    assert isinstance(held.images, ArrayImages)
    np.testing.assert_array_equal(held.images.array, array[rows])
