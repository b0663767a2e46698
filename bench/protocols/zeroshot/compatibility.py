"""Bilinear compatibility (`com-v1`): features and signatures matched by ranking, as DeViSE, ALE or SJE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import (
    Array,
    Lesson,
    OneScores,
    Scores,
    Setting,
    ZeroShot,
    stacked,
)
from bench.solvers import compatibility
from bench.solvers.signatures import Bilinear

REVISION = 1
EXAMPLE = "samples=20000"  # the check kit fits often


class Compatibility(ZeroShot):
    """Scores x W s, W by steps down a ranking loss (see `solvers.compatibility.ranking`). Features are
    about their mean and have a 1 beside them, for the part of a score that hangs on the class alone."""

    seeded = True
    most_folds = 1
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
        super().__init__(meta, seed, pca, chosen)
        self._loss, self._samples = loss, samples

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        x, y = lesson.rows()
        x = _beside_one(x)

        def at(setting: Setting) -> OneScores:
            weights = compatibility.train(
                x, y, lesson.own, self._loss,
                rate=setting["rate"], decay=setting["decay"], samples=self._samples, seed=lesson.seed,
            )  # fmt: skip
            bilinear = Bilinear(weights)
            return lambda x, signatures: bilinear.scores(_beside_one(x), signatures)

        return stacked([at(s) for s in settings])


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
    """The head, on the first `pca` principal components (0: all), trained on `samples` rows drawn.
    `rate` and `decay` of AdamW (rate 0: validation chooses both).

    Raises BenchError for numbers below 0.
    """
    chosen = {"rate": rate, "decay": decay} if rate else {}
    return Compatibility(meta, seed, pca, chosen, loss=loss, samples=samples)
