"""Random Fourier features of pixels: approximates a Gaussian kernel, of which only the width is fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.arguments import require_at_least
from bench.errors import BenchError
from bench.seeding import generator

REVISION = 1
TRAINING = "closed_form"


_PAIRS = 5000  # pairs of images: the error of the median is then about 1 %
_BATCH = 512


class RandomFourier(Encoder):
    """sqrt(2 / d) cos(x W + b), (n, d), of flattened images x.

    Rahimi and Recht 2007, "Random features for large-scale kernel machines": W from N(0, 1 /
    bandwidth^2), b uniform on [0, 2 pi). Inner products estimate the Gaussian kernel
    exp(-|x - y|^2 / (2 bandwidth^2)), with an error proportional to 1 / sqrt(d).

    W and b are drawn in `build` (from PyTorch's state, which the caller seeds); `fit` sets the
    bandwidth alone.
    """

    directions: Tensor
    phases: Tensor
    bandwidth: Tensor

    def __init__(self, input: Input, dim: int, bandwidth: float | None) -> None:
        super().__init__()
        self.input, self.dims = input, {"code": dim}
        self.fixed = bandwidth is not None
        pixels = input.channels * input.size[0] * input.size[1]
        self.register_buffer("directions", torch.randn(pixels, dim))  # W times the bandwidth
        self.register_buffer("phases", 2 * math.pi * torch.rand(dim))
        self.register_buffer("bandwidth", torch.tensor(1.0 if bandwidth is None else bandwidth))

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        # The pixels are divided, not the directions: the smaller matrix.
        angles = torch.addmm(self.phases, images.flatten(1) / self.bandwidth, self.directions)
        return {"code": math.sqrt(2 / len(self.phases)) * angles.cos()}

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Sets the bandwidth, unless it was an argument: the median distance of up to 5,000 pairs of
        images, no image in two of them.

        Raises BenchError where that median is 0, and for fewer than two images.
        """
        if self.fixed:
            return FitReport()
        n = len(images)
        if n < 2:
            raise BenchError(
                f"random_fourier needs 2 training images to set its bandwidth; there are {n}: "
                "give bandwidth="
            )
        pairs = min(_PAIRS, n // 2)
        rows = generator(seed, "pairs").permutation(n)[: 2 * pairs].reshape(2, pairs)
        distances = np.empty(pairs)
        for start in range(0, pairs, _BATCH):
            batch = rows[:, start : start + _BATCH]
            first, second = images.read(batch.ravel()).flatten(1).double().chunk(2)
            distances[start : start + _BATCH] = (first - second).norm(dim=1).numpy()
        median = float(np.median(distances))
        if median == 0:
            raise BenchError(
                f"random_fourier: half of {pairs} pairs of training images are equal, so the median "
                "distance, which is the bandwidth, is 0: give bandwidth="
            )
        self.bandwidth.fill_(median)
        return FitReport(images_seen=2 * pairs, steps=1, terms={"bandwidth": round(median, 6)})


def build(*, source: SourceInfo, dim: int = 1024, bandwidth: float | None = None) -> RandomFourier:
    """`dim` features of images at their own size; `bandwidth` None: the median distance of images.

    Raises BenchError for a dimension below 1 and a bandwidth that is not above 0.
    """
    require_at_least(1, "random_fourier", dim=dim)
    if bandwidth is not None and not (bandwidth > 0 and math.isfinite(bandwidth)):
        raise BenchError(
            f"random_fourier,bandwidth={bandwidth}: must be above 0; leave it out for the median "
            "distance"
        )
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return RandomFourier(shape, dim, bandwidth)
