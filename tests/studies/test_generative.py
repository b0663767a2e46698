"""The measures of the generative study against closed forms, brute force and other libraries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from sklearn.decomposition import PCA
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.datasets.base import DataSets
from bench.encoders.classical.gmm import GMM
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.studies.base import Setting
from bench.studies.generative import generative
from bench.studies.generative._likelihood import Mixture, Principal, bounds, noise_variance
from bench.studies.parts import fits
from bench.studies.parts.samples import effective, sharpness, within

PIXELS, DIM = 9, 3


class Given(Delivery):
    """A delivery of images that are already there."""

    def __init__(self, images: Tensor) -> None:
        self.given = images

    def __len__(self) -> int:
        return len(self.given)

    def batches(self, size: int, **_: Any) -> Any:
        return iter(torch.split(self.given, size))


def correlated(n: int, *, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(n, DIM)) * [0.4, 0.3, 0.2] @ rng.normal(size=(DIM, PIXELS))
    x = 0.5 + low + 0.05 * rng.normal(size=(n, PIXELS))
    return torch.tensor(x, dtype=torch.float64).view(n, 1, 3, 3)


def test_the_exact_likelihood_is_that_of_scikit_learns_probabilistic_pca() -> None:
    images = correlated(200)
    model = Principal.of(Given(images), PIXELS, DIM)
    flat = images.flatten(1).numpy()
    expected = PCA(DIM, svd_solver="full").fit(flat).score_samples(flat)
    np.testing.assert_allclose(model.log_density(images), expected, rtol=1e-9)


def test_samples_of_ppca_have_the_covariance_of_what_it_keeps_without_noise() -> None:
    model = Principal.of(Given(correlated(200)), PIXELS, DIM)
    samples = model.sample(200_000, torch.Generator().manual_seed(0))
    expected = model.directions.T @ torch.diag(model.variances - model.residual) @ model.directions
    assert torch.allclose(torch.cov(samples.T), expected, atol=0.02 * float(expected.max()))
    flat = model.sample(5, torch.Generator().manual_seed(1))
    plane = (flat - model.mean) @ model.directions.T @ model.directions
    assert torch.allclose(plane, flat - model.mean)


def mixture() -> tuple[Mixture, Tensor]:
    images = torch.cat([correlated(100), correlated(100, seed=1) + 1])
    gmm = GMM(Input(size=(3, 3), channels=1), 2, DIM)
    gmm.fit(Given(images), labels=None, budget=len(images), seed=0)
    return Mixture.of(gmm, Given(images)), images


def dense(model: Mixture) -> tuple[Tensor, list[Any]]:
    """The mixture's weights, and its components as Gaussians over pixels."""
    gmm = model.encoder
    back = torch.linalg.pinv(gmm.directions)
    beside = torch.eye(PIXELS, dtype=torch.float64) - back @ gmm.directions
    logs = (gmm.precisions / (2 * math.pi)).log() - gmm.precisions * gmm.means.square()
    weights = (gmm.offsets - logs.sum(dim=1) / 2).exp()
    parts = [
        stats.multivariate_normal(
            gmm.mean + back @ mean,
            back @ torch.diag(1 / precision) @ back.T + model.residual * beside,
        )
        for mean, precision in zip(gmm.means, gmm.precisions, strict=True)
    ]
    return weights, parts


def test_the_mixtures_density_is_that_of_dense_gaussians_over_pixels() -> None:
    model, images = mixture()
    weights, parts = dense(model)
    assert float(weights.sum()) == pytest.approx(1)
    flat = images.flatten(1).numpy()
    expected = np.log(
        sum(w * part.pdf(flat) for w, part in zip(weights.numpy(), parts, strict=True))
    )
    np.testing.assert_allclose(model.log_density(images), expected, rtol=1e-8)


def test_samples_of_the_mixture_have_its_mean_and_lie_along_its_directions() -> None:
    model, _ = mixture()
    weights, parts = dense(model)
    expected = sum(w * part.mean for w, part in zip(weights.numpy(), parts, strict=True))
    samples = model.sample(100_000, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(samples.mean(dim=0), expected, atol=0.02)
    covariance = np.cov(samples.numpy().T)
    assert np.linalg.matrix_rank(covariance, tol=1e-9) == DIM


class Linear:
    """x = W z + m + noise of a variance, with the exact posterior, or one that is `off` by that."""

    def __init__(self, variance: float, off: float = 0.0) -> None:
        rng = np.random.default_rng(3)
        # Orthogonal columns: so the posterior's covariance is diagonal.
        basis = np.linalg.qr(rng.normal(size=(PIXELS, DIM)))[0]
        self.weights = torch.tensor(basis * [1.0, 0.7, 0.4])
        self.mean, self.variance, self.off = torch.full((PIXELS,), 0.5).double(), variance, off

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scales = self.weights.square().sum(dim=0) + self.variance
        mean = (images.flatten(1) - self.mean) @ self.weights / scales + self.off
        return mean, (self.variance / scales).log().expand_as(mean)

    def decode(self, codes: Tensor) -> Tensor:
        return (codes.double() @ self.weights.T + self.mean).view(len(codes), 1, 3, 3)

    def exact(self, images: Tensor) -> Any:
        covariance = self.weights @ self.weights.T + self.variance * torch.eye(PIXELS)
        return stats.multivariate_normal(self.mean, covariance).logpdf(images.flatten(1).numpy())


def test_with_the_exact_posterior_every_bound_is_the_likelihood() -> None:
    model, images = Linear(0.1), correlated(30)
    single, multiple = bounds(model, images, 0.1, 5, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(multiple, model.exact(images), rtol=1e-5)
    np.testing.assert_allclose(single, model.exact(images), rtol=1e-5)


def test_with_another_posterior_bounds_are_below_and_more_codes_come_closer() -> None:
    model, images = Linear(0.1, off=0.3), correlated(2000)
    exact = model.exact(images).mean()
    noise = torch.Generator().manual_seed(0)
    loose, tight = (bounds(model, images, 0.1, k, noise) for k in (2, 200))
    assert float(loose[0].mean()) < float(loose[1].mean()) < float(tight[1].mean())
    assert float(tight[1].mean()) < exact + 0.005  # but for what drawing codes leaves open
    gap = (0.3**2 / (2 * model.posterior(images)[1][0].exp())).sum()  # KL(q || p(z|x))
    assert exact - float(tight[0].mean()) == pytest.approx(float(gap), rel=0.02)
    assert exact - float(tight[1].mean()) < 0.2 * float(gap)


def test_the_noise_is_what_makes_the_evidence_bound_largest() -> None:
    model, images = Linear(0.1, off=0.05), correlated(60)

    def bound(variance: float) -> float:
        noise = torch.Generator().manual_seed(0)
        return float(bounds(model, images, variance, 400, noise)[0].mean())

    best = noise_variance(model, images.repeat(50, 1, 1, 1), torch.Generator().manual_seed(1))
    assert bound(best) > max(bound(0.9 * best), bound(1.1 * best))


def test_sharpness_is_the_variance_of_scipys_laplacian() -> None:
    images = np.random.default_rng(0).random((4, 3, 7, 9))
    expected = [
        np.mean([ndimage.laplace(channel)[1:-1, 1:-1].var() for channel in image])
        for image in images
    ]
    np.testing.assert_allclose(sharpness(torch.from_numpy(images)), expected)


def test_blur_lowers_sharpness_and_a_plane_has_none() -> None:
    images = np.random.default_rng(0).random((5, 1, 12, 12))
    blurred = ndimage.gaussian_filter(images, (0, 0, 1, 1))
    sharp, soft = (sharpness(torch.from_numpy(x)) for x in (images, blurred))
    assert bool((soft < sharp).all())
    ramp = torch.arange(36.0).view(1, 1, 6, 6)
    assert float(sharpness(ramp)) == pytest.approx(0, abs=1e-9)


def test_classes_count_as_many_as_are_equally_frequent() -> None:
    assert effective(torch.arange(30) % 5, 10) == pytest.approx(5)
    assert effective(torch.zeros(9, dtype=torch.long), 10) == pytest.approx(1)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_what_lies_in_a_manifold_is_as_brute_force_finds(neighbours: int) -> None:
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(40, 2)), 2 * rng.normal(size=(60, 2))
    count = 0
    for candidate in others:
        for i, point in enumerate(points):
            gaps = sorted(np.linalg.norm(point - q) for j, q in enumerate(points) if j != i)
            if np.linalg.norm(candidate - point) <= gaps[neighbours - 1]:
                count += 1
                break
    share = within(torch.from_numpy(points), torch.from_numpy(others), neighbours)
    assert 0 < share < 1 and share == pytest.approx(count / 60)


def test_codes_without_a_prior_are_mixed_number_by_number() -> None:
    codes = torch.arange(12.0).view(6, 2)

    class Toy(torch.nn.Module):
        def taps(self, images: Tensor) -> dict[str, Tensor]:
            return {"code": codes[: len(images)]}

        def decode(self, codes: Tensor) -> Tensor:
            return codes

    images = torch.zeros(6, 1, 2, 2)
    judge: Any = None
    bench = generative.SampleMeasures(images, images, judge, 2, images, 0)
    mixed = generative.latent_points(Toy(), bench)
    for column, values in enumerate(mixed.T):
        assert set(values.tolist()) <= set(codes[:, column].tolist())
    assert not all(row in codes.tolist() for row in mixed.tolist())


@pytest.mark.parametrize(("vae", "holds"), [(0.031, False), (0.06, True)])
def test_a_share_is_larger_where_its_interval_says_so(vae: float, holds: bool) -> None:
    assert generative.larger(vae, 0.027, 2000) is holds
    assert not generative.larger(0.027, vae, 2000)


@pytest.mark.slow
def test_the_study_runs_whole_on_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generative, "TASK", "digits-linear")
    monkeypatch.setattr(generative, "LATENT", 8)
    monkeypatch.setattr(generative, "MODELS", ("autoencoder", "vae", "vq_vae", "dfc_vae", "gan"))
    # Its feature network has a budget of its own, which would be the usual one.
    small = "dfc_vae,features=autoencoder%7E64~64"
    monkeypatch.setattr(
        fits, "resolve", lambda kind, text: resolve(kind, text.replace("dfc_vae~64", small))
    )
    setting = Setting(DataSets(Path("nowhere")), tmp_path)
    report = generative.run(setting=setting, budget="64", images=20)
    assert set(report.figures) == {"beta.svg", "samples.png", "reconstructions.png"}
    assert report.figures["samples.png"].startswith(b"\x89PNG")
    assert report.figures["beta.svg"].startswith(b"<svg")
    rows = {row["name"]: row for row in report.data["rows"]}
    assert rows["held-out images"]["sharpness_of_samples"] == pytest.approx(1)
    assert rows["held-out images"]["recall"] == 1
    assert rows["gan"]["log_likelihood"] is None and rows["vae"]["log_likelihood"] is not None
    assert len(report.data["claims"]) == 6
    with pytest.raises(BenchError, match="10 or more"):
        generative.run(setting=setting, images=9)
