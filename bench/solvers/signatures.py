"""Zero-shot maps in closed form between features and signatures: ESZSL, SAE, ridge to the signature.

They learn from `ClassStatistics` of seen classes and score classes by any signatures. No map has an
intercept: where one is needed, centre features (`ClassStatistics.mapped`) and signatures
(`prepare_signatures`). Penalties are shares of the mean eigenvalue of what they are added to, so that one
grid suits any number of rows, classes and features, and what is chosen on some classes holds for more of
them. Penalties may be arrays of one shape (...); solutions and scores then have it too: (..., n, C).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.solvers.class_statistics import (
    ClassMoments,
    ClassStatistics,
    eigen,
    matched,
    products,
    rows,
    share,
)

__all__ = [
    "REVISION",
    "AttributeRidge",
    "BilinearMap",
    "ClassStatistics",
    "ESZSLSolver",
    "Regressed",
    "SAEMap",
    "SAESolver",
    "prepare_signatures",
    "signature_coverage",
]

REVISION = 1
"""Raised whenever an edit moves numbers."""

Array = npt.NDArray[Any]


def prepare_signatures(
    signatures: Array, seen: Iterable[int], *, centre: bool = False, unit: bool = True
) -> tuple[Array, Array]:
    """Signatures (C, a) ready for use, float64, and where they were mended: bool (C, a).

    A missing value (NaN) becomes the mean of its attribute over the seen classes, `centre` subtracts
    that mean from all, `unit` scales rows to length 1 (rows of zeros stay). Nothing is learnt from
    classes that are not seen. Raises BenchError for infinite values, no seen class, and an attribute
    that no seen class has.
    """
    found, chosen = np.array(signatures, np.float64), sorted(set(seen))
    if found.ndim != 2 or not chosen or chosen[0] < 0 or chosen[-1] >= len(found):
        raise BenchError(
            f"signatures of shape {found.shape} with seen classes {chosen[:5]}: give (classes, "
            "attributes), and at least one of these classes"
        )
    if np.isinf(found).any():
        raise BenchError("a signature is infinite: give numbers, or NaN for what is not known")
    mended = np.isnan(found)
    known = ~mended[chosen]
    if not known.any(axis=0).all():
        lost = np.flatnonzero(~known.any(axis=0))[:5].tolist()
        raise BenchError(f"no seen class has a value of attributes {lost}: leave them out")
    mean = np.where(known, found[chosen], 0).sum(axis=0) / known.sum(axis=0)
    found = np.where(mended, mean, found)
    if centre:
        found = found - mean  # which filling gaps with it has not moved
    return (_unit(found) if unit else found), mended


def signature_coverage(
    signatures: Array, seen: Iterable[int], unseen: Iterable[int]
) -> float | None:
    """How much of what tells unseen classes apart the seen ones span, in [0, 1].

    The mean over pairs of unseen classes of |P (s - t)|^2 / |s - t|^2, with P the projector onto the seen
    signatures; None for fewer than two unseen classes, or where none differ.
    """
    S, new = signatures[sorted(set(seen))].astype(np.float64), sorted(set(unseen))
    _, lengths, axes = np.linalg.svd(S, full_matrices=False)
    axes = axes[lengths > 1e-9 * lengths.max()]
    shares = []
    for place, one in enumerate(new):
        for other in new[place + 1 :]:
            away = signatures[one].astype(np.float64) - signatures[other]
            if away.any():
                shares.append(float(np.square(axes @ away).sum() / np.square(away).sum()))
    return min(float(np.mean(shares)), 1.0) if shares else None


@dataclass(frozen=True, slots=True, eq=False)
class BilinearMap:
    """Compatibility x V s of features and signatures."""

    weights: Array  # V (..., d, a)

    def scores(self, x: Array, signatures: Array) -> Array:
        """(..., n, C) of features (n, d) and signatures (C, a)."""
        return products(rows(x), rows(signatures, "signatures") @ self.weights.swapaxes(-1, -2))


class ESZSLSolver:
    """An embarrassingly simple approach to zero-shot learning (Romera-Paredes and Torr 2015).

    V (d, a) minimises |X V S^T - Y|^2 + g |V S^T|^2 + l |X V|^2 + g l |V|^2, that is
    V = (X^T X + g)^-1 X^T Y S (S^T S + l)^-1. Y is 1 for a row's class and `negative_target` for the
    others: 0, or -1 as in the paper, which needs an intercept that the map has not. `gammas` are shares of
    tr(X^T X) / d, `lambdas` of tr(S^T S) / a; g and l stand for the penalties themselves. The largest
    product tells classes only where signatures are of one length.
    """

    def __init__(
        self, statistics: ClassMoments, signatures: Array, *, negative_target: float = 0.0
    ) -> None:
        S = matched(statistics, signatures)
        target = (1 - negative_target) * statistics.sums.T @ S
        target += negative_target * np.outer(statistics.sums.sum(axis=0), S.sum(axis=0))
        self._values, self._turn = eigen(statistics.gram)
        self._svalues, self._sturn = eigen(S.T @ S)
        self._core = self._turn.T @ target @ self._sturn

    def solve(self, gamma: Array | float, lam: Array | float) -> BilinearMap:
        """The map at a pair of penalties, above 0."""
        core = self._core / (self._values[:, None] + share(gamma) * self._values.mean())
        core = core / (self._svalues + share(lam) * self._svalues.mean())
        return BilinearMap(self._turn @ core @ self._sturn.T)


@dataclass(frozen=True, slots=True, eq=False)
class SAEMap:
    """A linear encoder from features to signatures whose transpose decodes."""

    weights: Array  # W (..., a, d)

    def encoded_scores(self, x: Array, signatures: Array) -> Array:
        """Cosines (..., n, C) of encoded features (n, d) with signatures (C, a)."""
        encoded = products(rows(x), self.weights)
        found: Array = _unit(encoded) @ _unit(rows(signatures, "signatures")).T
        return found

    def decoded_scores(self, x: Array, signatures: Array) -> Array:
        """Cosines (..., n, C) of features (n, d) with decoded signatures (C, a)."""
        decoded = rows(signatures, "signatures") @ self.weights
        return products(_unit(rows(x)), _unit(decoded))


class SAESolver:
    """The semantic autoencoder (Kodirov et al. 2017, arXiv:1704.08345).

    W (a, d) minimises |X - W^T s|^2 + l |W X - s|^2 over rows X and the signatures s of their classes:
    A W + l W B = (1 + l) C with A = s s^T, B = X^T X, C = s X, a Sylvester equation that the
    eigenvectors of A and B solve for every l. `lambdas` are in units of |s|^2 / |X|^2: other scales of
    features or signatures then only change the length of W, and no cosine. Where the equation does not
    determine W (fewer seen classes than attributes, and features that span less than d) it is the
    smallest.
    """

    def __init__(self, statistics: ClassMoments, signatures: Array) -> None:
        S = matched(statistics, signatures)
        self._svalues, self._sturn = eigen((S.T * statistics.counts) @ S)
        self._values, self._turn = eigen(statistics.gram)
        self._core = self._sturn.T @ (S.T @ statistics.sums) @ self._turn
        self._unit = self._svalues.sum() / self._values.sum()

    def solve(self, lam: Array | float) -> SAEMap:
        """The encoder at a penalty above 0."""
        scaled = share(lam) * self._unit
        divisor = self._svalues[:, None] + scaled * self._values
        largest = divisor.max(axis=(-1, -2), keepdims=True)
        kept = divisor > np.finfo(float).eps * len(self._values) * largest
        core = np.where(kept, (1 + scaled) * self._core / np.where(kept, divisor, 1), 0)
        return SAEMap(self._sturn @ core @ self._turn.T)


@dataclass(frozen=True, slots=True, eq=False)
class Regressed:
    """Features to signatures, told apart by their distance."""

    weights: Array  # (..., d, a)

    def scores(self, x: Array, signatures: Array) -> Array:
        """Less squared distances (..., n, C) of predicted from given signatures (C, a)."""
        given = rows(signatures, "signatures").astype(np.float64)
        guess = products(rows(x), self.weights.swapaxes(-1, -2))
        lengths = np.square(guess).sum(axis=-1, keepdims=True) + np.square(given).sum(axis=1)
        found: Array = 2 * guess @ given.T - lengths
        return found


class AttributeRidge:
    """Ridge regression of a row's signature on its features: W (d, a) minimises |X W - s|^2 + g |W|^2.

    `gammas` are shares of tr(X^T X) / d.
    """

    def __init__(self, statistics: ClassMoments, signatures: Array) -> None:
        S = matched(statistics, signatures)
        self._values, self._turn = eigen(statistics.gram)
        self._core = self._turn.T @ statistics.sums.T @ S

    def solve(self, gamma: Array | float) -> Regressed:
        """The map at a penalty above 0."""
        alone = share(gamma) * self._values.mean()
        return Regressed(self._turn @ (self._core / (self._values[:, None] + alone)))


def _unit(values: Array) -> Array:
    """Rows of length 1, float64; those of zeros stay."""
    values = values.astype(np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    found: Array = values / np.where(lengths > 0, lengths, 1)
    return found
