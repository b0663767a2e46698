"""Rows of images with their names, as a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

Array = npt.NDArray[Any]
_GAP = 2  # pixels between tiles
_FONT, _SMALL = 13, 10
_LINE = 12  # pixels of a caption's line
_HEADING = 26
_FRAME = "red"
_CAPTIONED = 68  # least width in pixels of a column with captions: a word fits


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Images (n, c, h, w) with 1 or 3 channels, values clipped to [0, 1]; under each a caption of one or
    two lines; `framed` says which have a red frame. Both may be shorter than n."""

    name: str
    images: Array
    captions: Sequence[str] = ()
    framed: Sequence[bool] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """Rows of images of one size under a heading. A tile is `scale` times the image; `heads`, of one line
    or more, stand over the columns."""

    heading: str
    rows: Sequence[Row]
    scale: float = 2
    heads: Sequence[str] = ()


def sheet(rows: Sequence[tuple[str, Array]], *, scale: int = 2, heads: Sequence[str] = ()) -> bytes:
    """A PNG: each row's name, then its images (n, c, h, w), 1 or 3 channels, values clipped to [0, 1].

    Images of all rows have one size; n may differ. `heads` stand over the columns.
    """
    return page([Section("", [Row(name, images) for name, images in rows], scale, heads)])


def page(sections: Sequence[Section], *, most_bytes: int | None = None) -> bytes:
    """A PNG of sections one below the other. With `most_bytes` it has 64 colours, and the last images of
    all rows are dropped until it fits."""
    if most_bytes is None:
        return _png(_draw(sections))
    widest = max(len(row.images) for section in sections for row in section.rows)
    for columns in range(widest, 0, -1):
        content = _png(_quantized(_draw(sections, columns)))
        if len(content) <= most_bytes:
            break
    return content


def _quantized(image: Image.Image, colours: int = 64) -> Image.Image:
    """The image in this number of colours. Those of paper, ink and frames are fixed: frames have few
    pixels, whose colour the quantization would not keep."""
    fixed = [ImageColor.getrgb(name) for name in ("white", "black", _FRAME)]
    quantized, exact = image.quantize(colours - len(fixed)), np.asarray(image)
    numbers = np.asarray(quantized).copy()
    for number, colour in enumerate(fixed, start=colours - len(fixed)):
        numbers[(exact == colour).all(axis=2)] = number
    reduced = Image.fromarray(numbers, "P")
    palette = (quantized.getpalette() or [])[: 3 * (colours - len(fixed))]
    palette += [0] * (3 * (colours - len(fixed)) - len(palette))
    reduced.putpalette([*palette, *(channel for colour in fixed for channel in colour)])
    return reduced


def _png(image: Image.Image) -> bytes:
    if image.mode == "RGB" and np.ptp(np.asarray(image), axis=2).max() == 0:
        image = image.convert("L")  # a third of the bytes
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw(sections: Sequence[Section], limit: int | None = None) -> Image.Image:
    """All sections, at most `limit` images a row."""
    parts = [_draw_section(section, limit) for section in sections]
    width, height = max(p.width for p in parts), sum(p.height for p in parts)
    canvas, top = Image.new("RGB", (width, height), "white"), 0
    for part in parts:
        canvas.paste(part, (0, top))
        top += part.height
    return canvas


def _draw_section(section: Section, limit: int | None) -> Image.Image:
    font, small = ImageFont.load_default(_FONT), ImageFont.load_default(_SMALL)
    rows, captioned = section.rows, any(row.captions for row in section.rows)
    top = _HEADING if section.heading else 0
    high, wide = (round(section.scale * side) + _GAP for side in rows[0].images.shape[2:])
    if captioned:
        wide = max(wide, _CAPTIONED)
    names = [line for row in rows for line in row.name.split("\n")]
    left = max(round(font.getlength(line)) for line in names) + 4 * _GAP
    columns = max(len(row.images[:limit]) for row in rows)
    lines = [max((caption.count("\n") + 1 for caption in row.captions), default=0) for row in rows]
    width = max(left + columns * wide, round(font.getlength(section.heading)) + 4 * _GAP)
    over = max((head.count("\n") + 1 for head in section.heads), default=0) * (_FONT + 4)
    height = top + over + len(rows) * high + _LINE * sum(lines) + _GAP
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((2 * _GAP, top / 2), section.heading, "black", font, anchor="lm")
    for column, head in enumerate(section.heads):
        middle = left + column * wide + (wide - _GAP) / 2
        draw.multiline_text((middle, top + _GAP), head, "black", font, anchor="ma", align="center")
    top += over + _GAP
    for row, below in zip(rows, lines, strict=True):
        draw.text((2 * _GAP, top + (high - _GAP) / 2), row.name, "black", font, anchor="lm")
        for column, image in enumerate(row.images[:limit]):
            tile, x = _tile(image, section.scale), left + column * wide
            canvas.paste(tile, (x, top))
            if any(row.framed[column : column + 1]):
                box = (x, top, x + tile.width - 1, top + tile.height - 1)
                draw.rectangle(box, outline=_FRAME, width=2)
            for number, text in enumerate((*row.captions[column : column + 1], "")[0].split("\n")):
                draw.text((x, top + high + _LINE * number), text, "black", small, anchor="la")
        top += high + _LINE * below
    return canvas


def _tile(image: Array, scale: float) -> Image.Image:
    levels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    colours = np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0)
    tile = Image.fromarray(np.ascontiguousarray(colours))
    size = (round(scale * tile.width), round(scale * tile.height))
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return tile.resize(size, way)
