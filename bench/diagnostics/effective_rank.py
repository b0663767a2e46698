"""How many dimensions of a representation are used: RankMe, and the participation ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.diagnostics.base import Context

REVISION = 1
EPSILON = 1e-7  # of the paper
Array = npt.NDArray[Any]


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Of the level that is read out; both lie in [0, d]."""
    features = context.features[context.level]
    return {"rankme": rankme(features), "participation": participation(features)}


def rankme(features: Array) -> float:
    """Exponential of the entropy of the singular values of features (n, d), not centred, over their sum.

    Source: Garrido et al. 2023, arXiv:2210.02885. Others under this name centre the features, or take
    eigenvalues of the covariance: other numbers.
    """
    wide = np.asarray(features, dtype=np.float64)
    gram = wide.T @ wide if wide.shape[0] >= wide.shape[1] else wide @ wide.T
    values = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))
    if not values.sum():
        return 0.0
    shares = values / values.sum() + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def participation(features: Array) -> float:
    """(sum of the covariance's eigenvalues)^2 over the sum of their squares, of features (n, d)."""
    centred = np.asarray(features, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    # Both sums are traces: no eigenvalue is needed.
    gram = centred.T @ centred if centred.shape[0] >= centred.shape[1] else centred @ centred.T
    squares = float(np.square(gram).sum())
    return float(np.trace(gram)) ** 2 / squares if squares else 0.0
