"""The linear VAE, whose optimum is probabilistic PCA in closed form (Lucas et al. 2019)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from bench.encoders.parts.variational import divergence, reconstruction


def correlated(count: int = 400, *, pixels: int = 6) -> Tensor:
    """Centred data (n, pixels) in float64 with variances of their own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, pixels)) * [3, 2, 1, 0.7, 0.5, 0.4] @ rng.normal(size=(pixels, 6))
    return torch.from_numpy(x - x.mean(axis=0))


def principal(x: Tensor, code: int) -> tuple[Tensor, float, float]:
    """Loadings (pixels, code), noise variance, and mean log p(x) of probabilistic PCA at its most
    likely. Tipping and Bishop 1999."""
    covariance = (x.T @ x / len(x)).numpy()
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = float(values[code:].mean())
    loadings = vectors[:, :code] * np.sqrt(values[:code] - noise)
    whole = loadings @ loadings.T + noise * np.eye(len(values))
    likelihood = stats.multivariate_normal.logpdf(x.numpy(), cov=whole).mean()
    return torch.from_numpy(loadings), noise, float(likelihood)


def linear_loss(x: Tensor, decoder: Tensor, encoder: Tensor, log_variance: Tensor) -> float:
    """The project's two terms for z ~ N(x encoder, diag exp(log_variance)), mean image z decoder^T.

    The expectation is exact: the squares of 2d points, sqrt(d) deviations off the mean along each
    axis, have the mean of the whole posterior's."""
    d = len(log_variance)
    mean = x @ encoder
    axes = (d * log_variance.exp()).sqrt().diag()
    points = mean + torch.cat([axes, -axes])[:, None]  # (2d, n, d)
    nats = divergence(mean, log_variance.expand_as(mean)).sum(dim=1).mean()
    return float(reconstruction(x, points @ decoder.T) + nats)


def best_posterior(loadings: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """The linear map and the diagonal log-variance nearest to p(z|x), for any loadings."""
    precision = loadings.T @ loadings + noise * torch.eye(loadings.shape[1]).double()
    return loadings @ precision.inverse(), (noise / precision.diagonal()).log()


def test_the_linear_bound_is_log_p_of_probabilistic_pca_at_its_optimum() -> None:
    x = correlated()
    loadings, noise, likelihood = principal(x, 2)
    loss = linear_loss(x, loadings, *best_posterior(loadings, noise))
    assert loss == pytest.approx(-likelihood, abs=1e-10)


def test_the_linear_bound_is_never_above_that_optimum() -> None:
    x = correlated()
    loadings, noise, likelihood = principal(x, 2)
    generator = torch.Generator().manual_seed(0)
    best = loadings, *best_posterior(loadings, noise)
    for size in (0.01, 0.1, 1.0, 1.0, 1.0):
        moved = [p + size * torch.randn(p.shape, generator=generator).double() for p in best]
        assert linear_loss(x, *moved) > -likelihood


def test_the_optimum_has_the_principal_axes_as_columns_and_not_their_span_alone() -> None:
    # The same p(x), but a posterior that no diagonal fits (Lucas et al. 2019, arXiv:1911.02469).
    x = correlated()
    loadings, noise, likelihood = principal(x, 2)
    angle = torch.tensor(0.6).double()
    turn = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    turned = loadings @ turn
    torch.testing.assert_close(turned @ turned.T, loadings @ loadings.T)
    assert linear_loss(x, turned, *best_posterior(turned, noise)) > -likelihood + 0.01
    swapped = loadings[:, [1, 0]] * torch.tensor([1, -1])
    loss = linear_loss(x, swapped, *best_posterior(swapped, noise))
    assert loss == pytest.approx(-likelihood, abs=1e-10)
