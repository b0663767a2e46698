"""Zero-shot prototypes in closed form: statistics of a class's rows, regressed on its signature.

They learn from the `ClassStatistics` of seen classes and score classes by any signatures. Penalties are
shares of the mean eigenvalue of the matrix to which they are added. They may be arrays of one shape (...);
solutions and scores have it too: (..., n, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.solvers._checks import Array, penalty_grid
from bench.solvers.class_statistics import (
    ClassMoments,
    broadcast_penalties,
    checked_signatures,
    eigh_psd,
    finite_matrix,
    products,
)

REVISION = 2
Kernel = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True, eq=False)
class LinearPrototypes:
    """A linear map from signatures to class means, and the metric in which the nearest mean wins."""

    weights: Array  # R (..., a, d)
    whitening: Array | None = None  # T (..., d, d), distances are |(x - m) T|; None: Euclidean

    def scores(self, x: Array, signatures: Array) -> Array:
        """2 x T T^T m - |m T|^2 (..., n, C) of features x (n, d) and prototypes m of signatures (C, a):
        minus the squared distance but for |x T|^2, which is equal for all classes. So only C rows are
        whitened."""
        means = finite_matrix(signatures, "signatures") @ self.weights
        whitened = means
        if self.whitening is not None:
            whitened = means @ self.whitening @ self.whitening.swapaxes(-1, -2)
        squares = (whitened * means).sum(axis=-1)
        scores: Array = products(finite_matrix(x), 2 * whitened) - squares[..., None, :]
        return scores


class RidgePrototypes:
    """Class means M (C, d) regressed on signatures S: R (a, d) minimises |S R - M|^2 + l |R|^2.

    The linear case of exemplar prediction (Changpinyo et al. 2017, arXiv:1605.08151), with equal weight
    for every class. l is `lam` times tr(S^T S) / a. There is no intercept: where one is needed, centre
    features (`ClassStatistics.mapped`) and signatures (`prepare_signatures`)."""

    def __init__(self, statistics: ClassMoments, signatures: Array) -> None:
        S = checked_signatures(statistics, signatures)
        self._values, self._vectors = eigh_psd(S.T @ S)
        self._core = self._vectors.T @ S.T @ statistics.means
        self._within_values, self._within_axes = eigh_psd(statistics.within)

    def solve(
        self, lam: Array | float, *, shrinkage: Array | float | None = None
    ) -> LinearPrototypes:
        """The map at a penalty above 0.

        With `shrinkage`, above 0, distances are taken after whitening by the within-class covariance plus
        that share of its mean variance: near 0 all directions have equal weight, at 100 the distance is
        nearly Euclidean.
        """
        penalty = broadcast_penalties(lam) * self._values.mean()
        weights = self._vectors @ (self._core / (self._values[:, None] + penalty))
        if shrinkage is None:
            return LinearPrototypes(weights)
        # Classes of one row each have no within-class variance: then all directions have equal weight.
        floor = broadcast_penalties(shrinkage) * (self._within_values.mean() or 1.0)
        return LinearPrototypes(weights, self._within_axes / np.sqrt(self._within_values + floor))


def quadratic_kernel(a: Array, b: Array) -> Array:
    """(1 + a b^T)^2 (m, n) of signatures (m, a) and (n, a): pairs of attributes enter."""
    kernel: Array = np.square(1 + a @ b.T)
    return kernel


@dataclass(frozen=True, slots=True, eq=False)
class ClassGaussians:
    """A diagonal Gaussian of features for each signature, by kernels with those of the C seen classes."""

    seen_signatures: Array  # (C, a)
    kernel: Kernel
    mean_weights: Array  # (..., C, d)
    log_variance_weights: Array  # (..., C, d)
    offsets: tuple[Array, Array]  # (d,) each: mean and log-variance at an infinite penalty

    def moments(self, signatures: Array) -> tuple[Array, Array]:
        """Means (..., K, d) and variances (..., K, d) for signatures (K, a)."""
        table = finite_matrix(signatures, "signatures").astype(np.float64)
        kernel = self.kernel(table, self.seen_signatures)
        mean, log_variance = self.offsets
        return kernel @ self.mean_weights + mean, np.exp(
            kernel @ self.log_variance_weights + log_variance
        )

    def scores(self, x: Array, signatures: Array) -> Array:
        """Log-densities (..., n, K) in nats of features (n, d) under the Gaussian of each signature (K,
        a)."""
        means, variances = self.moments(signatures)
        precisions, x = 1 / variances, finite_matrix(x).astype(np.float64)
        # Centred at the mean of the means, which loses fewer digits in the differences below.
        centre = means.reshape(-1, means.shape[-1]).mean(axis=0)
        x, means = x - centre, means - centre
        # sum (x - m)^2 / v = sum x^2 / v - 2 x m / v + m^2 / v
        by_row = products(np.square(x), precisions) - products(x, 2 * means * precisions)
        by_class = (np.square(means) * precisions + np.log(2 * np.pi * variances)).sum(axis=-1)
        scores: Array = -(by_row + by_class[..., None, :]) / 2
        return scores


class GFZSLSolver:
    """Generative framework for zero-shot learning (Verma and Rai 2017, arXiv:1707.08040).

    A class is a Gaussian with diagonal covariance; mean and log-variance are kernel ridge regressions on
    the signature, each about its average over the seen classes, and the largest density wins. Penalties
    are shares of tr(K) / C, K (C, C) the kernel matrix of the seen classes; `floor`, a share of the mean
    variance, is added to every variance, since few rows may have a variance of 0."""

    def __init__(
        self,
        statistics: ClassMoments,
        signatures: Array,
        *,
        kernel: Kernel = quadratic_kernel,
        floor: float = 1e-3,
    ) -> None:
        self._signatures, self._kernel = checked_signatures(statistics, signatures), kernel
        self._values, self._vectors = eigh_psd(kernel(self._signatures, self._signatures))
        variances = statistics.variances
        least = float(penalty_grid(np.array([floor]))[0]) * (variances.mean() or 1.0)
        targets = statistics.means, np.log(variances + least)
        self._offsets = targets[0].mean(axis=0), targets[1].mean(axis=0)
        self._cores = [
            self._vectors.T @ (target - offset)
            for target, offset in zip(targets, self._offsets, strict=True)
        ]

    def solve(self, lam: Array | float, spread: Array | float) -> ClassGaussians:
        """At a penalty `lam` of the means and `spread` of the log-variances, both above 0."""
        mean_weights, log_variance_weights = (
            self._vectors
            @ (core / (self._values[:, None] + broadcast_penalties(share) * self._values.mean()))
            for core, share in zip(self._cores, (lam, spread), strict=True)
        )
        return ClassGaussians(
            self._signatures, self._kernel, mean_weights, log_variance_weights, self._offsets
        )
