"""Raw pixels: the baseline that learnt representations have to beat."""

from __future__ import annotations

from torch import Tensor

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.base import Encoder

REVISION = 1
TRAINING = "none"


class Pixels(Encoder):
    """Images (n, c, h, w), flattened to (n, c * h * w), values in [0, 1]."""

    seeded = False

    def __init__(self, input: Input) -> None:
        super().__init__()
        self.input = input
        self.dims = {"trunk": input.channels * input.size[0] * input.size[1]}

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        return {"trunk": images.flatten(1)}


def build(*, source: SourceInfo, size: int | None = None) -> Pixels:
    """Pixels at the images' own size and channels, or resized to `size` x `size`."""
    shape = (source.height, source.width) if size is None else (size, size)
    return Pixels(Input(size=shape, channels=source.channels))
