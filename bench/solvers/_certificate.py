"""A bound on how far a softmax regression is above its optimum, in float64, by duality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.solvers._likelihood import Likelihood

REVISION = 1

_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A point in float64."""

    bias: Tensor  # (k,) float32: the best for these weights
    loss: float  # mean cross-entropy, nats
    objective: float  # loss + lambda / 2 * sum_j q_j |W_j|^2
    dual: float  # a lower bound on the optimum


class Certificate:
    """Lower bounds on optima of mean cross-entropy + lambda / 2 * sum_j q_j |W_j|^2, bias free.

    For any distributions p_i over the classes with mean p_i = the classes' shares (as the free bias asks),

        optimum >= mean entropy(p_i) - sum_j |G_j|^2 / (2 lambda q_j),  G = mean x_i (p_i - y_i)^T

    (Fenchel duality; Yu, Huang & Lin 2011, eq. 5). p is what a point predicts, with the best bias, mixed
    with the least share t of one distribution for all rows that makes the means exact. The bound holds
    for every objective, so that of float32 weights may use the p of the float64 weights they round.
    """

    def __init__(self, likelihood: Likelihood, prior: Tensor) -> None:
        self._likelihood, self._prior = likelihood, prior
        x, y = likelihood.x, likelihood.y
        total = torch.zeros(x.shape[1], dtype=torch.float64)
        sums = torch.zeros(likelihood.k, x.shape[1], dtype=torch.float64)
        for rows, labels in zip(torch.split(x, _ROWS), torch.split(y, _ROWS), strict=True):
            total += rows.sum(0, dtype=torch.float64)
            sums.index_add_(0, labels, rows.double())
        self._mean = total / len(x)
        self._zero = prior[:, None] * self._mean - sums / len(x)  # G of the classes' shares

    def evaluate(self, weights: Tensor, bias: Tensor, lam: float, factors: Tensor) -> Evaluation:
        """Of weights (k, d) and bias (k,), the bias first minimised by Newton's method."""
        tiles = torch.split(self._likelihood.x, _ROWS)
        y, n = self._likelihood.y, len(self._likelihood.x)
        weights = weights.double()
        logits = torch.cat([rows.double() @ weights.T for rows in tiles])
        logits -= logits.gather(1, y[:, None])
        bias = self._best_bias(logits, bias.double())
        rounded = bias.float()
        loss = (torch.logsumexp(logits + rounded, 1) - rounded.double()[y]).mean()
        logits += bias
        level = torch.logsumexp(logits, 1)
        p = (logits - level[:, None]).exp_()
        entropy = (level - (p * logits).sum(1)).mean()
        p.scatter_add_(1, y[:, None], -torch.ones_like(p[:, :1]))
        slope = torch.zeros_like(weights)
        for part, rows in zip(torch.split(p, _ROWS), tiles, strict=True):
            slope += part.T @ rows.double() / n
        shift = p.mean(0)
        self._likelihood.passes += 1
        t = (shift / (self._prior + shift)).amax().clamp(0, 1)
        slope = (1 - t) * (slope - shift[:, None] * self._mean) + t * self._zero
        dual = (1 - t) * entropy - (slope.square() / factors).sum() / (2 * lam)
        finite = factors.isfinite()
        norm = (weights.square() * torch.where(finite, factors, 0)).sum()
        return Evaluation(rounded, float(loss), float(loss + lam / 2 * norm), float(dual))

    def _best_bias(self, logits: Tensor, bias: Tensor) -> Tensor:
        """The bias (k,) of least loss for logits (n, k), from a start near it."""
        best, least = bias, torch.inf
        for _ in range(20):  # 5 iterations or fewer are usual
            p = torch.softmax(logits + bias, 1)
            shift = p.mean(0) - self._prior
            size = float(shift.abs().max())
            if not size < least:  # rounding, or too flat for Newton's method
                break
            best, least = bias, size
            if size < 1e-13:
                break
            # The added constant fills the null direction: the same bias for every class.
            hessian = torch.diag(p.mean(0)) - p.T @ p / len(p) + 1 / len(bias)
            move = torch.linalg.lstsq(hessian, shift[:, None]).solution[:, 0]
            bias = bias - move * min(1.0, 1 / max(float(move.abs().max()), 1e-30))
        return best
