"""Sheets of images: where tiles lie, captions, frames and the limit of bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.drawing.sheet import Row, Section, page, sheet

Array = npt.NDArray[Any]


def pixels(content: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def ramp(count: int) -> Array:
    """Images (n, 1, 4, 4), each of one grey."""
    return np.linspace(0, 1, count, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 4, 4))


def columns_of(picture: Array, width: int) -> list[int]:
    """Greys of the tiles in a picture of one unnamed row of images, 4 pixels wide, scale `width / 4`."""
    left = 8  # four gaps before the first tile
    return [int(picture[4, left + column * (width + 2) + 2, 0]) for column in range(5)]


def test_tiles_lie_in_order_and_values_are_cut_to_what_there_is() -> None:
    images = np.concatenate([ramp(3), ramp(3)[1:2] - 9, ramp(3)[1:2] + 9])
    picture = pixels(sheet([("", images)], scale=2))
    assert columns_of(picture, 8) == [0, 128, 255, 0, 255]
    assert picture.shape == (2 + 10, 8 + 5 * 10, 3)


def test_colours_stay_what_they_are() -> None:
    red = np.zeros((1, 3, 4, 4))
    red[:, 0] = 1
    assert pixels(sheet([("", red)]))[5, 10].tolist() == [255, 0, 0]


def test_a_heading_captions_and_frames_leave_the_tiles_where_they_are() -> None:
    plain = Section("", [Row("", ramp(5))], 10)
    full = Section("What it is", [Row("", ramp(5), ["a\nb"] * 5, [False, True])], 10)
    below = pixels(page([plain]))
    picture = pixels(page([full]))
    assert picture.shape[0] == below.shape[0] + 26 + 2 * 12
    row = picture[26 + 2 + 20]
    assert [int(row[8 + 68 * n + 20, 0]) for n in range(5)] == [0, 64, 128, 191, 255]
    assert row[8 + 68].tolist() == [255, 0, 0] != row[8].tolist()
    assert (picture[:26] < 128).any() and (picture[-24:, 8:] < 128).any()  # there is text


def test_a_page_keeps_to_its_bytes_by_leaving_out_the_last_images() -> None:
    noise = np.random.default_rng(0).random((10, 3, 32, 32))
    section = Section("Noise", [Row("noise", noise)], 2)
    whole = page([section])
    small = page([section], most_bytes=len(whole) // 4)
    assert len(small) <= len(whole) // 4
    assert Image.open(io.BytesIO(small)).width < Image.open(io.BytesIO(whole)).width
    fits = Image.open(io.BytesIO(page([section], most_bytes=len(whole))))
    assert fits.size == Image.open(io.BytesIO(whole)).size


def test_few_colours_leave_frames_red_and_tiles_as_they_were() -> None:
    tiles = np.random.default_rng(0).random((10, 1, 32, 32))
    section = Section("", [Row("", tiles, framed=[True])], 2)
    whole, reduced = (pixels(page([section], most_bytes=limit)) for limit in (None, 10**6))
    assert (
        len(np.unique(reduced.reshape(-1, 3), axis=0))
        <= 64
        < len(np.unique(whole.reshape(-1, 3), axis=0))
    )
    red = (whole == [255, 0, 0]).all(axis=2)
    assert red.any() and (reduced[red] == [255, 0, 0]).all()
    assert np.abs(reduced.astype(int) - whole).max() <= 6
    white = (whole == 255).all(axis=2)
    assert white.any() and (reduced[white] == 255).all()
