"""The mean cross-entropy of softmax regression and its gradient, at many points in one read of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

REVISION = 1

_TILE = 1 << 18  # logits a tile: 1 MB of float32, still in cache for the second product
_TILE_ROWS = 1024  # at most: a quarter faster than 4,096 on narrow products, as measured


@dataclass(slots=True)
class Value:
    """Mean cross-entropy (l,) in nats, float64, at l points, and its gradient (l, k, r + 1): by the
    coordinates of the weights, then by the bias."""

    loss: Tensor
    slope: Tensor

    def take(self, points: Tensor) -> Value:
        return Value(self.loss[points], self.slope[points])

    def put(self, points: Tensor, new: Value) -> None:
        self.loss[points], self.slope[points] = new.loss, new.slope


class Likelihood:
    """Labels y (n,) given features x (n, d), both tensors; k classes, each with rows.

    `passes` counts reads of all rows for one point (both products).
    """

    def __init__(self, x: Tensor, y: Tensor, k: int) -> None:
        self.x, self.y, self.k = x, y, k
        self.passes = 0.0

    def read(self, weights: Tensor, biases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (l,) float64 and its gradients (l, k, d) and (l, k) at weights (l, k, d) and biases (l, k):
        one read for all, O(l n k d)."""
        size, k, d = weights.shape
        n = len(self.x)
        flat, offset = weights.reshape(size * k, d), biases.reshape(size * k, 1)
        loss = weights.new_zeros(size, dtype=torch.float64)
        slope = weights.new_zeros(size * k, d)
        shift = weights.new_zeros(size, k, dtype=torch.float64)
        tile = max(64, min(_TILE_ROWS, _TILE // (size * k)))
        index = torch.arange(tile)
        for rows, labels in zip(torch.split(self.x, tile), torch.split(self.y, tile), strict=True):
            at = index[: len(rows)]
            # (l, k, tile): sums over classes run along rows held contiguously.
            z = torch.addmm(offset, flat, rows.T).view(size, k, -1)
            # Subtracting the greatest logit first keeps losses far below 1 exact.
            z -= z.amax(1, keepdim=True)
            loss -= z[:, labels, at].sum(1, dtype=torch.float64)
            total = z.exp_().sum(1)
            loss += total.log().sum(1, dtype=torch.float64)
            z /= total[:, None]
            z[:, labels, at] -= 1
            shift += z.sum(2, dtype=torch.float64)
            slope.addmm_(z.view(size * k, -1), rows)
        self.passes += size
        return loss / n, slope.view(size, k, d) / n, (shift / n).to(weights.dtype)

    def spread(self, weights: Tensor, biases: Tensor) -> Tensor:
        """p_c (1 - p_c) of every class and row (k, n), p predicted at weights (l, k, d) and biases (l, k),
        averaged over the l points."""
        size, k, d = weights.shape
        flat, offset = weights.reshape(size * k, d), biases.reshape(size * k, 1)
        parts = []
        for rows in torch.split(self.x, _TILE_ROWS):
            p = torch.softmax(torch.addmm(offset, flat, rows.T).view(size, k, -1), 1)
            parts.append((p * (1 - p)).mean(0))
        self.passes += size / 2
        return torch.cat(parts, 1)
