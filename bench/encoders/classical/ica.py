"""Independent component analysis (FastICA): a linear code with units as independent as possible."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import Array, SourceInfo
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.principal import (
    deviations,
    most_directions,
    principal,
    projections,
    upright,
)
from bench.seeding import generator

REVISION = 1
TRAINING = "closed_form"


_ITERATIONS = 500
_TOLERANCE = 1e-4
_NORMAL = 0.3745672  # E log cosh of a standard normal variable


class ICA(Encoder):
    """Sources (x - mean) W, (n, dim), of unit variance, of flattened images x.

    Hyvarinen and Oja 2000, "Independent component analysis: algorithms and applications"; FastICA
    with the contrast log cosh, all sources at once. The whitened principal components of the training
    images are rotated so that the sources are as far from normal as possible. Sources are sorted by
    |E log cosh - E log cosh of N(0, 1)|, largest first; the largest weight of each is positive.

    Where the images have fewer than `dim` directions with any variance, the last sources are 0.
    """

    mean: Tensor
    weights: Tensor
    mixing: Tensor

    def __init__(self, input: Input, dim: int) -> None:
        super().__init__()
        self.input = input
        pixels = input.channels * input.size[0] * input.size[1]
        self.dims = {"code": min(dim, pixels)}
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("weights", torch.eye(pixels)[: min(dim, pixels)])
        self.register_buffer("mixing", torch.eye(pixels)[: min(dim, pixels)])

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        return {"code": (images.flatten(1) - self.mean) @ self.weights.T}

    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(code) of images (n, c, h, w): the reconstruction of PCA with this dimension."""
        return self.decode(self.taps(images)["code"])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, d) to images codes @ mixing + mean, (n, c, h, w), not clipped to [0, 1]."""
        flat = codes @ self.mixing + self.mean
        return flat.view(len(codes), self.input.channels, *self.input.size)

    def fit(
        self, images: Delivery, *, labels: Mapping[str, Array] | None, budget: int, seed: int
    ) -> FitReport:
        """Whitening from all `images`; the rotation from up to 60,000, starting from a random one.

        The notes say whether it converged (in 500 iterations), and the number of sources: of n images at
        most n - 1. Raises BenchError for fewer than two images, and where all images are equal.
        """
        n, dim = len(images), min(self.dims["code"], most_directions(images, "ica"))
        mean, _, variances, directions = principal(images, len(self.mean), dim)
        scales = deviations(variances, "ica").unsqueeze(1)
        directions = directions[: len(scales)]
        white = projections(images, mean, directions / scales, seed=seed)
        rotation, iterations = _rotation(white, generator(seed, "rotation"))
        sources = np.abs(white @ rotation.T)
        # log cosh, without overflow
        contrast = (sources + np.log1p(np.exp(-2 * sources)) - math.log(2)).mean(axis=0)
        order = np.argsort(-np.abs(contrast - _NORMAL), kind="stable")
        sorted_rotation = torch.from_numpy(rotation[order])
        weights = sorted_rotation @ (directions / scales)
        mixing = sorted_rotation @ (directions * scales)
        positive = upright(weights)
        mixing *= (positive * weights).sum(dim=1, keepdim=True).sign()
        self.mean.copy_(mean)
        self.weights.zero_()[: len(scales)] = positive
        self.mixing.zero_()[: len(scales)] = mixing
        return FitReport(
            images_seen=n,
            steps=iterations,
            terms={"from_normal": round(float(np.abs(contrast - _NORMAL).mean()), 6)},
            notes={"converged": iterations < _ITERATIONS, "sources": len(scales)},
        )


def _rotation(white: Array, rng: np.random.Generator) -> tuple[Array, int]:
    """The orthogonal matrix R (d, d) that makes white @ R.T the sources, and FastICA's iterations."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    dim = white.shape[1]
    fast = FastICA(
        whiten=False,
        fun="logcosh",
        w_init=rng.standard_normal((dim, dim)),
        max_iter=_ITERATIONS,
        tol=_TOLERANCE,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fast.fit(white)
    return fast.components_, int(fast.n_iter_)


def build(*, source: SourceInfo, dim: int = 64) -> ICA:
    """`dim` sources (at most the pixels) of images at their own size.

    Raises BenchError for a dimension below 1.
    """
    require_at_least(1, "ica", dim=dim)
    shape = Input(size=(source.height, source.width), channels=source.channels)
    return ICA(shape, dim)
