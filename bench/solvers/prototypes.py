"""Zero-shot prototypes in closed form: what a class's rows look like, regressed on its signature.

They learn from `ClassStatistics` of seen classes, and give scores for whatever signatures they are shown.
Penalties are shares of the mean eigenvalue of what they are added to; where they are given as arrays of
one shape, so are solutions and scores: (..., n, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.solvers.class_statistics import (
    ClassMoments,
    eigen,
    matched,
    penalties,
    products,
    rows,
    share,
)

__all__ = [
    "REVISION",
    "ClassGaussians",
    "GFZSLSolver",
    "LinearPrototypes",
    "RidgePrototypes",
    "linear_kernel",
    "quadratic_kernel",
]

REVISION = 2
"""Raised whenever an edit moves numbers."""

Array = npt.NDArray[Any]
Kernel = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True, eq=False)
class LinearPrototypes:
    """A linear map from signatures to class means, and the metric in which the nearest one counts."""

    weights: Array  # R (..., a, d)
    whitening: Array | None = None  # (..., d, d): multiplied to both; None: Euclidean

    def scores(self, x: Array, signatures: Array) -> Array:
        """Less squared distances (..., n, C) of features (n, d) from the prototypes of signatures (C, a),
        but for each row's own square, which compares no classes: so C rows alone are whitened."""
        centres = rows(signatures, "signatures") @ self.weights
        turned = centres
        if self.whitening is not None:
            turned = centres @ self.whitening @ self.whitening.swapaxes(-1, -2)
        own = (turned * centres).sum(axis=-1)
        result: Array = products(rows(x), 2 * turned) - own[..., None, :]
        return result


class RidgePrototypes:
    """Class means M regressed on signatures: R (a, d) minimises |S R - M|^2 + l |R|^2.

    The linear case of exemplar prediction (Changpinyo et al. 2017, arXiv:1605.08151), every class
    weighing alike. `lambdas` are shares of tr(S^T S) / a. There is no intercept: centre features
    (`ClassStatistics.mapped`) and signatures (`prepare`) where one is wanted.
    """

    def __init__(self, statistics: ClassMoments, signatures: Array) -> None:
        S = matched(statistics, signatures)
        self._values, self._turn = eigen(S.T @ S)
        self._core = self._turn.T @ S.T @ statistics.means
        self._spread, self._axes = eigen(statistics.within)

    def solve(
        self, lam: Array | float, *, shrinkage: Array | float | None = None
    ) -> LinearPrototypes:
        """The map at a penalty above 0.

        With `shrinkage`, above 0, distances are those after whitening by the covariance within classes
        plus that share of its mean variance: near 0 all directions count alike, at 100 it is nearly
        Euclidean.
        """
        alone = share(lam) * self._values.mean()
        weights = self._turn @ (self._core / (self._values[:, None] + alone))
        if shrinkage is None:
            return LinearPrototypes(weights)
        # Classes of one row each have no spread, and then all directions count alike.
        floor = share(shrinkage) * (self._spread.mean() or 1.0)
        return LinearPrototypes(weights, self._axes / np.sqrt(self._spread + floor))


def linear_kernel(a: Array, b: Array) -> Array:
    """Kernel (m, n) of signatures (m, a) and (n, a): their products."""
    found: Array = a @ b.T
    return found


def quadratic_kernel(a: Array, b: Array) -> Array:
    """Kernel (m, n) of signatures (m, a) and (n, a): (1 + product)^2, so pairs of attributes count."""
    found: Array = np.square(1 + a @ b.T)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class ClassGaussians:
    """Signatures to a Gaussian of features each, by kernels with those of the C seen classes."""

    seen: Array  # (C, a)
    kernel: Kernel
    means: Array  # (..., C, d): coefficients of the means
    logs: Array  # (..., C, d): coefficients of the log-variances
    offsets: tuple[Array, Array]  # (d,) each, what an infinite penalty leaves

    def moments(self, signatures: Array) -> tuple[Array, Array]:
        """Means (..., K, d) and variances (..., K, d) for signatures (K, a)."""
        likeness = self.kernel(rows(signatures, "signatures").astype(np.float64), self.seen)
        mean, log = self.offsets
        return likeness @ self.means + mean, np.exp(likeness @ self.logs + log)

    def scores(self, x: Array, signatures: Array) -> Array:
        """Log-densities (..., n, K) of features (n, d) under the Gaussian of each signature (K, a)."""
        means, variances = self.moments(signatures)
        precise, x = 1 / variances, rows(x).astype(np.float64)
        # About the middle of the means, so that less cancels.
        middle = means.reshape(-1, means.shape[-1]).mean(axis=0)
        x, means = x - middle, means - middle
        far = products(np.square(x), precise) - products(x, 2 * means * precise)
        own = (np.square(means) * precise + np.log(2 * np.pi * variances)).sum(axis=-1)
        found: Array = -(far + own[..., None, :]) / 2
        return found


class GFZSLSolver:
    """Generative framework for zero-shot learning (Verma and Rai 2017, arXiv:1707.08040).

    A class is a Gaussian without covariances; mean and log-variance are kernel ridge regressions on the
    signature, each about its average over the seen classes, and the largest density wins. Penalties are
    shares of the mean of the kernel's diagonal over the seen classes; `floor`, a share of the mean
    variance, is added to every variance, since few rows make variances of nothing.
    """

    def __init__(
        self,
        statistics: ClassMoments,
        signatures: Array,
        *,
        kernel: Kernel = quadratic_kernel,
        floor: float = 1e-3,
    ) -> None:
        self._seen, self._kernel = matched(statistics, signatures), kernel
        self._values, self._turn = eigen(kernel(self._seen, self._seen))
        variances = statistics.variances
        least = float(penalties(np.array([floor]))[0]) * (variances.mean() or 1.0)
        parts = statistics.means, np.log(variances + least)
        self._offsets = parts[0].mean(axis=0), parts[1].mean(axis=0)
        self._cores = [
            self._turn.T @ (part - offset)
            for part, offset in zip(parts, self._offsets, strict=True)
        ]

    def solve(self, lam: Array | float, spread: Array | float) -> ClassGaussians:
        """At a penalty of the means and one of the log-variances, both above 0."""
        means, logs = (
            self._turn @ (core / (self._values[:, None] + share(penalty) * self._values.mean()))
            for core, penalty in zip(self._cores, (lam, spread), strict=True)
        )
        return ClassGaussians(self._seen, self._kernel, means, logs, self._offsets)
