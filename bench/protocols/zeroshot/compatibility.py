"""Bilinear compatibility (`com-v1`): features and signatures matched by ranking, as DeViSE, ALE or SJE."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bench.data.samples import Array, Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Scores, Setting, TrainedZeroShot
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers import compatibility
from bench.solvers.signatures import BilinearMap

REVISION = 1
EXAMPLE = "samples=20000"  # the check kit fits often


class Compatibility(TrainedZeroShot):
    """Scores [x 1] W s, W by descent of a ranking loss (see `solvers.compatibility.ranking`); the 1 beside
    centred features gives the part of a score that depends on the class alone."""

    grid = tuple({"rate": rate, "decay": decay} for rate in (0.01, 0.1) for decay in (0.0, 0.3))

    def __init__(
        self,
        meta: Meta,
        seed: int,
        pca: int,
        chosen: Setting,
        *,
        loss: compatibility.Rule,
        samples: int,
    ) -> None:
        """meta, seed, pca, chosen: as in `ZeroShot`; loss, samples: as in `build`."""
        super().__init__(meta, seed, pca, chosen)
        self._loss, self._samples = loss, samples

    def train(self, x: Array, y: Array, seen: SeenClasses, setting: Setting) -> Scores:
        weights = compatibility.train(
            _beside_one(x), y, seen.signatures, self._loss,
            rate=setting["rate"], decay=setting["decay"], samples=self._samples, seed=seen.seed,
        )  # fmt: skip
        bilinear = BilinearMap(weights)
        return lambda x, signatures: bilinear.scores(_beside_one(x), signatures)


def _beside_one(x: Array) -> Array:
    """Features (n, d) as (n, d + 1)."""
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    loss: Literal["devise", "ale", "sje"] = "ale",
    samples: int = 200_000,
    rate: float = 0.0,
    decay: float = 0.0,
) -> Compatibility:
    """The head.

    pca: principal components that are read (0: all)
    loss: the ranking loss
    samples: rows drawn for training
    rate: learning rate of AdamW (0: validation chooses it and `decay`)
    decay: weight decay of AdamW

    Raises BenchError for numbers below 0.
    """
    chosen = {"rate": rate, "decay": decay} if rate else {}
    return Compatibility(meta, seed, pca, chosen, loss=loss, samples=samples)
