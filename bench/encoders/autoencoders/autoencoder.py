"""Autoencoder: a code smaller than the image, trained to give the image back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy.typing as npt
from torch import Tensor, nn

from bench.data import SourceInfo
from bench.encoders._training import train
from bench.encoders._trunk import ConvDecoder, ConvTrunk, check_sizes, conv_input
from bench.encoders.base import Encoder, FitReport
from bench.images import Delivery

REVISION = 1

Array = npt.NDArray[Any]


class Autoencoder(Encoder):
    """Undercomplete autoencoder: a bottleneck, and squared error, of nothing but the images.

    Rumelhart, Hinton and Williams 1986; Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647.
    """

    def __init__(self, source: SourceInfo, code: int, width: int, rate: float) -> None:
        super().__init__()
        self.input, self.rate = conv_input(source), rate
        # The trunk comes first: the same start for every encoder that has one.
        self.trunk = ConvTrunk(source.channels, width)
        self.to_code = nn.Linear(self.trunk.dim, code)
        self.decoder = ConvDecoder(code, source.channels, width)
        self.dims = self.trunk.dims(code)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return self.trunk.taps(images, self.to_code)

    def stages(self) -> nn.Sequential:
        return self.trunk.stages()

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, d) to images (n, c, 32, 32), about in [0, 1] and not cut."""
        images: Tensor = self.decoder(codes)
        return images

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images (n, c, 32, 32) as the code keeps them."""
        return self.decode(self.to_code(self.trunk(images)))

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Least squared error, summed over pixels and averaged over images."""

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            errors = (self.reconstruct(batch) - batch).square().flatten(1).sum(dim=1)
            return {"reconstruction": errors.mean()}

        return train(self, images, loss, budget=budget, seed=seed, rate=self.rate)


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    code: int = 64,
    width: int = 16,
    rate: float = 1e-3,
) -> Autoencoder:
    """A code of `code` numbers on a trunk of `width`, 2 `width`, 4 `width` maps; Adam's `rate`.

    Raises BenchError for a code below 1 and for a width that is no multiple of 8.
    """
    check_sizes("autoencoder", code, width, rate)
    return Autoencoder(source, code, width, rate)
