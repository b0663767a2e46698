"""Direct attribute prediction: one logistic regression per attribute; a class by its attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.solvers._checks import Array, penalty_grid
from bench.solvers.class_statistics import ClassMoments, checked_signatures, eigh_psd, finite_matrix

REVISION = 1
KNOWN_AS = "solvers/attributes"  # its key in the revisions of records

_CLIP = 1e-6  # the least distance of a probability from 0 and 1
_TILE = 1 << 18  # logits per tile: 1 MB of float32, still in cache for the second product


@dataclass(frozen=True, slots=True, eq=False)
class AttributeModel:
    """Log-odds of the a' attributes in which the seen classes differ; the others are left out."""

    selected: Array  # (a,) bool: the a' attributes
    thresholds: Array  # (a',): an attribute is present above it
    priors: Array  # (a',): the share of seen classes in which it is present
    weights: Array  # (d, a') float64, for features as given
    biases: Array  # (a',) float64
    bound: float  # nats: the largest distance of an attribute's objective from its optimum

    def logits(self, x: Array) -> Array:
        """Log-odds log p(a_m = 1 | x) - log p(a_m = 0 | x) of features (n, d): float64 (n, a')."""
        x = finite_matrix(x)
        logits: Array = (x @ self.weights.astype(x.dtype)).astype(np.float64) + self.biases
        return logits

    def bits(self, signatures: Array) -> Array:
        """Which attributes are present in signatures (C, a): bool (C, a')."""
        bits: Array = finite_matrix(signatures, "signatures")[:, self.selected] > self.thresholds
        return bits

    def scores(self, x: Array, signatures: Array) -> Array:
        """sum_m log p(a_m = s_cm | x) - log p(a_m = s_cm) (n, C), s_c the bits of class c's signature."""
        bits, logits = self.bits(signatures).astype(float), self.logits(x)
        limit = math.log(1 / _CLIP - 1)
        logits = logits.clip(-limit, limit)
        # The sum for bits of 0 alone, and what each bit of 1 adds to it.
        absent = -np.logaddexp(0, logits) - np.log1p(-self.priors)
        odds = logits - np.log(self.priors / (1 - self.priors))
        scores: Array = odds @ bits.T + absent.sum(axis=1, keepdims=True)
        return scores


class DAPSolver:
    """Lampert, Nickisch and Harmeling 2014, "Attribute-based classification for zero-shot visual object
    categorization": for every attribute m one logistic regression p(a_m | x), and for a class c the score
    sum_m log p(a_m = s_cm | x) - log p(a_m = s_cm).

    An attribute is present in a class whose value is above the mean over the seen classes. One that is
    present in all of them, or in none, is left out. Priors weight each seen class equally; probabilities
    are clipped to [1e-6, 1 - 1e-6].
    """

    def __init__(self, statistics: ClassMoments, x: Array, signatures: Array) -> None:
        """From features x (n, d), in any order, their `statistics` by class, and signatures (C, a) in the
        order of these classes. Raises BenchError where the classes differ in no attribute."""
        S = checked_signatures(statistics, signatures)
        # A value that equals the mean but for rounding is absent, whatever the order of summation.
        thresholds = S.mean(axis=0) + 1e-9 * np.ptp(S, axis=0)
        bits = thresholds < S
        self._selected = bits.any(axis=0) & ~bits.all(axis=0)
        if not self._selected.any():
            raise BenchError("no attribute is above its mean for some seen classes only")
        self._thresholds, bits = thresholds[self._selected], bits[:, self._selected]
        self._priors = bits.mean(axis=0).clip(_CLIP, 1 - _CLIP)
        # Attributes with equal or opposite bits in all seen classes are one regression, up to the sign.
        self._flipped = bits[0]
        distinct, place = np.unique(bits ^ self._flipped, axis=1, return_inverse=True)
        self._place = place.ravel()
        self._regressions = _LogisticRegressions(statistics, x, distinct)

    def solve(self, lam: float, *, gap: float = 1e-5, max_iterations: int = 2000) -> AttributeModel:
        """At a penalty above 0: for each attribute mean log-loss + lam / 2 |w|^2, the bias free, to within
        `gap` nats of its optimum, or as near as `max_iterations` come. scikit-learn's C is 1 / (lam n)."""
        lam = float(penalty_grid(np.array([lam]))[0])
        weights, biases, bound = self._regressions.solve(lam, gap, max_iterations)
        sign = np.where(self._flipped, -1.0, 1.0)
        return AttributeModel(
            self._selected, self._thresholds, self._priors,
            weights[:, self._place] * sign, biases[self._place] * sign, bound,
        )  # fmt: skip


class _LogisticRegressions:
    """m logistic regressions on the same rows, with one target for all rows of a class: bits (C, m).

    Accelerated gradient descent (Nesterov's; momentum restarts where it points uphill: O'Donoghue and
    Candes 2015, arXiv:1204.3982). The step is by the bound of Boehning and Lindsay 1988 on the Hessian,
    covariance / 4, which is diagonal in the eigenbasis of the features. No losses and no line search;
    regressions that have converged leave the batch.
    """

    def __init__(self, statistics: ClassMoments, x: Array, bits: Array) -> None:
        self._x = torch.from_numpy(np.ascontiguousarray(finite_matrix(x), np.float32))
        n = len(x)
        self._mean = statistics.mean
        covariance = statistics.gram / n - np.outer(self._mean, self._mean)
        self._values, self._basis = eigh_psd(covariance)
        self._positive = statistics.counts @ bits / n  # (m,) share of rows with target 1
        centred_sums = statistics.sums - statistics.counts[:, None] * self._mean
        self._target = bits.T.astype(float) @ centred_sums @ self._basis / n  # (m, d)

    def solve(self, lam: float, gap: float, max_iterations: int) -> tuple[Array, Array, float]:
        """Weights (d, m) and biases (m,) for the features as given, and the largest bound in nats."""
        m, d = self._target.shape
        curvature = np.append(self._values / 4 + lam, 0.25)
        log_odds = np.log(self._positive / (1 - self._positive))
        at = np.concatenate([np.zeros((m, d)), log_odds[:, None]], axis=1)
        best, bounds = at.copy(), np.full(m, np.inf)
        last, momentum, active = at.copy(), np.ones(m), np.arange(m)
        for _ in range(max_iterations):
            gradient = self._gradient(at, active)
            gradient[:, :d] += lam * at[:, :d]
            # objective - optimum <= |gradient_w|^2 / (2 lam) by strong convexity in w; the bias adds a
            # term of second order in its gradient.
            variance = self._positive[active] * (1 - self._positive[active])
            bound = (
                np.square(gradient[:, :d]).sum(axis=1) / (2 * lam) + gradient[:, d] ** 2 / variance
            )
            better = bound < bounds[active]
            best[active[better]], bounds[active[better]] = at[better], bound[better]
            go = bound > gap
            if not go.any():
                break
            at, last, gradient, momentum = at[go], last[go], gradient[go], momentum[go]
            active = active[go]
            new = at - gradient / curvature
            uphill = (gradient * (new - last)).sum(axis=1) > 0
            momentum[uphill] = 1.0
            next_momentum = (1 + np.sqrt(1 + 4 * np.square(momentum))) / 2
            at = new + ((momentum - 1) / next_momentum)[:, None] * (new - last)
            last, momentum = new, next_momentum
        weights = self._basis @ best[:, :d].T
        return weights, best[:, d] - self._mean @ weights, float(bounds.max())

    def _gradient(self, at: Array, active: Array) -> Array:
        """Gradients (l, d + 1) of the mean log-losses at points (l, d + 1) in the eigenbasis: one read of
        x, O(n d l)."""
        weights = at[:, :-1] @ self._basis.T
        flat = torch.from_numpy(weights.astype(np.float32))
        offset = torch.from_numpy((at[:, -1] - weights @ self._mean).astype(np.float32))
        total, gradient = torch.zeros(len(at), dtype=torch.float64), torch.zeros_like(flat)
        for rows in torch.split(self._x, max(64, min(1024, _TILE // len(at)))):
            p: Tensor = torch.addmm(offset, rows, flat.T).sigmoid_()
            total += p.sum(0, dtype=torch.float64)
            gradient.addmm_(p.T, rows)
        n, summed = len(self._x), total.numpy()
        centred = gradient.numpy().astype(np.float64) - summed[:, None] * self._mean
        of_weights = centred @ self._basis / n - self._target[active]
        of_bias = summed / n - self._positive[active]
        return np.concatenate([of_weights, of_bias[:, None]], axis=1)
