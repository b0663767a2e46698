"""Images as an encoder wants them delivered: read, converted and resized in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["REVISION", "ArrayImages", "Delivery", "Images", "Input", "convert"]

REVISION = 1

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What an encoder wants delivered: (height, width), 1 or 3 channels, how to resize and crop.

    `crop` is the share of the resized image that the centre crop keeps (timm's `crop_pct`): the
    image is resized until its shorter side is the asked one divided by `crop`, and cut from the
    centre.
    """

    size: tuple[int, int]
    channels: Literal[1, 3]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop: float = 1.0


class Images(Protocol):
    """A split's images, wherever they lie."""

    @property
    def native(self) -> Input:
        """The form in which they are stored, or in which shifts are applied to them."""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: Array, input: Input) -> Array:
        """The images at `indices` as `input` wants them: uint8 (n, c, h, w)."""
        ...


def convert(images: Array, input: Input) -> Array:
    """uint8 images (n, c, h, w) of any size as `input` wants them, uint8 (n, c', h', w').

    RGB to grey by the ITU-R 601 weights as in Pillow, grey to RGB by repetition; resizing is
    antialiased, up as well as down, never padded.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise BenchError(f"images have {channels} channels; 1 (grey) or 3 (RGB) are read")
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

    height, width = images.shape[2:]
    scale = max(input.size[0] / height, input.size[1] / width) / input.crop
    middle = [max(round(height * scale), input.size[0]), max(round(width * scale), input.size[1])]
    mode = InterpolationMode(input.interpolation)
    resized = resize(torch.from_numpy(images), middle, interpolation=mode, antialias=True)
    cropped: Array = center_crop(resized, list(input.size)).contiguous().numpy()
    return cropped


class ArrayImages:
    """Images that are in memory: uint8 (n, c, h, w)."""

    def __init__(self, array: Array) -> None:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] not in (1, 3):
            raise BenchError(
                f"images are {array.dtype} {array.shape}; uint8 (n, c, h, w) with c = 1 or 3 is read"
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


class Delivery:
    """The images at `rows` of a split (all, if None) as one encoder wants them, values in [0, 1]."""

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
        """All images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))
