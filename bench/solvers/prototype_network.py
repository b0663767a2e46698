"""A network from signatures to prototypes of features, its units standardised over classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.seeding import minibatches
from bench.solvers._checks import Array
from bench.solvers._descent import BATCH, checked_tensors, descend, layer, require_positive

REVISION = 1
KNOWN_AS = "solvers/embedding"  # its key in the revisions of records
_EPSILON = 1e-5
Moments = tuple[Tensor, Tensor]  # mean and variance over classes, (h,) each


@dataclass(frozen=True, slots=True, eq=False)
class PrototypeNetwork:
    """Weights and biases of three layers, and the moments over seen classes that standardise hidden
    units."""

    parameters: list[Tensor]
    moments: list[Moments]
    scale: float

    def prototypes(self, signatures: Array) -> Array:
        """Prototypes (C, d) of signatures (C, a), each a function of its own signature alone."""
        table = torch.from_numpy(np.ascontiguousarray(signatures, np.float32))
        prototypes: Array = _forward(self.parameters, table, self.moments)[0].numpy()
        return prototypes

    def scores(self, x: Array, signatures: Array) -> Array:
        """Logits (n, C), float32, of features (n, d): `scale` times cosines with prototypes."""
        features = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        prototypes = torch.from_numpy(self.prototypes(signatures))
        logits: Array = _logits(features, prototypes, self.scale).numpy()
        return logits


def train(
    x: Array,
    y: Array,
    signatures: Array,
    *,
    width: int,
    rate: float,
    scale: float,
    samples: int,
    seed: int,
    decay: float = 1e-4,
) -> PrototypeNetwork:
    """Fit prototypes of signatures (C, a) to features x (n, d) with places y (n,) in them, by
    cross-entropy of `scale` times cosines; two hidden layers of `width` units.

    Skorokhodov and Elhoseiny 2021 (arXiv:2006.11328), but that units are divided by their standard
    deviation (the authors' code divides by the variance), that prototypes may be negative, as centred
    features are, and that the moments kept are those of the seen classes once training has ended, which
    running ones approach. Raises BenchError for what does not fit (see `_descent`).
    """
    features, labels, table = checked_tensors(x, y, signatures)
    require_positive(width=width, scale=scale)
    dim, attributes = features.shape[1], table.shape[1]
    parameters = [
        *layer(seed, "embedding:1", attributes, width),
        *layer(seed, "embedding:2", width, width),
        # Standardised units then give prototypes of length near 1 (the paper's equation 10).
        *layer(seed, "embedding:3", width, dim, gain=1 / dim),
    ]

    def loss(rows: Tensor) -> Tensor:
        prototypes, _ = _forward(parameters, table)
        return functional.cross_entropy(_logits(features[rows], prototypes, scale), labels[rows])

    batches = minibatches(len(x), samples, BATCH, seed)
    descend(parameters, loss, batches, samples=samples, rate=rate, decay=decay)
    return PrototypeNetwork(parameters, _forward(parameters, table)[1], scale)


def _forward(
    parameters: list[Tensor], table: Tensor, moments: list[Moments] | None = None
) -> tuple[Tensor, list[Moments]]:
    """Prototypes (C, d) of signatures (C, a), and the moments used: those of these classes, or given."""
    w1, b1, w2, b2, w3, b3 = parameters
    # Signatures of length 1 have attributes near 1 once they are scaled.
    hidden = torch.relu(math.sqrt(table.shape[1]) * table @ w1 + b1)
    first, before = _standard(hidden @ w2 + b2, moments[0] if moments else None)
    second, after = _standard(torch.relu(first), moments[1] if moments else None)
    return second @ w3 + b3, [before, after]


def _standard(units: Tensor, moments: Moments | None) -> tuple[Tensor, Moments]:
    """(u - mean) / sqrt(variance + epsilon) of units u (C, h), moments over classes where none are
    passed."""
    mean, variance = moments or (units.mean(dim=0), units.var(dim=0, correction=0))
    return (units - mean) / (variance + _EPSILON).sqrt(), (mean, variance)


def _logits(x: Tensor, prototypes: Tensor, scale: float) -> Tensor:
    return scale * functional.normalize(x, dim=1) @ functional.normalize(prototypes, dim=1).T
