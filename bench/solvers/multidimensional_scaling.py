"""Classical multidimensional scaling: points in the plane from their distances."""

from __future__ import annotations

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array


def classical_scaling(squared: Array, dims: int = 2) -> tuple[Array, float]:
    """Points (m, dims) about 0 from their squared distances (m, m), and the share of the spread that
    they show: 1 where the distances are those of points in so many dimensions.

    Torgerson 1952, doi:10.1007/BF02288916. The widest direction comes first; in each the point
    farthest out lies on the positive side. Raises BenchError for distances that are not symmetric or
    not 0 from a point to itself, and for fewer points than dimensions.
    """
    m = len(squared)
    if squared.shape != (m, m) or not np.allclose(squared, squared.T) or squared.diagonal().any():
        raise BenchError("squared distances must be (m, m), symmetric and 0 on the diagonal")
    if m < dims:
        raise BenchError(f"{m} points span no {dims} dimensions")
    centring = np.eye(m) - 1 / m
    values, vectors = np.linalg.eigh(-0.5 * centring @ squared @ centring)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    points = vectors[:, :dims] * np.sqrt(values[:dims])
    ends = points[np.abs(points).argmax(axis=0), np.arange(dims)]
    total = float(values.sum())
    share = float(values[:dims].sum()) / total if total else 1.0
    return points * np.where(ends < 0, -1, 1), share
