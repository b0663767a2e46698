"""Direct attribute prediction: a logistic regression an attribute, whose yes and no tell classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.solvers.class_statistics import ClassMoments, eigen, matched, penalties, rows

__all__ = ["REVISION", "AttributeModel", "DAPSolver"]

REVISION = 1
"""Raised whenever an edit moves numbers."""
KNOWN_AS = "solvers/attributes"  # its key in the revisions of records

Array = npt.NDArray[Any]

_CLIP = 1e-6  # probabilities are no closer to 0 and 1
_TILE = 1 << 18  # logits per tile: 1 MB of float32, still in cache for the second product


@dataclass(frozen=True, slots=True, eq=False)
class AttributeModel:
    """Which attributes a row shows, of the a' that tell seen classes apart; the others are left out."""

    kept: Array  # (a,) bool
    thresholds: Array  # (a',): what lies above counts as yes
    priors: Array  # (a',): the share of seen classes that say yes
    weights: Array  # (d, a') float64, for features as given
    biases: Array  # (a',) float64
    bound: float  # nats: no attribute's objective is farther than this from its optimum

    def logits(self, x: Array) -> Array:
        """log p(yes) - log p(no) of features (n, d): float64 (n, a')."""
        x = rows(x)
        found: Array = (x @ self.weights.astype(x.dtype)).astype(np.float64) + self.biases
        return found

    def bits(self, signatures: Array) -> Array:
        """Signatures (C, a) as yes and no: bool (C, a')."""
        found: Array = rows(signatures, "signatures")[:, self.kept] > self.thresholds
        return found

    def scores(self, x: Array, signatures: Array) -> Array:
        """(n, C): the sum over attributes of log p(s | x) - log p(s), s what a class's signature says."""
        bits, logits = self.bits(signatures).astype(float), self.logits(x)
        edge = math.log(1 / _CLIP - 1)
        logits = logits.clip(-edge, edge)
        no = -np.logaddexp(0, logits) - np.log1p(-self.priors)
        odds = logits - np.log(self.priors / (1 - self.priors))
        found: Array = odds @ bits.T + no.sum(axis=1, keepdims=True)
        return found


class DAPSolver:
    """Lampert, Nickisch and Harmeling 2014, "Attribute-based classification for zero-shot visual object
    categorization": of every attribute m one logistic regression p(a_m | x), and for a class c the score
    sum_m log p(a_m = s_cm | x) - log p(a_m = s_cm).

    An attribute is a yes where it is above its mean over the seen classes. What is a yes, or a no, for all
    of them is left out. Priors weigh each seen class alike; all probabilities stay 1e-6 away from 0 and 1.
    """

    def __init__(self, statistics: ClassMoments, x: Array, signatures: Array) -> None:
        """Of features x (n, d), in any order, whose `statistics` by class are in the order of signatures
        (C, a). Raises BenchError where no attribute tells the classes apart."""
        S = matched(statistics, signatures)
        # What equals the mean but for rounding is a no, whatever the order of the sum.
        thresholds = S.mean(axis=0) + 1e-9 * np.ptp(S, axis=0)
        bits = thresholds < S
        self._kept = bits.any(axis=0) & ~bits.all(axis=0)
        if not self._kept.any():
            raise BenchError("no attribute is above its mean for some seen classes only")
        self._thresholds, bits = thresholds[self._kept], bits[:, self._kept]
        self._priors = bits.mean(axis=0).clip(_CLIP, 1 - _CLIP)
        # AttributeModel that part the seen classes alike, or the other way round, are one problem.
        self._turned = bits[0]
        distinct, place = np.unique(bits ^ self._turned, axis=1, return_inverse=True)
        self._place = place.ravel()
        self._problem = _Logistic(statistics, x, distinct)

    def solve(self, lam: float, *, gap: float = 1e-5, max_iterations: int = 2000) -> AttributeModel:
        """At a penalty above 0: for each attribute mean log-loss + lam / 2 |w|^2, the bias free, to within
        `gap` nats of its optimum, or as near as `max_iterations` come. scikit-learn's C is 1 / (lam n)."""
        lam = float(penalties(np.array([lam]))[0])
        weights, biases, bound = self._problem.solve(lam, gap, max_iterations)
        sign = np.where(self._turned, -1.0, 1.0)
        return AttributeModel(
            self._kept, self._thresholds, self._priors,
            weights[:, self._place] * sign, biases[self._place] * sign, bound,
        )  # fmt: skip


class _Logistic:
    """Logistic regressions on the same rows, whose answers (C, m) are those of their classes.

    Accelerated descent (Nesterov's, begun anew where it turns uphill: O'Donoghue and Candes 2015,
    arXiv:1204.3982) with the bound of Boehning and Lindsay 1988: no curvature is above a quarter of the
    features' covariance, which is a diagonal in its eigenbasis. No losses, no line search; a regression
    that is done leaves.
    """

    def __init__(self, statistics: ClassMoments, x: Array, answers: Array) -> None:
        self._x = torch.from_numpy(np.ascontiguousarray(rows(x), np.float32))
        n = len(x)
        self._mean = statistics.mean
        covariance = statistics.gram / n - np.outer(self._mean, self._mean)
        self._values, self._turn = eigen(covariance)
        self._share = statistics.counts @ answers / n  # (m,) of rows that say yes
        moved = statistics.sums - statistics.counts[:, None] * self._mean
        self._target = answers.T.astype(float) @ moved @ self._turn / n  # (m, d)

    def solve(self, lam: float, gap: float, most: int) -> tuple[Array, Array, float]:
        """Weights (d, m) and biases (m,) for the features as given, and the largest bound."""
        m, d = self._target.shape
        steep = np.append(self._values / 4 + lam, 0.25)
        start = np.log(self._share / (1 - self._share))
        at = np.concatenate([np.zeros((m, d)), start[:, None]], axis=1)
        found, bounds = at.copy(), np.full(m, np.inf)
        last, momentum, active = at.copy(), np.ones(m), np.arange(m)
        for _ in range(most):
            slope = self._slope(at, active)
            slope[:, :d] += lam * at[:, :d]
            # Strong convexity in w; that of the bias itself is second order in its slope.
            spread = self._share[active] * (1 - self._share[active])
            bound = np.square(slope[:, :d]).sum(axis=1) / (2 * lam) + slope[:, d] ** 2 / spread
            better = bound < bounds[active]
            found[active[better]], bounds[active[better]] = at[better], bound[better]
            go = bound > gap
            if not go.any():
                break
            at, last, slope, momentum = at[go], last[go], slope[go], momentum[go]
            active = active[go]
            new = at - slope / steep
            uphill = (slope * (new - last)).sum(axis=1) > 0
            momentum[uphill] = 1.0
            after = (1 + np.sqrt(1 + 4 * np.square(momentum))) / 2
            at = new + ((momentum - 1) / after)[:, None] * (new - last)
            last, momentum = new, after
        weights = self._turn @ found[:, :d].T
        return weights, found[:, d] - self._mean @ weights, float(bounds.max())

    def _slope(self, at: Array, active: Array) -> Array:
        """The mean log-losses' slopes (l, d + 1) at points (l, d + 1) in the eigenbasis: one read of x."""
        weights = at[:, :-1] @ self._turn.T
        flat = torch.from_numpy(weights.astype(np.float32))
        offset = torch.from_numpy((at[:, -1] - weights @ self._mean).astype(np.float32))
        total, slope = torch.zeros(len(at), dtype=torch.float64), torch.zeros_like(flat)
        for part in torch.split(self._x, max(64, min(1024, _TILE // len(at)))):
            p: Tensor = torch.addmm(offset, part, flat.T).sigmoid_()
            total += p.sum(0, dtype=torch.float64)
            slope.addmm_(p.T, part)
        n, summed = len(self._x), total.numpy()
        moved = slope.numpy().astype(np.float64) - summed[:, None] * self._mean
        own = moved @ self._turn / n - self._target[active]
        return np.concatenate([own, (summed / n - self._share[active])[:, None]], axis=1)
