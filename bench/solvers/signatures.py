"""Zero-shot maps between features and signatures in closed form: ESZSL and the semantic autoencoder.

They learn from the `ClassStatistics` of seen classes and score classes by any signatures. No map has an
intercept: where one is needed, centre features (`ClassStatistics.mapped`) and signatures
(`prepare_signatures`). Penalties are shares of the mean eigenvalue of the matrix to which they are added,
so that one grid suits any number of rows, classes and features, and a choice made on some classes holds
for more of them. Penalties may be arrays of one shape (...); solutions and scores have it too: (..., n,
C)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array
from bench.solvers.class_statistics import (
    ClassMoments,
    broadcast_penalties,
    checked_signatures,
    eigh_psd,
    finite_matrix,
    products,
    unit_rows,
)

REVISION = 1


def prepare_signatures(
    signatures: Array, seen: Iterable[int], *, centre: bool = False, unit: bool = True
) -> tuple[Array, Array]:
    """Signatures (C, a) ready for use, float64, and where a missing value was filled in: bool (C, a).

    A missing value (NaN) becomes the mean of its attribute over the seen classes, `centre` subtracts
    that mean from all, `unit` scales rows to length 1 (rows of zeros stay). Nothing is learnt from
    classes that are not seen. Raises BenchError for infinite values, no seen class, and an attribute
    that no seen class has.
    """
    table, seen_classes = np.array(signatures, np.float64), sorted(set(seen))
    if table.ndim != 2 or not seen_classes or seen_classes[0] < 0 or seen_classes[-1] >= len(table):
        raise BenchError(
            f"signatures of shape {table.shape} with seen classes {seen_classes[:5]}: give (classes, "
            "attributes), and at least one of these classes"
        )
    if np.isinf(table).any():
        raise BenchError("a signature is infinite: give numbers, or NaN for a missing value")
    missing = np.isnan(table)
    present = ~missing[seen_classes]
    if not present.any(axis=0).all():
        empty = np.flatnonzero(~present.any(axis=0))[:5].tolist()
        raise BenchError(f"no seen class has a value of attributes {empty}: leave them out")
    mean = np.where(present, table[seen_classes], 0).sum(axis=0) / present.sum(axis=0)
    table = np.where(missing, mean, table)
    if centre:
        table = table - mean  # filling gaps with the mean has not moved it
    return (unit_rows(table) if unit else table), missing


def signature_coverage(
    signatures: Array, seen: Iterable[int], unseen: Iterable[int]
) -> float | None:
    """How much of the differences between unseen classes the seen signatures span, in [0, 1].

    The mean over pairs (s, t) of unseen signatures of |P (s - t)|^2 / |s - t|^2, with P the projector onto
    the span of the seen ones; None for fewer than two unseen classes, or where none differ.
    """
    S = signatures[sorted(set(seen))].astype(np.float64)
    _, singular_values, axes = np.linalg.svd(S, full_matrices=False)
    axes = axes[singular_values > 1e-9 * singular_values.max()]
    shares = []
    for first, second in combinations(sorted(set(unseen)), 2):
        difference = signatures[first].astype(np.float64) - signatures[second]
        if difference.any():
            shares.append(float(np.square(axes @ difference).sum() / np.square(difference).sum()))
    return min(float(np.mean(shares)), 1.0) if shares else None


@dataclass(frozen=True, slots=True, eq=False)
class BilinearMap:
    """The bilinear compatibility x^T V s of features x and signatures s."""

    weights: Array  # V (..., d, a)

    def scores(self, x: Array, signatures: Array) -> Array:
        """X V S^T (..., n, C) of features X (n, d) and signatures S (C, a)."""
        table = finite_matrix(signatures, "signatures")
        return products(finite_matrix(x), table @ self.weights.swapaxes(-1, -2))


class ESZSLSolver:
    """An embarrassingly simple approach to zero-shot learning (Romera-Paredes and Torr 2015).

    V (d, a) minimises |X V S^T - Y|^2 + g |V S^T|^2 + l |X V|^2 + g l |V|^2, that is
    V = (X^T X + g I)^-1 X^T Y S (S^T S + l I)^-1. Y (n, C) is 1 for a row's class and `negative_target`
    for the others: 0, or -1 as in the paper, which needs an intercept that this map lacks. g is `gamma`
    times tr(X^T X) / d, l is `lam` times tr(S^T S) / a. The largest product is the nearest signature only
    where signatures have one length.
    """

    def __init__(
        self, statistics: ClassMoments, signatures: Array, *, negative_target: float = 0.0
    ) -> None:
        S = checked_signatures(statistics, signatures)
        target = (1 - negative_target) * statistics.sums.T @ S  # X^T Y S
        target += negative_target * np.outer(statistics.sums.sum(axis=0), S.sum(axis=0))
        self._x_values, self._x_vectors = eigh_psd(statistics.gram)
        self._s_values, self._s_vectors = eigh_psd(S.T @ S)
        self._core = self._x_vectors.T @ target @ self._s_vectors

    def solve(self, gamma: Array | float, lam: Array | float) -> BilinearMap:
        """The map at penalties above 0."""
        x_penalty = broadcast_penalties(gamma) * self._x_values.mean()
        s_penalty = broadcast_penalties(lam) * self._s_values.mean()
        core = self._core / (self._x_values[:, None] + x_penalty) / (self._s_values + s_penalty)
        return BilinearMap(self._x_vectors @ core @ self._s_vectors.T)


@dataclass(frozen=True, slots=True, eq=False)
class SAEMap:
    """A linear encoder from features to signatures whose transpose decodes."""

    weights: Array  # W (..., a, d)

    def encoded_scores(self, x: Array, signatures: Array) -> Array:
        """Cosines (..., n, C) of encoded features (n, d) with signatures (C, a)."""
        encoded = products(finite_matrix(x), self.weights)
        cosines: Array = unit_rows(encoded) @ unit_rows(finite_matrix(signatures, "signatures")).T
        return cosines

    def decoded_scores(self, x: Array, signatures: Array) -> Array:
        """Cosines (..., n, C) of features (n, d) with decoded signatures (C, a)."""
        decoded = finite_matrix(signatures, "signatures") @ self.weights
        return products(unit_rows(finite_matrix(x)), unit_rows(decoded))


class SAESolver:
    """The semantic autoencoder (Kodirov et al. 2017, arXiv:1704.08345).

    W (a, d) minimises the sum over rows x with signature s of |x - W^T s|^2 + l |W x - s|^2: the Sylvester
    equation A W + l W B = (1 + l) C with A = sum s s^T, B = sum x x^T, C = sum s x^T. With the
    eigenvectors of A and B it is solved for every l at once. l is `lam` times tr(A) / tr(B): other scales
    of features or signatures then change the length of W and no cosine. Where the equation does not
    determine W (fewer seen classes than attributes, and features that span less than d) it is the
    minimum-norm solution."""

    def __init__(self, statistics: ClassMoments, signatures: Array) -> None:
        S = checked_signatures(statistics, signatures)
        self._s_values, self._s_vectors = eigh_psd((S.T * statistics.counts) @ S)
        self._x_values, self._x_vectors = eigh_psd(statistics.gram)
        self._core = self._s_vectors.T @ (S.T @ statistics.sums) @ self._x_vectors
        self._scale = self._s_values.sum() / self._x_values.sum()

    def solve(self, lam: Array | float) -> SAEMap:
        """The encoder at a penalty above 0."""
        penalty = broadcast_penalties(lam) * self._scale
        divisor = self._s_values[:, None] + penalty * self._x_values
        largest = divisor.max(axis=(-1, -2), keepdims=True)
        nonzero = divisor > np.finfo(float).eps * len(self._x_values) * largest
        core = np.where(nonzero, (1 + penalty) * self._core / np.where(nonzero, divisor, 1), 0)
        return SAEMap(self._s_vectors @ core @ self._x_vectors.T)
