"""Importance-weighted autoencoder: a VAE with a tighter bound, from several codes of each image."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from bench.data.samples import Array, SourceInfo
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import Sizes
from bench.encoders.parts.variational import (
    Variational,
    VariationalObjective,
    divergence,
    drawn,
    posterior_noise,
    reconstruction,
)

REVISION = 1


def importance_bound(samples: int) -> VariationalObjective:
    """The objective of the negative bound with `samples` codes an image.

    It is computed as the evidence bound, its divergence in closed form, plus `tightening`. With one
    code it is the VAE. Its expectation is that of the bound in the paper, its variance smaller, since
    the mean of log p(z) - log q(z|x) is replaced by its expectation.
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
    """log p(x|z) (k, n) up to a constant, of images (n, ...) and k draws (k, n, ...), with the variance of
    `reconstruction`, held constant: at the maximum its derivative is 0."""
    squares = (rebuilt - images).square()
    variance = squares.detach().mean().clamp(min=1e-10)
    return -0.5 * squares.flatten(2).sum(dim=2) / variance


def log_ratios(codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log p(z) - log q(z|x) (k, n) of codes (k, n, d) and posteriors (n, d)."""
    standard = (codes - mean) * (-0.5 * log_variance).exp()
    return 0.5 * (standard.square() + log_variance - codes.square()).sum(dim=2)


def tightening(weights: Tensor) -> Tensor:
    """log(mean_k w) - mean_k(log w), (n,) in nats, of log-weights (k, n): the gain over the bound of one
    code. Never negative; 0 where all weights are equal."""
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
    """Maximises the log of the mean of importance weights p(x, z) / q(z|x), instead of the mean of the
    log: Burda, Grosse and Salakhutdinov 2016 (arXiv:1509.00519).

    samples: codes an image, 1 or more; with 1 it is `vae`. The budget counts images, not codes
    track, code, width, rate: as for `vae`, with the same errors

    Raises BenchError for fewer samples than 1.
    """
    sizes = Sizes(code, width, rate).checked("iwae")
    require_at_least(1, "iwae", samples=samples)
    return Variational(source, sizes, objective=importance_bound(samples))
