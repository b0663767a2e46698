"""Zero-shot prototypes (`zsp-v1`): class means regressed on signatures, the nearest one wins."""

from __future__ import annotations

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._prototypes import Prototypes

REVISION = 1


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    penalty: float = 0.0,
    shrinkage: float = 1.0,
) -> Prototypes:
    """The head, on the first `pca` principal components (0: all). `penalty`: a share of the mean
    eigenvalue of the signatures' Gram matrix (0: validation chooses it and `shrinkage`).

    Raises BenchError for numbers below 0.
    """
    chosen = {"penalty": penalty, "shrinkage": shrinkage} if penalty else {}
    return Prototypes(meta, seed, pca, chosen)
