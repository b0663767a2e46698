"""A conditional variational autoencoder of features given their class's signature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.seeding import minibatches, torch_generator
from bench.solvers._checks import Array
from bench.solvers._descent import BATCH, checked_tensors, descend, layer, require_positive

REVISION = 1
KNOWN_AS = "solvers/conditional"  # its key in the revisions of records
_FLOOR = 1e-6  # of a variance, where features have one of about 1
_PART = 4096  # rows at a time, where no gradient is needed


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL (n,) in nats from N(0, 1) to a diagonal normal, mean and log-variance (n, z)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def negative_elbo(parameters: list[Tensor], x: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """- ELBO in nats per row of features x (n, d) with signatures s (n, a); noise (n, z).

    The likelihood is normal, and the variance of each feature the best for these rows (Rybkin et al.
    2021, arXiv:2006.13202): constants aside, half the log of its mean squared error.
    """
    mean, log_variance = _encode(parameters, x, s)
    z = mean + noise * (0.5 * log_variance).exp()
    errors = (x - _decode(parameters, z, s)).square().mean(dim=0)
    return 0.5 * (errors + _FLOOR).log().sum() + kl_divergence(mean, log_variance).mean()


@dataclass(frozen=True, slots=True, eq=False)
class ConditionalVAE:
    """Weights and biases of q(z | x, s) and p(x | z, s), and each feature's standard deviation
    about the mean of the latter."""

    parameters: list[Tensor]
    spread: Tensor  # (d,), of scaled features
    latent: int

    def draw(self, signatures: Array, per_class: int, seed: int) -> tuple[Array, Array]:
        """Features (C * per_class, d), float32, of signatures (C, a), and their places (C * per_class,):
        z from N(0, 1), then x from p(x | z, s).

        Raises BenchError for less than one a class.
        """
        if per_class < 1:
            raise BenchError(f"per_class={per_class}: must be 1 or more")
        source, d = torch_generator(seed, "conditional:draw"), len(self.spread)
        drawn = np.empty((len(signatures), per_class, d), np.float32)
        for of_class, s in zip(drawn, _scaled(signatures), strict=True):
            z = torch.randn(per_class, self.latent, generator=source)
            x = _decode(self.parameters, z, s.expand(per_class, -1))
            x = x + self.spread * torch.randn(per_class, d, generator=source)
            of_class[:] = x.numpy() / math.sqrt(d)
        return drawn.reshape(-1, d), np.repeat(np.arange(len(signatures)), per_class)


def train(
    x: Array,
    y: Array,
    signatures: Array,
    *,
    latent: int,
    width: int,
    samples: int,
    seed: int,
    rate: float = 1e-3,
    decay: float = 0.0,
) -> ConditionalVAE:
    """Fit to features x (n, d), mean squared length about 1, with places y (n,) in signatures (C, a) of
    length 1; encoder and decoder have a hidden layer of `width` units each. Weights shrink by the share
    rate * `decay` at every step: few classes do not determine the output of a network at a new signature;
    smaller weights make it vary less.

    Sohn et al. 2015 ("Learning structured output representation using deep conditional generative
    models"), on features as Mishra et al. 2018 (arXiv:1709.00663). Raises BenchError for what does not
    fit (see `_descent`).
    """
    features, labels, _ = checked_tensors(x, y, signatures)
    require_positive(width=width, latent=latent)
    features, table = features * math.sqrt(features.shape[1]), _scaled(signatures)
    d, a = features.shape[1], table.shape[1]
    parameters = [
        *layer(seed, "conditional:encoder", d + a, width),
        *layer(seed, "conditional:code", width, 2 * latent, gain=0.1),  # the posterior starts wide
        *layer(seed, "conditional:decoder", latent + a, width),
        *layer(seed, "conditional:features", width, d, gain=1.0),
    ]
    source = torch_generator(seed, "conditional:noise")

    def loss(rows: Tensor) -> Tensor:
        noise = torch.randn(len(rows), latent, generator=source)
        return negative_elbo(parameters, features[rows], table[labels[rows]], noise)

    batches = minibatches(len(x), samples, BATCH, seed)
    descend(parameters, loss, batches, samples=samples, rate=rate, decay=decay)
    total, source = torch.zeros(d, dtype=torch.float64), torch_generator(seed, "conditional:spread")
    for start in range(0, len(x), _PART):
        rows, places = features[start : start + _PART], labels[start : start + _PART]
        mean, log_variance = _encode(parameters, rows, table[places])
        z = mean + torch.randn(mean.shape, generator=source) * (0.5 * log_variance).exp()
        error = rows - _decode(parameters, z, table[places])
        total += error.double().square().sum(dim=0)
    return ConditionalVAE(parameters, (total / len(x)).sqrt().float(), latent)


def _scaled(signatures: Array) -> Tensor:
    """Signatures (C, a) of length 1 with attributes near 1."""
    table = torch.from_numpy(np.ascontiguousarray(signatures, np.float32))
    return math.sqrt(table.shape[1]) * table


def _encode(parameters: list[Tensor], x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance (n, z) of q(z | x, s)."""
    w1, b1, w2, b2 = parameters[:4]
    hidden = torch.relu(torch.cat([x, s], dim=1) @ w1 + b1)
    mean, log_variance = (hidden @ w2 + b2).chunk(2, dim=1)
    return mean, log_variance.clamp(-10, 10)


def _decode(parameters: list[Tensor], z: Tensor, s: Tensor) -> Tensor:
    """Mean (n, d) of p(x | z, s)."""
    w1, b1, w2, b2 = parameters[4:]
    return torch.relu(torch.cat([z, s], dim=1) @ w1 + b1) @ w2 + b2
