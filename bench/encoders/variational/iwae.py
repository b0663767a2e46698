"""Importance-weighted autoencoder: a tighter bound, by several codes of each image."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy.typing as npt
from torch import Tensor

from bench.data.samples import SourceInfo
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import check_sizes
from bench.encoders.parts.variational import (
    Objective,
    Variational,
    divergence,
    drawn,
    posterior_noise,
    reconstruction,
)
from bench.errors import BenchError

REVISION = 1

Array = npt.NDArray[Any]


def importance_bound(samples: int) -> Objective:
    """The negative bound of `samples` codes an image: an objective.

    It is the evidence bound of those codes, its divergence in closed form, less what weighing them
    adds. So one code is the VAE itself; with more the mean is that of the bound as printed, at less
    variance, since only the mean of log p(z) - log q(z|x) is replaced, by its expectation.
    """

    def objective(model: Variational, seed: int) -> Loss:
        noise = posterior_noise(model, seed)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            mean, log_variance = model.posterior(batch)
            codes = drawn(mean.expand(samples, -1, -1), log_variance, noise)
            rebuilt = model.decode(codes.flatten(0, 1)).view(samples, *batch.shape)
            weights = log_likelihoods(batch, rebuilt) + log_ratios(codes, mean, log_variance)
            return {
                "reconstruction": reconstruction(batch, rebuilt),
                "divergence": divergence(mean, log_variance).sum(dim=1).mean(),
                "tightening": -tightening(weights).mean(),
            }

        return loss

    return objective


def log_likelihoods(images: Tensor, rebuilt: Tensor) -> Tensor:
    """log p(x|z) (k, n) but for a constant, of images (n, ...) and k draws (k, n, ...), under the
    variance of `reconstruction`. It is held, as a parameter at its best: there it has no slope."""
    squares = (rebuilt - images).square()
    variance = squares.detach().mean().clamp(min=1e-10)
    return -0.5 * squares.flatten(2).sum(dim=2) / variance


def log_ratios(codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log p(z) - log q(z|x) (k, n) of codes (k, n, d) and posteriors (n, d)."""
    standard = (codes - mean) * (-0.5 * log_variance).exp()
    return 0.5 * (standard.square() + log_variance - codes.square()).sum(dim=2)


def tightening(weights: Tensor) -> Tensor:
    """What k importance weights, logarithms (k, n), add to the bound of one: log of the mean less mean
    of the log, in nats an image (n,); 0 where they are all alike, never negative."""
    return weights.logsumexp(dim=0) - math.log(len(weights)) - weights.mean(dim=0)


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    code: int = 64,
    width: int = 16,
    samples: int = 5,
    rate: float = 4e-3,
) -> Variational:
    """log of the mean of `samples` importance weights p(x, z) / q(z|x) of each image, instead of the
    mean of the log: Burda, Grosse and Salakhutdinov 2016 (arXiv:1509.00519). samples=1 is `vae`.

    The same likelihood and sizes, and Adam's `rate`. The budget counts images, not codes. Raises
    BenchError for fewer samples than 1, a code below 1, a width that is no multiple of 8.
    """
    check_sizes("iwae", code, width, rate)
    if samples < 1:
        raise BenchError(f"iwae,samples={samples}: 1 or more are wanted")
    return Variational(
        source, code=code, width=width, rate=rate, objective=importance_bound(samples)
    )
