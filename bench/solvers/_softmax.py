"""The mean cross-entropy of softmax regression, in the eigenbasis of the features' covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.solvers._checks import Array, require_labelled_rows

REVISION = 1

_TILE = 1 << 18  # logits per tile: 1 MB of float32, still in cache for the second product
_TILE_ROWS = 1024  # at most: a quarter faster than 4,096 on narrow products, as measured


@dataclass(slots=True)
class SoftmaxValue:
    """Mean cross-entropy at l points, in nats (l,), |W|^2 (l,) and the gradient (l, k, d + 1) of the
    former, for centred features."""

    loss: Tensor
    norm: Tensor
    slope: Tensor

    def take(self, rows: Tensor) -> SoftmaxValue:
        return SoftmaxValue(self.loss[rows], self.norm[rows], self.slope[rows])

    def put(self, rows: Tensor, new: SoftmaxValue) -> None:
        self.loss[rows], self.norm[rows], self.slope[rows] = new.loss, new.norm, new.slope


class Softmax:
    """The loss of labels y (n,) given features x (n, d), and its gradient, at l points at once.

    A point is (k, d + 1): weights in the eigenbasis of the covariance, then the bias for centred features;
    k counts the classes that have rows. `passes` counts reads of all rows for one point. Raises BenchError
    for features that are not finite and labels outside 0 .. classes - 1."""

    def __init__(self, x: Array, y: Array, classes: int) -> None:
        require_labelled_rows(x, y, classes)
        self.classes = classes
        self.n, self.d = x.shape
        present, inner = np.unique(y, return_inverse=True)
        self.present = present
        self.k = len(present)
        self.x = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        self.y = torch.from_numpy(inner.astype(np.int64))
        self.prior = torch.bincount(self.y, minlength=self.k).double() / self.n
        self.passes = 0.0
        self._setup()
        zero = self.x.new_zeros(1, self.k, self.d + 1)
        # Gradient (1, k, d) of the loss at zero weights and the bias that fits the class shares.
        zero[..., -1] = self.prior.log()
        self.zero = self.evaluate(zero).slope[..., :-1].double()

    def _setup(self) -> None:
        """Mean (d,), eigenbasis (d, d) and eigenvalues (d + 1,) of the features' covariance."""
        total = self.x.new_zeros(self.d, dtype=torch.float64)
        for rows in torch.split(self.x, 4096):
            total += rows.sum(0, dtype=torch.float64)
        self.mean = (total / self.n).float()
        gram = self.x.new_zeros(self.d, self.d)
        for rows in torch.split(self.x, 4096):
            centred = rows - self.mean
            gram.addmm_(centred.T, centred)
        values, self.basis = torch.linalg.eigh(gram / self.n)
        # The optimal weight of a constant column is 0; rounding error / lambda would not be.
        self.basis[gram.diagonal() == 0] = 0
        # Smaller eigenvalues are rounding in float32. The floor scales steps and not the objective.
        floor = max(float(values[-1]) * 1e-7, 1e-12)
        self.scale = torch.cat([values.clamp_min(floor), values.new_ones(1)])

    def outer(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (l, k, d) and biases (l, k) for the features as given."""
        weights = at[..., :-1] @ self.basis.T
        shifted: Tensor = at[..., -1] - weights @ self.mean
        return weights, shifted

    def evaluate(self, at: Tensor) -> SoftmaxValue:
        """Loss and gradient at l points (l, k, d + 1): one read of the features for all, O(l n k d)."""
        weights, biases = self.outer(at)
        loss, slope, shift = self._read(weights, biases)
        slope = (slope - shift[..., None] * self.mean) @ self.basis
        norm = at[..., :-1].double().square().sum((1, 2))
        return SoftmaxValue(loss, norm, torch.cat([slope, shift[..., None]], 2))

    def _read(self, weights: Tensor, biases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (l,) float64 and its gradients by weights (l, k, d) and biases (l, k), for features as
        given."""
        size, k, d = weights.shape
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
            level = torch.logsumexp(z, 1)
            loss += (level - z[:, labels, at]).sum(1, dtype=torch.float64)
            z.sub_(level[:, None]).exp_()
            z[:, labels, at] -= 1
            shift += z.sum(2, dtype=torch.float64)
            slope.addmm_(z.view(size * k, -1), rows)
        self.passes += size
        return loss / self.n, slope.view(size, k, d) / self.n, (shift / self.n).float()

    def bound(self, at: Tensor, value: SoftmaxValue, lam: Tensor) -> Tensor:
        """Duality gap (l,) of l points with a feasible dual: a bound on objective - optimum.

        The dual point is (1 - t) p + t q, p the predicted probabilities and q one distribution for
        all rows, with the least t that gives every class its share of rows, as the free bias asks.
        """
        weights, slope = at[..., :-1].double(), value.slope[..., :-1].double()
        bias, shift = at[..., -1].double(), value.slope[..., -1].double()
        shift = shift - shift.mean(1, keepdim=True)
        t = (shift / (self.prior + shift)).amax(1).clamp(0, 1)[:, None, None]
        residual = (1 - t) * slope + t * self.zero + lam[:, None, None] * weights
        mixed = t[:, 0, 0] * (value.loss - (weights * self.zero).sum((1, 2)))
        bias_term = (1 - t[:, 0, 0]) * (bias * shift).sum(1)
        gap: Tensor = residual.square().sum((1, 2)) / (2 * lam) + mixed.clamp_min(0) + bias_term
        return gap.clamp_min(0)

    def certify(self, weights: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, SoftmaxValue]:
        """In float64, with the bias minimised by Newton's method: point, bias (k,) for features as given,
        value, of float32 weights (k, d) for features as given."""
        weights, mean = weights.double(), self.mean.double()
        offset = (bias.double() + weights @ mean)[:, None]
        tiles = torch.split(self.x, 1024)
        logits = torch.cat([weights @ (rows.double() - mean).T for rows in tiles], 1)
        for _ in range(20):  # Newton's method; 5 iterations or fewer are usual
            p = torch.softmax(logits + offset, 0)
            shift = p.mean(1, keepdim=True) - self.prior[:, None]
            if float(shift.abs().max()) < 1e-12:
                break
            # The added constant fills the null direction: the same bias for every class.
            curvature = torch.diag(p.mean(1)) - p @ p.T / self.n + 1 / self.k
            move = torch.linalg.solve(curvature, shift)
            offset = offset - move * min(1.0, 1 / float(move.abs().max()))
        bias = (offset[:, 0] - weights @ mean).float()
        offset = (bias.double() + weights @ mean)[:, None]
        z, index = logits + offset, torch.arange(self.n)
        level = torch.logsumexp(z, 0)
        loss = (level - z[self.y, index]).mean()
        z.sub_(level).exp_()
        z[self.y, index] -= 1
        slope = torch.zeros_like(weights)
        for part, rows in zip(torch.split(z, 1024, 1), tiles, strict=True):
            slope += part @ (rows.double() - mean) / self.n
        self.passes += 1
        at = torch.cat([weights, offset], 1)[None]
        slope = torch.cat([slope, z.mean(1, keepdim=True)], 1)[None]
        return at, bias, SoftmaxValue(loss[None], weights.square().sum()[None], slope)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot products (l, 1, 1) of points (l, k, d + 1)."""
    return (a * b).sum((1, 2), keepdim=True)


def penalty_curvature(lam: Tensor, d: int) -> Tensor:
    """Second derivative (l, 1, d + 1) of lambda / 2 |W|^2 by each coordinate: lambda, and 0 for the
    bias."""
    curvature = lam.float()[:, None, None].expand(-1, 1, d + 1).clone()
    curvature[..., -1] = 0
    return curvature
