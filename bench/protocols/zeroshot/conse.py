"""ConSE (`con-v1`): probabilities of seen classes weight their signatures; the nearest signature wins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from bench.data.samples import Array, Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.probe import log_probability
from bench.protocols.zeroshot._method import GridScores, Setting, ZeroShot, stacked
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers.class_similarity import combined_signatures, cosines
from bench.solvers.logistic import SoftmaxPath, SoftmaxSolution

REVISION = 1
GAP = 1e-4  # nats above the optimum


class ConSE(ZeroShot):
    """Norouzi et al. 2014, arXiv:1312.5650: softmax regression over the seen classes. Scores are cosines
    of all signatures with the mean, weighted by probability, of those of the `top` likeliest classes."""

    grid = tuple(
        {"penalty": penalty, "top": top}
        for penalty in (1e-2, 1e-3, 1e-4, 1e-5)
        for top in (1, 2, 3, 5, 10)
    )

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        penalties = sorted({s["penalty"] for s in self.settings()}, reverse=True)
        x, y = seen.rows()
        # All penalties together read the features once.
        path = SoftmaxPath(x, y, len(seen.classes)).solve(np.array(penalties), gap=GAP)

        def scores(place: int, top: int, x: Array, signatures: Array) -> Array:
            own_signatures = signatures[list(seen.classes)]
            combination = combined_signatures(_probability(path, place, x), own_signatures, top)
            return cosines(combination, signatures)

        return stacked(
            [partial(scores, penalties.index(s["penalty"]), int(s["top"])) for s in settings]
        )


def _probability(path: SoftmaxSolution, place: int, x: Array) -> Array:
    """(n, k) of features (n, d), at the penalty in this place of the path."""
    logits = x @ path.weights[place] + path.biases[place]
    probability: Array = np.exp(log_probability(logits.astype(np.float64)))
    return probability


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    penalty: float = 0.0,
    top: int = 10,
) -> ConSE:
    """The head, on the first `pca` principal components (0: all). `penalty`: of the softmax regression, on
    features of mean squared length 1 (0: validation chooses it and `top`); `top`: how many seen classes
    are combined, at most all.

    Raises BenchError for numbers below 0, and a `top` below 1.
    """
    if top < 1:
        raise BenchError(f"top={top}: the number of classes to combine must be 1 or more")
    return ConSE(meta, seed, pca, {"penalty": penalty, "top": top} if penalty else {})
