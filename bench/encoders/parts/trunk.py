"""The convolutional trunk that all encoders of the CONV track share, and its decoder.

Every image is resized to 32 x 32 pixels, not padded, 28-pixel ones too: one rule for digits of 8 pixels
and photographs. The decoder's GroupNorm makes it invariant to the scale of the code: a penalty on the
code must not depend on that scale, or shrinking the code would reduce it at no cost.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.data.samples import SourceInfo
from bench.encoders.parts.arguments import require_at_least, require_positive
from bench.errors import BenchError

REVISION = 1
KNOWN_AS = "encoders/_trunk"  # its key in the revisions of records

SIDE = 32  # pixels
_GROUPS = 8
_SLOPE = 0.2
Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class ConvTrunk(nn.Module):
    """Images (n, c, 32, 32) in [0, 1] to features: three convolutions that halve the side.

    4 x 4 kernels with stride 2 and `width`, 2 `width`, 4 `width` maps (the discriminator of Radford,
    Metz and Chintala 2016, arXiv:1511.06434, scaled down), each with GroupNorm (Wu and He 2018), so
    that no row depends on its batch, and LeakyReLU.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.dim, self.width = 64 * width, width
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _initialised(nn.Conv2d(below, above, 4, stride=2, padding=1)),
                nn.GroupNorm(_GROUPS, above),
                nn.LeakyReLU(_SLOPE),
            )
            for below, above in itertools.pairwise(sizes)
        )

    def dims(self, code: int) -> dict[str, int]:
        """Level -> dimension; `trunk` is the default."""
        return {"trunk": self.dim, "code": code, "multi": 112 * self.width}

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps after each block: sides of 16, 8 and 4 pixels."""
        maps = [_centred(images)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]

    def forward(self, images: Tensor) -> Tensor:
        """The last maps, flattened: (n, 64 width)."""
        return self.maps(images)[-1].flatten(1)

    def taps(self, images: Tensor, to_code: nn.Module) -> Mapping[str, Tensor]:
        """All levels in one pass. `multi`: every block max-pooled to 4 x 4, as Radford et al. do."""
        maps = self.maps(images)
        trunk = maps[-1].flatten(1)
        pooled = [nn.functional.adaptive_max_pool2d(block, 4).flatten(1) for block in maps]
        return {"trunk": trunk, "code": to_code(trunk), "multi": torch.cat(pooled, dim=1)}

    def stages(self) -> nn.Sequential:
        """The blocks as modules that compose to `forward`."""
        first, *middle, last = self.blocks
        return nn.Sequential(
            nn.Sequential(_Centred(), first), *middle, nn.Sequential(last, nn.Flatten())
        )


class ConvDecoder(nn.Module):
    """Codes (n, d) to images (n, c, 32, 32), about in [0, 1], not clipped: the trunk reversed."""

    def __init__(self, code: int, channels: int, width: int) -> None:
        super().__init__()
        self.first = _initialised(nn.Linear(code, 64 * width))
        layers: list[nn.Module] = [nn.GroupNorm(_GROUPS, 4 * width), nn.LeakyReLU(_SLOPE)]
        for below, above in ((4 * width, 2 * width), (2 * width, width)):
            layers += [
                _initialised(nn.ConvTranspose2d(below, above, 4, stride=2, padding=1)),
                nn.GroupNorm(_GROUPS, above),
                nn.LeakyReLU(_SLOPE),
            ]
        # Sub-pixel convolution (Shi et al. 2016, arXiv:1609.05158): a transposed convolution to so few
        # channels takes more than twice as long. Linear: a sigmoid saturates under squared error.
        last = _initialised(nn.Conv2d(width, 4 * channels, 3, padding=1), gain=1.0)
        self.layers = nn.Sequential(*layers, last, nn.PixelShuffle(2))
        self.width = width

    def forward(self, codes: Tensor) -> Tensor:
        images: Tensor = self.layers(self.first(codes).view(-1, 4 * self.width, 4, 4))
        return (images + 1) / 2


def stage_decoder(block: nn.Module) -> nn.Module:
    """A linear decoder for one of the trunk's stages: from its output to its input."""
    below = next(m for m in block.modules() if isinstance(m, nn.Conv2d))
    layer = nn.ConvTranspose2d(below.out_channels, below.in_channels, 4, stride=2, padding=1)
    parts: list[nn.Module] = [_initialised(layer, gain=1.0)]
    if any(isinstance(m, nn.Flatten) for m in block.modules()):
        parts.insert(0, nn.Unflatten(1, (below.out_channels, SIDE // 8, SIDE // 8)))
    return nn.Sequential(*parts)


class _Centred(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return _centred(images)


def _centred(images: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return 2 * images - 1


def _initialised(layer: Layer, *, gain: float = 2**0.5) -> Layer:
    """The layer with weights from N(0, gain^2 / inputs), `inputs` those of one output (He et al. 2015),
    and biases 0."""
    if isinstance(layer, nn.ConvTranspose2d):  # (in, out, k, k); stride 2 uses a quarter of k x k
        inputs = layer.weight[:, 0].numel() // 4
    else:
        inputs = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=gain / inputs**0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def conv_input(source: SourceInfo) -> Input:
    """32 x 32 pixels, in the source's own channels."""
    return Input(size=(SIDE, SIDE), channels=source.channels)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Dimension of the code, maps of the trunk's first block, Adam's learning rate."""

    code: int
    width: int
    rate: float

    def checked(self, name: str) -> Sizes:
        """Itself. Raises BenchError, naming the encoder `name`, unless code >= 1, rate > 0 and `width` is
        a positive multiple of 8."""
        require_at_least(1, name, code=self.code)
        require_positive(name, rate=self.rate)
        if self.width < _GROUPS or self.width % _GROUPS:
            raise BenchError(f"{name},width={self.width}: must be a positive multiple of {_GROUPS}")
        return self
