"""Rows of images with their names, as a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

__all__ = ["sheet"]

Array = npt.NDArray[Any]
_GAP = 2  # pixels between tiles
_FONT = 13


def sheet(rows: Sequence[tuple[str, Array]], *, scale: int = 2) -> bytes:
    """A PNG: each row's name, then its images (n, c, h, w), 1 or 3 channels, cut to [0, 1].

    All rows have images of one size; rows may be of different lengths.
    """
    font = ImageFont.load_default(_FONT)
    left = max(round(font.getlength(name)) for name, _ in rows) + 4 * _GAP
    high, wide = (scale * side + _GAP for side in rows[0][1].shape[2:])
    columns = max(len(images) for _, images in rows)
    canvas = Image.new("RGB", (left + columns * wide, len(rows) * high + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (name, images) in enumerate(rows):
        top = number * high + _GAP
        draw.text((2 * _GAP, top + (high - _GAP) / 2), name, "black", font, anchor="lm")
        for column, image in enumerate(images):
            canvas.paste(_tile(image, scale), (left + column * wide, top))
    file = io.BytesIO()
    canvas.save(file, "PNG", optimize=True)
    return file.getvalue()


def _tile(image: Array, scale: int) -> Image.Image:
    levels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    colours = np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0)
    tile = Image.fromarray(np.ascontiguousarray(colours))
    return tile.resize((scale * tile.width, scale * tile.height), Image.Resampling.NEAREST)
