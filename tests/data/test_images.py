"""Images against Pillow, deliveries, and shifted copies."""

from __future__ import annotations

import io
import struct
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageOps

from bench.data.images import ArrayImages, Delivery, Input, convert, decode
from bench.data.shifts import SHIFTS, ShiftedImages
from bench.errors import BenchError

Array = npt.NDArray[Any]
Mode = Literal["bilinear", "bicubic"]
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# torchvision and Pillow both round fixed-point sums of weights, to different numbers of bits.
LEVELS = 1


def noise(n: int, c: int, h: int, w: int, seed: int = 0) -> Array:
    """Images whose pixels take all values, with smooth parts and hard edges: uint8 (n, c, h, w)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, c, h, w), dtype=np.uint8)
    images[:, :, : h // 2] = (images[:, :, : h // 2] > 127) * np.uint8(255)
    images[0] = np.linspace(0, 255, w).astype(np.uint8)
    return images


def pillow(image: Array) -> Image.Image:
    """One image (c, h, w) as Pillow has it."""
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def back(image: Image.Image) -> Array:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def difference(first: Array, second: Array) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


# --- Conversion


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [((8, 8), (32, 32)), ((28, 28), (11, 11)), ((31, 31), (30, 30)), ((20, 40), (40, 80))],
    ids=str,
)
def test_resizing_is_pillow_s_up_and_down_to_one_level(
    mode: Mode, channels: Literal[1, 3], old: tuple[int, int], new: tuple[int, int]
) -> None:
    images = noise(4, channels, *old)
    converted = convert(images, Input(size=new, channels=channels, interpolation=mode))
    assert converted.dtype == np.uint8
    expected = [back(pillow(i).resize((new[1], new[0]), FILTERS[mode])) for i in images]
    assert difference(converted, np.stack(expected)) <= LEVELS


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("old", "new", "crop", "middle"),
    [
        ((20, 20), (14, 14), 0.875, (16, 16)),
        ((28, 28), (28, 28), 0.875, (32, 32)),
        ((40, 20), (14, 14), 0.875, (32, 16)),
        ((20, 40), (14, 14), 0.875, (16, 32)),
        ((20, 30), (10, 10), 1.0, (10, 15)),
        ((60, 30), (10, 10), 1.0, (20, 10)),
        ((24, 24), (12, 6), 0.5, (24, 24)),
    ],
    ids=str,
)
def test_a_crop_resizes_the_shorter_side_to_size_over_crop_and_keeps_the_centre(
    mode: Mode,
    old: tuple[int, int],
    new: tuple[int, int],
    crop: float,
    middle: tuple[int, int],
) -> None:
    """What timm's evaluation transform does; sizes here are whole, so that no rounding counts."""
    images = noise(3, 3, *old)
    converted = convert(images, Input(size=new, channels=3, interpolation=mode, crop=crop))
    top, left = round((middle[0] - new[0]) / 2), round((middle[1] - new[1]) / 2)
    box = (left, top, left + new[1], top + new[0])
    expected = [
        back(pillow(i).resize((middle[1], middle[0]), FILTERS[mode]).crop(box)) for i in images
    ]
    assert difference(converted, np.stack(expected)) <= LEVELS


def test_rgb_to_grey_is_pillow_s_exactly_for_every_level() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 3, 64, 64), dtype=np.uint8)
    images[0] = np.arange(256).repeat(16).reshape(64, 64)  # equal channels: every grey level
    converted = convert(images, Input(size=(64, 64), channels=1))
    expected = np.stack([back(pillow(i).convert("L")) for i in images])
    np.testing.assert_array_equal(converted, expected)
    np.testing.assert_array_equal(converted[0, 0], images[0, 0])


@pytest.mark.parametrize("size", [(9, 7), (16, 16)])
def test_grey_to_rgb_repeats_the_channel(size: tuple[int, int]) -> None:
    images = noise(3, 1, 9, 7)
    converted = convert(images, Input(size=size, channels=3))
    grey = convert(images, Input(size=size, channels=1))
    assert converted.shape == (3, 3, *size)
    for channel in range(3):
        np.testing.assert_array_equal(converted[:, channel], grey[:, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_in_the_requested_form_are_delivered_as_they_are(channels: Literal[1, 3]) -> None:
    images = noise(3, channels, 9, 7)
    np.testing.assert_array_equal(convert(images, Input(size=(9, 7), channels=channels)), images)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_flat_image_stays_flat_so_nothing_is_padded(mode: Mode, level: int) -> None:
    flat = np.full((1, 3, 10, 14), level, dtype=np.uint8)
    for size in ((3, 3), (20, 20), (40, 8)):
        for channels in (1, 3):
            expected = Input(size=size, channels=channels, interpolation=mode, crop=0.9)
            assert np.unique(convert(flat, expected)).tolist() == [level]


def test_conversion_does_not_change_what_it_is_given_and_treats_each_image_alone() -> None:
    images = noise(5, 3, 12, 12)
    before = images.copy()
    expected = Input(size=(7, 7), channels=1, crop=0.8)
    together = convert(images, expected)
    np.testing.assert_array_equal(images, before)
    for number in range(5):
        np.testing.assert_array_equal(convert(images[[number]], expected)[0], together[number])


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_images_with_other_than_1_or_3_channels_are_refused(channels: int) -> None:
    images = np.zeros((2, channels, 4, 4), dtype=np.uint8)
    with pytest.raises(BenchError, match=f"{channels} channels; 1 .* or 3"):
        convert(images, Input(size=(4, 4), channels=1))
    with pytest.raises(BenchError, match="c = 1 or 3"):
        ArrayImages(images)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 1, 4, 4), dtype=np.float32),
        np.zeros((2, 1, 4, 4), dtype=np.int64),
        np.zeros((2, 1, 4, 4), dtype=bool),
        np.zeros((2, 4, 4), dtype=np.uint8),
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((2, 4, 4, 3), dtype=np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_images_of_another_type_or_shape_are_refused_with_what_was_seen(array: Array) -> None:
    with pytest.raises(BenchError) as caught:
        ArrayImages(array)
    assert f"{array.dtype} {array.shape}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_in_memory_know_their_own_form() -> None:
    for channels in (1, 3):
        images = ArrayImages(noise(4, channels, 6, 9))
        assert images.native == Input(size=(6, 9), channels=channels)
        assert len(images) == 4
        np.testing.assert_array_equal(
            images.read(np.array([2, 0]), images.native), images.array[[2, 0]]
        )


# --- Delivery


def test_a_delivery_gives_float32_in_0_to_1_in_the_order_requested() -> None:
    array = noise(6, 3, 8, 8)
    delivery = Delivery(ArrayImages(array), Input(size=(8, 8), channels=3))
    batch = delivery.read(np.array([4, 0, 4]))
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch.numpy(), array[[4, 0, 4]].astype(np.float32) / 255)
    everything = delivery.read(np.arange(6))
    assert (float(everything.min()), float(everything.max())) == (0.0, 1.0)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 512])
def test_batches_are_all_images_in_order_none_larger_than_requested(size: int) -> None:
    rows = np.array([5, 1, 1, 0, 3, 2])
    array = noise(6, 1, 8, 8)
    delivery = Delivery(ArrayImages(array), Input(size=(5, 5), channels=3), rows)
    batches = list(delivery.batches(size))
    assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= size
    assert len(delivery) == 6
    expected = convert(array[rows], delivery.input).astype(np.float32) / 255
    np.testing.assert_array_equal(torch.cat(batches).numpy(), expected)


def test_a_delivery_of_no_rows_has_no_batches() -> None:
    images, expected = ArrayImages(noise(3, 1, 4, 4)), Input(size=(4, 4), channels=1)
    assert list(Delivery(images, expected, np.arange(0)).batches()) == []


def test_what_is_read_may_be_written_to_without_changing_the_images() -> None:
    array = noise(3, 1, 4, 4)
    delivery = Delivery(ArrayImages(array.copy()), Input(size=(4, 4), channels=1))
    delivery.read(np.arange(3)).zero_()
    np.testing.assert_array_equal(delivery.read(np.arange(3)).numpy() * 255, array)


# --- Shifts


def shifted(array: Array, shift: str, strength: float, seed: int = 0) -> Array:
    images = ShiftedImages(ArrayImages(array), shift, strength, seed)
    return images.read(np.arange(len(array)), images.native)


@pytest.mark.parametrize("shift", sorted(SHIFTS))
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_0_is_the_identity(shift: str, channels: int) -> None:
    array = noise(4, channels, 16, 16)
    np.testing.assert_array_equal(shifted(array, shift, 0.0), array)


@pytest.mark.parametrize("shift", sorted(SHIFTS))
def test_no_image_depends_on_its_batch_or_its_place_in_it(shift: str) -> None:
    array = noise(7, 3, 8, 8)
    images = ShiftedImages(ArrayImages(array), shift, 0.4, seed=3)
    together = images.read(np.arange(7), images.native)
    for indices in ([6], [3, 0], [5, 5], [6, 5, 4, 3, 2, 1, 0]):
        pixels = images.read(np.array(indices), images.native)
        np.testing.assert_array_equal(pixels, together[indices])


@pytest.mark.parametrize("shift", sorted(SHIFTS))
def test_a_shift_changes_images_and_leaves_the_originals_alone(shift: str) -> None:
    array = noise(3, 1, 8, 8)
    before = array.copy()
    noisy = shifted(array, shift, 0.4)
    assert (noisy != array).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(array, before)
    assert noisy.dtype == np.uint8
    assert noisy.shape == array.shape


@pytest.mark.parametrize("shift", ["noise", "missing"])
def test_random_shifts_differ_by_image_and_seed_and_are_the_same_again(shift: str) -> None:
    array = np.full((4, 1, 16, 16), 128, dtype=np.uint8)
    first = shifted(array, shift, 0.3, seed=0)
    np.testing.assert_array_equal(shifted(array, shift, 0.3, seed=0), first)
    assert len({image.tobytes() for image in (*first, *shifted(array, shift, 0.3, seed=1))}) == 8


@pytest.mark.parametrize("shift", ["contrast", "inversion"])
def test_the_others_draw_nothing(shift: str) -> None:
    array = noise(4, 1, 8, 8)
    np.testing.assert_array_equal(shifted(array, shift, 0.3, 0), shifted(array, shift, 0.3, 1))


@pytest.mark.parametrize("strength", [0.02, 0.1])
def test_noise_has_the_standard_deviation_that_is_its_strength(strength: float) -> None:
    """Of mid-grey, where nothing is cut; rounding to levels adds a variance of 1/12 level."""
    array = np.full((10, 3, 64, 64), 128, dtype=np.uint8)
    error = shifted(array, "noise", strength).astype(np.float64) - 128
    expected = np.sqrt((255 * strength) ** 2 + 1 / 12)
    assert error.std() == pytest.approx(expected, rel=0.02)
    assert abs(error.mean()) < 5 * expected / np.sqrt(error.size)
    assert abs(np.corrcoef(error[:, 0].ravel(), error[:, 1].ravel())[0, 1]) < 0.03


def test_strong_noise_is_cut_and_does_not_wrap_round() -> None:
    """Half of the noise points outwards of black and white: it must change nothing there."""
    array = np.zeros((2, 1, 64, 64), dtype=np.uint8)
    array[1] = 255
    black, white = shifted(array, "noise", 0.1)
    assert (black == 0).mean() == pytest.approx(0.5, abs=0.05)
    assert (white == 255).mean() == pytest.approx(0.5, abs=0.05)
    assert black.max() < 128 < white.min()


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_missing_sets_its_share_of_the_pixels_to_0_in_all_channels(strength: float) -> None:
    array = np.random.default_rng(0).integers(1, 256, (20, 3, 32, 32), dtype=np.uint8)
    masked = shifted(array, "missing", strength)
    gone = masked == 0
    np.testing.assert_array_equal(gone.all(axis=1), gone.any(axis=1))
    np.testing.assert_array_equal(masked[~gone], array[~gone])
    n = 20 * 32 * 32
    spread = np.sqrt(strength * (1 - strength) / n)
    assert gone[:, 0].mean() == pytest.approx(strength, abs=5 * spread)


def test_everything_missing_is_black() -> None:
    assert not shifted(noise(3, 3, 8, 8), "missing", 1.0).any()


def test_full_inversion_is_exactly_the_negative_and_twice_the_original() -> None:
    array = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    negative = shifted(array, "inversion", 1.0)
    np.testing.assert_array_equal(negative, 255 - array)
    np.testing.assert_array_equal(shifted(negative, "inversion", 1.0), array)


def test_half_inversion_is_mid_grey() -> None:
    assert set(np.unique(shifted(noise(2, 3, 8, 8), "inversion", 0.5))) <= {127, 128}


@pytest.mark.parametrize("strength", [0.3, 0.75])
def test_contrast_keeps_the_mean_and_scales_the_spread(strength: float) -> None:
    array = noise(3, 3, 16, 16)
    faded = shifted(array, "contrast", strength).astype(np.float64)
    for image, old in zip(faded, array.astype(np.float64), strict=True):
        assert image.mean() == pytest.approx(old.mean(), abs=0.5)
        assert image.std() == pytest.approx((1 - strength) * old.std(), abs=0.5)


def test_no_contrast_left_is_the_image_s_own_mean() -> None:
    array = noise(3, 1, 16, 16)
    faded = shifted(array, "contrast", 1.0)
    for image, old in zip(faded, array, strict=True):
        assert np.unique(image).tolist() == [round(float(old.mean()))]


def test_a_shift_comes_at_the_native_size_before_anything_is_resized() -> None:
    array = noise(3, 3, 16, 16)
    images = ShiftedImages(ArrayImages(array), "missing", 0.4, seed=0)
    expected = Input(size=(7, 7), channels=1, crop=0.9)
    native = images.read(np.arange(3), images.native)
    np.testing.assert_array_equal(images.read(np.arange(3), expected), convert(native, expected))
    assert images.native == Input(size=(16, 16), channels=3)
    assert len(images) == 3


def test_an_unknown_shift_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(BenchError, match="did you mean 'inversion'"):
        ShiftedImages(ArrayImages(noise(1, 1, 4, 4)), "invertion", 0.1, 0)


# --- Encoded images


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def slope() -> Image.Image:
    """40 x 60 pixels, brighter downwards."""
    return Image.fromarray(np.linspace(0, 255, 40 * 60).reshape(60, 40).astype(np.uint8))


def oriented(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_images_are_turned_as_pillow_turns_them(kind: str, value: int) -> None:
    data = encoded(slope().convert("RGB"), kind, exif=oriented(value), lossless=True)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data, "x"), turned)


MALFORMED = {
    "no EXIF": b"garbage",
    "cut short": oriented(6)[:20],
    "orientation 9": oriented(9),
    "nothing": b"Exif\0\0",
}


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_malformed_metadata_say_nothing_about_an_image(kind: str, what: str) -> None:
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True}
    plain = slope().convert("RGB")
    try:
        image = decode(encoded(plain, kind, exif=MALFORMED[what], **options), "x")
    except BenchError as error:
        pytest.fail(str(error))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(plain)).max() <= 1


def tiff(levels: Array, **tags: int) -> bytes:
    """An uncompressed grey TIFF with tags by number, such as t262=0 for "white is 0"."""
    height, width = levels.shape
    entries = {
        256: width, 257: height, 258: 8 * levels.itemsize, 259: 1, 262: 1, 273: 0, 277: 1,
        278: height, 279: levels.nbytes, **{int(name[1:]): value for name, value in tags.items()},
    }  # fmt: skip
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + packed + struct.pack("<I", 0) + levels.tobytes()


@pytest.mark.parametrize("bits", [8, 16])
def test_white_that_is_0_is_white(bits: int) -> None:
    grey = np.asarray(slope())
    levels = (255 - grey).astype(f"<u{bits // 8}") * (257 if bits == 16 else 1)
    assert np.array_equal(decode(tiff(levels, t262=0), "x"), grey)


@pytest.mark.parametrize("kind", ["<i1", "<i2"])
def test_levels_with_a_sign_are_never_taken_for_levels_without(kind: str) -> None:
    levels = (np.asarray(slope()).astype(int) - 128).astype(kind)
    with pytest.raises(BenchError, match=r"x cannot be read: .* save it with"):
        decode(tiff(levels, t339=2), "x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<html>404</html>", "a web page or another text"),
    ],
)
def test_what_a_download_leaves_in_place_of_an_image_is_told(content: bytes, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        decode(content, "x.jpg")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"size": 8, "channels": 1}, "size=8; give (height, width)"),
        ({"size": (8.5, 8), "channels": 1}, "whole numbers above 0"),
        ({"size": (0, 8), "channels": 1}, "whole numbers above 0"),
        ({"size": (8, 8), "channels": 2}, "channels=2; give 1 (grey) or 3 (colour)"),
        ({"size": (8, 8), "channels": 1, "interpolation": "x"}, "give 'bilinear' or 'bicubic'"),
        ({"size": (8, 8), "channels": 1, "crop": 0}, "give a share above 0"),
    ],
)
def test_a_form_that_cannot_be_is_refused_where_it_is_made(
    values: dict[str, Any], says: str
) -> None:
    answer = ""
    try:
        Input(**values)
    except BenchError as error:
        answer = str(error)
    assert says in answer
