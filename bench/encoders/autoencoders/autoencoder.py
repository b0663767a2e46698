"""Autoencoder: reconstructs the image from a code that is smaller than the image."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder
from bench.encoders.parts.trunk import Sizes

REVISION = 1


def build(
    *,
    source: SourceInfo,
    track: Literal["conv", "mlp"] = "conv",
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """Undercomplete: a bottleneck of `code` numbers, trained by squared error.

    track: "conv" or "mlp", the common convolutional trunk or one of 500 and 250 sigmoid units
    code: dimension of the code
    width: `width`, 2 `width`, 4 `width` maps in the blocks of the convolutional trunk
    rate: Adam's learning rate

    Rumelhart, Hinton and Williams 1986; Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647.
    Raises BenchError for a code below 1, a rate of 0 or less, a width that is not a multiple of 8.
    """
    return Autoencoder(source, track, Sizes(code, width, rate).checked("autoencoder"))
