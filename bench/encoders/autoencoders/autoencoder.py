"""Autoencoder: a code smaller than the image, trained to give the image back."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder
from bench.encoders.parts.trunk import check_sizes

REVISION = 1


def build(
    *,
    source: SourceInfo,
    track: Literal["conv", "mlp"] = "conv",
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """Undercomplete: a bottleneck of `code` numbers, and squared error, of nothing but the images.

    `width`, 2 `width`, 4 `width` maps, or on track mlp 500 and 250 units; Adam's `rate`. Rumelhart,
    Hinton and Williams 1986; Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647.

    Raises BenchError for a code below 1 and for a width that is no multiple of 8.
    """
    check_sizes("autoencoder", code, width, rate)
    return Autoencoder(source, track=track, code=code, width=width, rate=rate)
