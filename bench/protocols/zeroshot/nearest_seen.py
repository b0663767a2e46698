"""The nearest seen class (`ns-v1`): a baseline that uses nothing else of a row."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Array, Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import GridScores, Setting, ZeroShot, stacked
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers.class_similarity import cosines, nearest_class

REVISION = 1


class NearestSeen(ZeroShot):
    """A class scores the cosine of its signature with that of the seen class whose mean is nearest to the
    row: a method's lead over this is what it learns of rows beyond their seen class. Scores tie often."""

    grid = ({},)  # no setting to choose

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        def scores(x: Array, signatures: Array) -> Array:
            similarities = cosines(signatures[list(seen.classes)], signatures)
            by_row: Array = similarities[nearest_class(seen.statistics, x)]
            return by_row

        return stacked([scores for _ in settings])


def build(*, meta: Meta, trunk: TrunkFactory, seed: int, pca: int = 128) -> NearestSeen:
    """The head, on the first `pca` principal components (0: all). Raises BenchError for fewer than 0."""
    return NearestSeen(meta, seed, pca, {})
