"""Images in the form that an encoder declares: read, converted and resized in one place.

`Images` are a data set's own; a `Delivery` holds the same images in the form of an encoder's `Input`, for
encoders and for protocols that tune one.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.files.reading import left_by_download
from bench.threads import threaded

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

REVISION = 1
KNOWN_AS = "images"  # its key in the revisions of records
# What is opened, where the installed Pillow reads it: no format that another program renders (EPS), none
# that has no pixels, none without a signature at its start (TGA), for which any file may pass.
FORMATS = (
    "JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "PCX", "QOI", "SGI", "SUN",
)  # fmt: skip
MAX_PIXELS = 250_000_000  # 1 GB in memory; phones make images of up to 200 million

_PHOTOMETRIC, _CHANNELS, _SAMPLE_FORMAT = 262, 277, 339  # tags of TIFF

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The form in which an encoder takes images: (height, width), 1 or 3 channels, how to resize and crop.

    `crop` is the share of the resized image that the centre crop keeps (timm's `crop_pct`): the
    image is resized until its shorter side is that of `size` divided by `crop`, and cut from the
    centre. Sides are rounded down as in timm's transform where `crop` is below 1,
    else to the nearest pixel. Raises BenchError for values that cannot be.
    """

    size: tuple[int, int]
    channels: Literal[1, 3]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop: float = 1.0

    def __post_init__(self) -> None:
        size = self.size
        if not (
            isinstance(size, tuple)
            and len(size) == 2
            and all(isinstance(side, int | np.integer) and side >= 1 for side in size)
        ):
            raise BenchError(f"Input: size={size!r}; give (height, width), whole numbers above 0")
        if self.channels not in (1, 3):
            raise BenchError(f"Input: channels={self.channels!r}; give 1 (grey) or 3 (colour)")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise BenchError(
                f"Input: interpolation={self.interpolation!r}; give 'bilinear' or 'bicubic'"
            )
        if not (isinstance(self.crop, int | float) and 0 < self.crop < np.inf):
            raise BenchError(f"Input: crop={self.crop!r}; give a share above 0, 1 for no crop")


class Images(Protocol):
    """A split's images, wherever they lie."""

    @property
    def native(self) -> Input:
        """The form in which they are stored, or in which shifts are applied to them."""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: Array, input: Input) -> Array:
        """The images at `indices` in the form `input`: uint8 (n, c, h, w)."""
        ...


def convert(images: Array, input: Input) -> Array:
    """uint8 images (n, c, h, w) of any size in the form `input`: uint8 (n, c', h', w').

    RGB to grey by the ITU-R 601 weights as in Pillow, grey to RGB by repetition; resizing is
    antialiased, up as well as down, never padded.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise BenchError(f"images have {channels} channels; 1 (grey) or 3 (RGB) are allowed")
    if input.channels == 1 and channels == 3:
        weights = np.array([19595, 38470, 7471], dtype=np.uint32).reshape(1, 3, 1, 1)
        grey = ((images.astype(np.uint32) * weights).sum(axis=1, keepdims=True) + 0x8000) >> 16
        images = grey.astype(np.uint8)
    if images.shape[2:] != input.size or input.crop != 1.0:
        images = _resize(images, input)
    if input.channels == 3 and channels == 1:  # after resizing: a third of the work
        images = np.repeat(images, 3, axis=1)
    return images


def _resize(images: Array, input: Input) -> Array:
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import center_crop, resize

    middle, mode = _resized(images.shape[-2:], input), InterpolationMode(input.interpolation)
    resized = resize(torch.from_numpy(images), list(middle), interpolation=mode, antialias=True)
    cropped: Array = center_crop(resized, list(input.size)).contiguous().numpy()
    return cropped


def _resized(size: tuple[int, ...], input: Input) -> tuple[int, int]:
    """(height, width) of a whole image of `size` before the centre crop."""
    height, width = size
    target = [math.floor(side / input.crop) for side in input.size]
    if input.crop < 1 and target[0] == target[1]:  # torchvision's Resize, which cuts
        short = min(height, width)
        resized = int(target[0] * height / short), int(target[0] * width / short)
    else:
        scale = max(target[0] / height, target[1] / width)
        resized = round(height * scale), round(width * scale)
    return max(resized[0], input.size[0]), max(resized[1], input.size[1])


class ArrayImages:
    """Images that are in memory: uint8 (n, c, h, w)."""

    def __init__(self, array: Array) -> None:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] not in (1, 3):
            raise BenchError(
                f"images are {array.dtype} {array.shape}; uint8 (n, c, h, w) with c = 1 or 3 is expected"
            )
        self.array = array

    @property
    def native(self) -> Input:
        _, c, h, w = self.array.shape
        return Input(size=(h, w), channels=3 if c == 3 else 1)

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: Array, input: Input) -> Array:
        return convert(self.array[indices], input)


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that the installed Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """Endings of the files that `decode` reads, such as ".jpg", in small letters."""
    from PIL import Image

    formats = {*_formats(), "MPO"}  # JPEG with a second image behind the first
    endings = Image.registered_extensions().items()
    return frozenset(ending.lower() for ending, name in endings if name in formats)


def decode(source: Path | bytes, name: str) -> Image.Image:
    """One encoded image, upright, in 8 bits of grey (mode "L") or RGB; the first one of several.

    What is transparent lies on white. 16 bits of grey are scaled so that 65535 becomes 255; the largest
    of these levels is then in `info["largest_level"]`. What is not read of a file, such as further frames,
    is in `info["unread"]`. Raises BenchError naming `name` for a file that is
    not an image, is damaged, has more than `MAX_PIXELS` pixels, or grey levels without a known range.
    """
    from PIL import Image

    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            image = _opened(file)
            if image is None:
                file.seek(0)
                start = left_by_download(file.read(256))
                why = "empty, or not an image of a format that is read"
                why += f" ({start})" if start and not start.startswith("empty") else ""
            elif image.width * image.height > MAX_PIXELS:
                why = f"more than {MAX_PIXELS} pixels; make it smaller"
            else:
                with image:
                    unread = _unread(image)
                    image.load()
                    plain = _plain(_upright(image))
                    plain.info["unread"] = unread
                    return plain
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        why = f"more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller"
    except OSError as error:
        why = error.strerror or str(error)
    except Exception as error:  # Pillow's readers raise errors of any type for damaged files
        why = str(error) or type(error).__name__
    raise BenchError(f"{name} cannot be read: {' '.join(why.split())}")


def _opened(file: IO[bytes]) -> Image.Image | None:
    """The image of a file whose header alone is read, or None where it is of none of the formats.

    As Image.open, but without its limit on pixels, which would refuse or warn of large photographs and
    can only be changed for the whole process.
    """
    from PIL import Image

    prefix = file.read(16)
    for name in _formats():
        factory, accept = Image.OPEN[name]
        try:
            if accept is not None and accept(prefix) is not True:  # a text: what is not installed
                continue
            file.seek(0)
            image: Image.Image = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        return image
    return None


def _unread(image: Image.Image) -> str:
    """What a file holds beside the image that is read; "" for nothing. The previews and depth maps that
    cameras put behind a JPEG do not count."""
    if getattr(image, "tag_v2", {}).get(_CHANNELS, 1) > max(4, len(image.getbands())):
        return "channels after the third"
    if image.format != "MPO" and getattr(image, "is_animated", False):
        return "frames or pages after the first"
    return ""


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its metadata say; malformed metadata say nothing."""
    from PIL import Image

    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # of any type, as for pixels
        return image
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image) -> Image.Image:
    from PIL import Image

    tags = getattr(image, "tag_v2", {})  # of TIFF
    if 2 in tags.get(_SAMPLE_FORMAT, ()) and not image.mode.startswith("I"):
        raise ValueError("its levels have a sign, which is not read; save it with unsigned levels")
    if image.mode.startswith("I"):  # 16 bits, which `convert` would clip
        levels = np.asarray(image)
        if tags.get(_PHOTOMETRIC) == 0:  # white is 0, which Pillow heeds for 8 bits alone
            levels = 65535 - levels.astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("grey levels outside 0 to 65535; save it with 8 or 16 bits")
        scaled = Image.fromarray(
            ((levels.astype(np.int32) * 255 + 32767) // 65535).astype(np.uint8)
        )
        scaled.info["largest_level"] = int(levels.max())
        return scaled
    if image.mode == "F":
        raise ValueError("grey levels are floats of unknown range; save it with 8 or 16 bits")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"  # a palette counts as colour
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image if image.mode == mode else image.convert(mode)


class EncodedImages:
    """Images of any size each, as files or as the bytes of files, decoded (see `decode`) whenever
    they are read. Errors call them by `names`; by default their path, or "row 7"."""

    def __init__(
        self, sources: Sequence[Path | bytes], *, native: Input, names: Sequence[str] | None = None
    ) -> None:
        self.sources, self.native = sources, native
        self.names = names or [
            f"row {row}" if isinstance(s, bytes) else str(s) for row, s in enumerate(sources)
        ]

    def __len__(self) -> int:
        return len(self.sources)

    def read(self, indices: Array, input: Input) -> Array:
        """uint8 (n, c, h, w), to one level what `convert` gives for the decoded images. Raises
        BenchError naming the first one that cannot be read."""
        pixels = np.empty((len(indices), input.channels, *input.size), dtype=np.uint8)

        def fill(place: int) -> None:
            index = int(indices[place])
            pixels[place] = _fitted(decode(self.sources[index], self.names[index]), input)

        for _ in threaded(fill, len(indices)):
            pass
        return pixels


def _fitted(image: Image.Image, input: Input) -> Array:
    """An image in mode "L" or "RGB" in the form `input`: uint8 (c, h, w), or (1, h, w) for grey."""
    from PIL import Image

    if input.channels == 1:
        image = image.convert("L")
    w, h = image.size
    if (h, w) != input.size or input.crop != 1.0:
        (height, width), full = input.size, _resized((h, w), input)
        y, x = round((full[0] - height) / 2), round((full[1] - width) / 2)
        box: tuple[float, float, float, float] = (0, 0, w, h)
        if full[0] * full[1] > 64 * height * width:  # a strip: resized whole it could be endless
            start = x * w / full[1], y * h / full[0]
            box = (*start, (x + width) * w / full[1], (y + height) * h / full[0])
            full, y, x = input.size, 0, 0
        resampling = Image.Resampling[input.interpolation.upper()]
        image = image.resize(full[::-1], resampling, box).crop((x, y, x + width, y + height))
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


class Delivery:
    """The images at `rows` of a split (all, if None) in the form of one encoder, values in [0, 1]."""

    def __init__(self, images: Images, input: Input, rows: Array | None = None) -> None:
        self.images, self.input = images, input
        self.rows = np.arange(len(images)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Array) -> Tensor:
        """The images at `indices` of this delivery: float32 (n, c, h, w) in [0, 1]."""
        import torch

        pixels = self.images.read(self.rows[indices], self.input)
        return torch.from_numpy(np.ascontiguousarray(pixels)).float().div_(255.0)

    def batches(self, size: int = 512) -> Iterator[Tensor]:
        """All images in order, `size` at a time; the next ones are read while the caller computes."""
        starts = range(0, len(self), size)
        reading: Future[Tensor] | None = None

        def read(start: int) -> Tensor:
            return self.read(np.arange(start, min(start + size, len(self))))

        with ThreadPoolExecutor(1) as thread:  # leaving waits for it, also when nobody reads on
            for start in starts:
                waiting, reading = reading, thread.submit(read, start)
                if waiting is not None:
                    yield waiting.result()
            if reading is not None:
                yield reading.result()

    def resident(self, most_bytes: int = 2**31) -> Delivery:
        """The same images, converted once and held in memory as bytes, so that reading is indexing;
        itself where they are there already, or would take more than `most_bytes`."""
        shape = (len(self), self.input.channels, *self.input.size)
        plain = Input(size=self.input.size, channels=self.input.channels)
        there = isinstance(self.images, ArrayImages) and self.images.native == plain
        if math.prod(shape) > most_bytes or (there and self.input.crop == 1.0):
            return self
        array = np.empty(shape, dtype=np.uint8)
        for start in range(0, len(self), 1024):
            rows = self.rows[start : start + 1024]
            array[start : start + len(rows)] = self.images.read(rows, self.input)
        return Delivery(ArrayImages(array), plain)
