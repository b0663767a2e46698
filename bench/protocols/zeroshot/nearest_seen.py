"""The nearest seen class (`ns-v1`): the baseline that knows of a row its seen class alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Lesson, Scores, Setting, ZeroShot, stacked
from bench.solvers.likeness import cosines, nearest

REVISION = 1

Array = npt.NDArray[np.float64]


class NearestSeen(ZeroShot):
    """A row is its nearest mean of a seen class, and a class scores by the cosine of its signature with
    that class's: what a method learns of rows beyond their seen class shows as its lead over this. Many
    scores are equal."""

    grid = ({},)  # nothing is to be chosen

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        def scores(x: Array, signatures: Array) -> Array:
            found: Array = cosines(signatures[list(lesson.classes)], signatures)[
                nearest(lesson.statistics, x)
            ]
            return found

        return stacked([scores for _ in settings])


def build(*, meta: Meta, trunk: TrunkFactory, seed: int, pca: int = 128) -> NearestSeen:
    """The head, on the first `pca` principal components (0: all). Raises BenchError for fewer than 0."""
    return NearestSeen(meta, seed, pca, {})
