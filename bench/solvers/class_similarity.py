"""Unseen classes by their similarity to seen ones: combined signatures (ConSE), and the nearest class."""

from __future__ import annotations

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array
from bench.solvers.class_statistics import ClassMoments, finite_matrix, unit_rows

REVISION = 1
KNOWN_AS = "solvers/likeness"  # its key in the revisions of records


def combined_signatures(probabilities: Array, signatures: Array, top: int) -> Array:
    """A signature for each row, (n, a): the mean of the signatures (C, a) of its `top` most probable
    classes (all, where there are fewer), weighted by their probabilities (n, C).

    Norouzi et al. 2014, "Zero-shot learning by convex combination of semantic embeddings",
    arXiv:1312.5650. Raises BenchError for a `top` below 1.
    """
    if top < 1:
        raise BenchError(f"top={top}: the signatures of 1 or more classes are combined")
    weights = np.array(probabilities, np.float64)
    if top < weights.shape[1]:
        # Ties go to the lower class, so that a row depends on nothing but itself.
        order = np.argsort(-weights, axis=1, kind="stable")
        np.put_along_axis(weights, order[:, top:], 0.0, axis=1)
    weights = weights / weights.sum(axis=1, keepdims=True)
    combined: Array = weights @ finite_matrix(signatures, "signatures")
    return combined


def cosines(a: Array, b: Array) -> Array:
    """Cosines (n, C) of rows (n, a) with (C, a), float64; 0 with a row of zeros."""
    similarities: Array = (
        unit_rows(finite_matrix(a, "signatures")) @ unit_rows(finite_matrix(b, "signatures")).T
    )
    return similarities


def nearest_class(statistics: ClassMoments, x: Array) -> Array:
    """The place (n,) of the class whose mean is nearest to features x (n, d); ties go to the first."""
    means = statistics.means
    # -|x - m|^2 but for |x|^2, which is equal for all classes
    scores = 2 * finite_matrix(x) @ means.T - np.square(means).sum(axis=1)
    nearest: Array = scores.argmax(axis=1)
    return nearest
