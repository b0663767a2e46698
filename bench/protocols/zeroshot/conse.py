"""ConSE (`con-v1`): seen classes' probabilities combine their signatures, the nearest signature wins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.probe import log_probability
from bench.protocols.zeroshot._method import Lesson, Scores, Setting, ZeroShot, stacked
from bench.solvers.likeness import combined, cosines
from bench.solvers.logistic import SoftmaxPath, Solution

REVISION = 1
GAP = 1e-4  # nats above the optimum

Array = npt.NDArray[np.float64]


class ConSE(ZeroShot):
    """Norouzi et al. 2014, arXiv:1312.5650: softmax regression over the seen classes; the signatures of a
    row's `top` most probable ones, weighed by their probabilities, are compared with all by cosines."""

    grid = tuple(
        {"penalty": penalty, "top": top}
        for penalty in (1e-2, 1e-3, 1e-4, 1e-5)
        for top in (1, 2, 3, 5, 10)
    )

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        penalties = sorted({s["penalty"] for s in self.settings()}, reverse=True)
        x, y = lesson.rows()
        # Together: one read of the features serves all penalties.
        path = SoftmaxPath(x, y, len(lesson.classes)).solve(np.array(penalties), gap=GAP)

        def scores(place: int, top: int, x: Array, signatures: Array) -> Array:
            seen = signatures[list(lesson.classes)]
            return cosines(combined(_probability(path, place, x), seen, top), signatures)

        return stacked(
            [partial(scores, penalties.index(s["penalty"]), int(s["top"])) for s in settings]
        )


def _probability(path: Solution, place: int, x: Array) -> Array:
    """(n, k) of features (n, d) at one penalty of a path."""
    logits = x @ path.weights[place] + path.biases[place]
    found: Array = np.exp(log_probability(logits.astype(np.float64)))
    return found


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    penalty: float = 0.0,
    top: int = 10,
) -> ConSE:
    """The head, on the first `pca` principal components (0: all). `penalty`: that of the softmax
    regression, on features of mean squared length 1 (0: validation chooses it and `top`); `top`: how many
    seen classes are combined, at most all.

    Raises BenchError for numbers below 0, and a `top` below 1.
    """
    if top < 1:
        raise BenchError(f"top={top}: the signatures of 1 or more classes are combined")
    return ConSE(meta, seed, pca, {"penalty": penalty, "top": top} if penalty else {})
