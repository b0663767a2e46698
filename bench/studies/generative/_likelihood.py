"""How probable held-out images are: exactly, or as a bound, always as a density over the same pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.encoders.classical.gmm import GMM
from bench.encoders.parts.principal import principal
from bench.encoders.parts.variational import drawn
from bench.encoders.variational.iwae import log_ratios, tightening

_CHUNK = 100  # images a pass, of which each has many codes


@dataclass(frozen=True, slots=True, eq=False)
class Principal:
    """Probabilistic PCA: N(mean, W W' + s^2 I), at its most likely parameters.

    Tipping and Bishop 1999, "Probabilistic principal component analysis". `variances` (d,) are the
    largest eigenvalues of the covariance, `directions` (d, p) their eigenvectors, s^2 = `residual` the
    mean of the other eigenvalues.
    """

    mean: Tensor
    variances: Tensor
    directions: Tensor
    residual: float

    @classmethod
    def of(cls, images: Delivery, pixels: int, dim: int) -> Principal:
        mean, total, variances, directions = principal(images, pixels, dim)
        return cls(mean, variances, directions, float(total - variances.sum()) / (pixels - dim))

    def log_density(self, images: Tensor) -> Tensor:
        """log p (n,) in nats of images (n, ...), float64."""
        flat = images.flatten(1).double() - self.mean
        along = flat @ self.directions.T
        inside = along.square() / self.variances + (2 * math.pi * self.variances).log()
        return _orthogonal(flat, along, self.residual) - 0.5 * inside.sum(dim=1)

    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """The mean images (count, p) of latent numbers from N(0, I)."""
        latent = torch.randn(count, len(self.variances), generator=noise, dtype=torch.float64)
        return self.mean + latent * self._signal().sqrt() @ self.directions

    def reconstruct(self, images: Tensor) -> Tensor:
        """Mean images (n, p) of the posterior's mean."""
        along = (images.flatten(1).double() - self.mean) @ self.directions.T
        return self.mean + along * (self._signal() / self.variances) @ self.directions

    def _signal(self) -> Tensor:
        """The variances of W z: those of the images less the noise."""
        return (self.variances - self.residual).clamp(min=0)


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The encoder `gmm` as a density over pixels: its mixture along its directions, and orthogonal to them
    N(0, s^2 I), s^2 = `residual` the mean variance there of the images that it was fitted on."""

    encoder: GMM
    residual: float

    @classmethod
    def of(cls, encoder: GMM, images: Delivery) -> Mixture:
        squares, count = 0.0, 0
        for batch in images.batches(4096):
            flat, along = _split(encoder, batch)
            squares += float(flat.square().sum() - along.square().sum())
            count += len(batch) * (flat.shape[1] - along.shape[1])
        return cls(encoder, squares / count)

    def log_density(self, images: Tensor) -> Tensor:
        """log p (n,) in nats of images (n, c, h, w), float64."""
        flat, along = _split(self.encoder, images)
        white = self.encoder.joint(self.encoder.whitened(images)).logsumexp(dim=1)
        stretch = _whitening(self.encoder).norm(dim=1).log().sum()
        density: Tensor = _orthogonal(flat, along, self.residual) + white + stretch
        return density

    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Images (count, p) of the mixture, without the orthogonal noise."""
        white = _whitening(self.encoder)
        rank = len(white)
        means, precisions = self.encoder.means[:, :rank], self.encoder.precisions[:, :rank]
        logs = (precisions / (2 * math.pi)).log() - precisions * means.square()
        shares = (self.encoder.offsets - logs.sum(dim=1) / 2).softmax(dim=0)
        chosen = torch.multinomial(shares, count, replacement=True, generator=noise)
        standard = torch.randn(count, rank, generator=noise, dtype=torch.float64)
        codes = means[chosen] + standard / precisions[chosen].sqrt()
        images: Tensor = self.encoder.mean + (codes / white.square().sum(dim=1)) @ white
        return images


def _whitening(encoder: GMM) -> Tensor:
    """The directions along which its images vary, longer where they vary less: (r, p)."""
    return encoder.directions[encoder.directions.norm(dim=1) > 0]


def _split(encoder: GMM, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images less the mean (n, p), and their coordinates along the directions (n, r)."""
    flat = images.flatten(1).double() - encoder.mean
    white = _whitening(encoder)
    return flat, flat @ (white / white.norm(dim=1, keepdim=True)).T


def _orthogonal(flat: Tensor, along: Tensor, variance: float) -> Tensor:
    """log N(0, variance I) (n,) of the part of rows (n, p) that is orthogonal to d directions, with their
    coordinates (n, d) along these."""
    squares = (flat.square().sum(dim=1) - along.square().sum(dim=1)).clamp(min=0)
    dims = flat.shape[1] - along.shape[1]
    return -0.5 * (dims * math.log(2 * math.pi * variance) + squares / variance)


class Posterior(Protocol):
    """A model with q(z|x), and the mean image of a code."""

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]: ...

    def decode(self, codes: Tensor) -> Tensor: ...


@torch.inference_mode()
def noise_variance(model: Posterior, images: Tensor, noise: torch.Generator) -> float:
    """The variance of p(x|z) that makes the evidence bound of images (n, ...) largest: their mean
    squared error under codes drawn from the posterior."""
    errors = [
        (model.decode(drawn(*model.posterior(batch), noise)) - batch).square().flatten()
        for batch in torch.split(images, _CHUNK)
    ]
    return float(torch.cat(errors).double().mean())


@torch.inference_mode()
def bounds(
    model: Posterior, images: Tensor, variance: float, samples: int, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Lower bounds of log p(x) (n,), in nats: the evidence bound, by the mean of `samples` codes, and
    the importance-weighted bound of all of them (Burda et al. 2016, arXiv:1509.00519).

    p(x|z) = N(decode(z), variance I), the prior N(0, I).
    """
    pixels, parts = images[0].numel(), []
    for batch in torch.split(images, _CHUNK):
        mean, log_variance = model.posterior(batch)
        codes = drawn(mean.expand(samples, -1, -1), log_variance, noise)
        rebuilt = torch.stack([model.decode(code) for code in codes])
        squares = (rebuilt - batch).double().square().flatten(2).sum(dim=2)
        constant = pixels * math.log(2 * math.pi * variance)
        weights = -0.5 * (constant + squares / variance) + log_ratios(codes, mean, log_variance)
        parts.append(torch.stack([weights.mean(dim=0), weights.mean(dim=0) + tightening(weights)]))
    single, many = torch.cat(parts, dim=1)
    return single, many
