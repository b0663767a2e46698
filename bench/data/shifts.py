"""Shifted copies of test images: the same labels, another input distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from bench.data.images import Images, Input, convert
from bench.data.samples import Array
from bench.errors import unknown
from bench.seeding import generator


def _noise(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Gaussian noise of standard deviation `strength`, cut to [0, 1]."""
    return image + strength * rng.standard_normal(image.shape)


def _missing(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """A share `strength` of the pixels, all channels of each, set to 0."""
    masked: Array = image * (rng.random(image.shape[-2:]) >= strength)
    return masked


def _contrast(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Contrast about the image's own mean multiplied by 1 - `strength`."""
    mean = float(image.mean())
    return mean + (1 - strength) * (image - mean)


def _inversion(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Mixed with its negative: 1 is the full inversion."""
    return (1 - strength) * image + strength * (1 - image)


def _occlusion(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Mid grey over a share `strength` of the area, anywhere inside: a square to one pixel, in the
    image's own proportions where none is large enough (Zeiler and Fergus 2014, arXiv:1311.2901)."""
    height, width = image.shape[-2:]
    side = math.sqrt(strength * height * width)
    if side > min(height, width):
        side = height * math.sqrt(strength)
    rows = max(1, round(side))
    columns = min(width, round(strength * height * width / rows))
    y, x = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    covered = image.copy()
    covered[:, y : y + rows, x : x + columns] = 0.5
    return covered


def _rotation(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Turned about its centre by `strength` times 90 degrees to either side, bilinear, black outside."""
    from scipy.ndimage import rotate

    angle = 90 * strength * (1 if rng.random() < 0.5 else -1)
    # Outside is a grid of black pixels, so that no pixel of the border is lost to rounding.
    turned: Array = rotate(image, angle, (-1, -2), reshape=False, order=1, mode="grid-constant")
    return turned


# Each takes an image (c, h, w) with values in [0, 1], a strength in [0, 1] and its own generator.
SHIFTS: Mapping[str, Callable[[Array, float, np.random.Generator], Array]] = {
    "contrast": _contrast,
    "inversion": _inversion,
    "missing": _missing,
    "noise": _noise,
    "occlusion": _occlusion,
    "rotation": _rotation,
}


class ShiftedImages:
    """`images` after one shift, at their native size, before anything is resized.

    Each image draws from its own stream, so that no image depends on its batch.
    """

    def __init__(self, images: Images, shift: str, strength: float, seed: int) -> None:
        if shift not in SHIFTS:
            raise unknown("shift", shift, SHIFTS)
        self.images, self.shift, self.strength, self.seed = images, shift, strength, seed

    @property
    def native(self) -> Input:
        return self.images.native

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Array, input: Input) -> Array:
        pixels = self.images.read(indices, self.native) / 255.0
        for image, index in zip(pixels, indices, strict=True):
            rng = generator(self.seed, f"{self.shift}:{index}")
            image[:] = SHIFTS[self.shift](image, self.strength, rng)
        return convert((pixels.clip(0, 1) * 255.0).round().astype(np.uint8), input)
