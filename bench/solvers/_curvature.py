"""The curvature of the mean cross-entropy class by class, from the rows that carry it."""

from __future__ import annotations

import torch
from torch import Tensor

REVISION = 1

_SHARE = 0.1  # of the rows, for each class
_PER_FEATURE = 3  # rows at least
_MIXED = 0.1  # of the covariance, for directions that the sampled rows do not span
# Of the rounding of the largest diagonal entry: so much added keeps a matrix positive definite.
_ROUNDING = 8


class ClassCurvature:
    """For each of k classes the Hessian (d + 1, d + 1) of the loss by its weights and bias,
    mean p_c (1 - p_c) x x^T with x = (features, 1), p_c the predicted probability.

    A tenth of the rows estimates it, sampled in proportion to p_c (1 - p_c) up to certainty and weighted
    by the inverse of their chance (Horvitz & Thompson 1952): few rows near a boundary carry most of it.
    """

    def __init__(self, x: Tensor, covariance: Tensor, p: Tensor) -> None:
        """From features (n, d), their covariance (d, d) and weights p_c (1 - p_c): (k, n)."""
        n, d = x.shape
        generator = torch.Generator().manual_seed(0)
        self._blocks = x.new_empty(len(p), d + 1, d + 1)
        for block, weights in zip(self._blocks, p, strict=True):
            chance = _chances(weights, sampled(n, d))
            offset = torch.rand(1, generator=generator, dtype=torch.float64)
            places = torch.cat([offset, offset + chance.double().cumsum(0)]).floor()
            rows = (places[1:] > places[:-1]).nonzero().flatten()
            share = weights[rows] / chance[rows] / n
            features = x.index_select(0, rows)
            weighted = features * share[:, None]
            # The bias apart: a product of d + 1 columns takes half as long again.
            block[:d, :d] = features.T @ weighted + _MIXED * weights.mean() * covariance
            block[d, :d] = block[:d, d] = weighted.sum(0)
            block[d, d] = share.sum()

    def factored(self, scale: Tensor, lam: float) -> Tensor | None:
        """Cholesky factors (k, d + 1, d + 1) of the Hessians by weights divided by scale (d,), with lambda
        added for each weight; None where rounding leaves them indefinite."""
        scale = torch.cat([scale, scale.new_ones(1)]).to(self._blocks)
        blocks = self._blocks * scale * scale[:, None]
        diagonal = blocks.diagonal(dim1=1, dim2=2)
        least = _ROUNDING * torch.finfo(blocks.dtype).eps * diagonal.amax(1, keepdim=True)
        diagonal += least
        diagonal[:, :-1] += lam
        factors, failed = torch.linalg.cholesky_ex(blocks)
        return None if bool(failed.any()) else factors


def sampled(n: int, d: int) -> int:
    """The number of rows sampled for each class, of n rows with d features."""
    return min(n, max(int(_SHARE * n), _PER_FEATURE * d))


def _chances(weights: Tensor, count: int) -> Tensor:
    """Chances (n,), at most 1, in proportion to weights (n,) where below 1, which sum to about count."""
    factor = count / weights.sum().clamp_min(1e-30)
    for _ in range(10):
        factor *= count / (factor * weights).clamp(max=1).sum().clamp_min(1e-30)
        factor = factor.clamp_max(1e30)
    return (factor * weights).clamp(1e-30, 1)
