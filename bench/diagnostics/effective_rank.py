"""The effective rank of a representation: RankMe, and the participation ratio."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.samples import Array
from bench.diagnostics.base import Context

REVISION = 1
EPSILON = 1e-7  # of the paper


def diagnose(context: Context) -> Mapping[str, float | None]:
    """`rankme` and `participation` of the task's level on validation images, both in [0, d]."""
    features = context.validation_features[context.level]
    return {"rankme": rankme(features), "participation": participation(features)}


def rankme(features: Array) -> float:
    """exp(-sum p log p), p = s / sum s of the singular values s of features (n, d), not centred.

    Garrido et al. 2023, arXiv:2210.02885. Variants that centre the features, or take eigenvalues of the
    covariance, give different numbers.
    """
    wide = np.asarray(features, dtype=np.float64)
    gram = wide.T @ wide if wide.shape[0] >= wide.shape[1] else wide @ wide.T
    values = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))
    if not values.sum():
        return 0.0
    shares = values / values.sum() + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def participation(features: Array) -> float:
    """(sum v)^2 / sum v^2 of the eigenvalues v of the covariance of features (n, d)."""
    centred = np.asarray(features, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    # sum v = tr(K), sum v^2 = |K|^2: no eigenvalue is computed.
    gram = centred.T @ centred if centred.shape[0] >= centred.shape[1] else centred @ centred.T
    squares = float(np.square(gram).sum())
    return float(np.trace(gram)) ** 2 / squares if squares else 0.0
