"""Zero-shot prototypes (`zsp-v1`): class means regressed on signatures, the nearest one wins."""

from __future__ import annotations

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._prototypes import PrototypeRegression

REVISION = 1


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    penalty: float = 0.0,
    shrinkage: float = 1.0,
) -> PrototypeRegression:
    """The head.

    pca: principal components that are read (0: all)
    penalty: of the regression, in units of the mean eigenvalue of the signatures' Gram matrix (0:
      validation chooses it and `shrinkage`)
    shrinkage: of the covariance within classes towards its mean variance

    Raises BenchError for numbers below 0.
    """
    chosen = {"penalty": penalty, "shrinkage": shrinkage} if penalty else {}
    return PrototypeRegression(meta, seed, pca, chosen)
