"""Classes told by their likeness to seen ones: combined signatures (ConSE), and the nearest class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.solvers.class_statistics import ClassMoments, rows

__all__ = ["REVISION", "combined_signatures", "cosines", "nearest_class"]

REVISION = 1
"""Raised whenever an edit moves numbers."""
KNOWN_AS = "solvers/likeness"  # its key in the revisions of records

Array = npt.NDArray[Any]


def combined_signatures(probabilities: Array, signatures: Array, top: int) -> Array:
    """What a row is like, (n, a): the signatures (C, a) of its `top` most probable classes (all, where
    there are fewer), weighed by their probabilities (n, C), which are made to sum to 1 again.

    Norouzi et al. 2014, "Zero-shot learning by convex combination of semantic embeddings",
    arXiv:1312.5650. Raises BenchError for a `top` below 1.
    """
    if top < 1:
        raise BenchError(f"top={top}: the signatures of 1 or more classes are combined_signatures")
    weights = np.array(probabilities, np.float64)
    if top < weights.shape[1]:
        # Of equals the lower class, so that a row hangs on nothing but itself.
        order = np.argsort(-weights, axis=1, kind="stable")
        np.put_along_axis(weights, order[:, top:], 0.0, axis=1)
    found: Array = weights / weights.sum(axis=1, keepdims=True) @ rows(signatures, "signatures")
    return found


def cosines(a: Array, b: Array) -> Array:
    """Cosines (n, C) of rows (n, a) and (C, a), float64; 0 with a row of zeros."""

    def unit(values: Array) -> Array:
        values = rows(values, "signatures").astype(np.float64)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        found: Array = values / np.where(lengths > 0, lengths, 1)
        return found

    found: Array = unit(a) @ unit(b).T
    return found


def nearest_class(statistics: ClassMoments, x: Array) -> Array:
    """The class, by its place (n,), whose mean is nearest to features x (n, d); of equals the first."""
    means = statistics.means
    found: Array = (2 * rows(x) @ means.T - np.square(means).sum(axis=1)).argmax(axis=1)
    return found
