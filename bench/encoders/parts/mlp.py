"""The fully connected trunk of the MLP track, and its mirror image with the same weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.data.samples import SourceInfo

REVISION = 1
KNOWN_AS = "encoders/_mlp"  # its key in the revisions of records

HIDDEN = (500, 250)
_LARGEST = 32  # pixels a side: larger images are resized


class MLPTrunk(nn.Module):
    """Images (n, c, h, w) in [0, 1] to two layers of 500 and 250 sigmoid units, below the code.

    The encoder of Hinton and Salakhutdinov 2006 (doi:10.1126/science.1127647), one layer shorter.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        sizes = (pixels, *HIDDEN)
        self.dim = HIDDEN[-1]
        self.layers = nn.ModuleList(
            glorot(nn.Linear(below, above)) for below, above in itertools.pairwise(sizes)
        )

    def dims(self, code: int) -> dict[str, int]:
        """Level -> dimension; `code`, the top layer, is the default."""
        return {"code": code, "trunk": self.dim, "multi": sum(HIDDEN) + code}

    def hidden(self, images: Tensor) -> list[Tensor]:
        """The units (n, 500) and (n, 250) of both layers."""
        activations = [images.flatten(1)]
        for layer in self.layers:
            activations.append(layer(activations[-1]).sigmoid())
        return activations[1:]

    def forward(self, images: Tensor) -> Tensor:
        """The last hidden layer (n, 250)."""
        return self.hidden(images)[-1]

    def taps(self, images: Tensor, to_code: nn.Module) -> Mapping[str, Tensor]:
        """All levels in one pass; `multi` is both hidden layers and the code side by side."""
        hidden = self.hidden(images)
        code = to_code(hidden[-1])
        return {"code": code, "trunk": hidden[-1], "multi": torch.cat([*hidden, code], dim=1)}

    def stages(self, to_code: nn.Module) -> nn.Sequential:
        """The layers as modules that compose to the code."""
        first, second = self.layers
        return nn.Sequential(
            nn.Sequential(nn.Flatten(), first, nn.Sigmoid()),
            nn.Sequential(second, nn.Sigmoid()),
            to_code,
        )


class TiedDecoder(nn.Module):
    """Codes (n, d) to images (n, c, h, w) by the encoder's transposed weights and biases of its own.

    Tied, so that no encoder can shrink its code and have the decoder enlarge it. The last layer is
    linear.
    """

    def __init__(self, input: Input) -> None:
        super().__init__()
        self.shape = (input.channels, *input.size)
        pixels = input.channels * input.size[0] * input.size[1]
        sizes = (*reversed(HIDDEN), pixels)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes)

    def forward(self, codes: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """`weights`: those of the encoder, (out, in) each, the code's first."""
        units = codes
        for number, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            units = units @ weight + bias
            if number < len(self.biases) - 1:
                units = units.sigmoid()
        return units.view(-1, *self.shape)


def glorot(layer: nn.Linear) -> nn.Linear:
    """Initialise in place for sigmoid units: uniform, 4 x the width for tanh (Glorot and Bengio 2010)."""
    nn.init.xavier_uniform_(layer.weight, gain=4.0)
    nn.init.zeros_(layer.bias)
    return layer


def mlp_input(source: SourceInfo) -> Input:
    """The source's own size and channels, at most 32 x 32 pixels."""
    size = (min(source.height, _LARGEST), min(source.width, _LARGEST))
    return Input(size=size, channels=source.channels)
