"""Direct attribute prediction (`dap-v1`): a classifier of each attribute; together they score classes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import GridScores, Setting, ZeroShot, stacked
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers import attribute_prediction

REVISION = 1


class DAPHead(ZeroShot):
    """Lampert, Nickisch and Harmeling 2014: a logistic regression for each attribute; a class scores the
    sum of log p(attribute | x) - log p(attribute) over its attributes. An attribute is present above its
    mean over the seen classes, so signatures keep their lengths here."""

    unit_signatures = False
    grid = tuple({"penalty": 10.0**exponent} for exponent in range(-1, -7, -1))

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        solver = attribute_prediction.DAPSolver(seen.statistics, seen.rows()[0], seen.signatures)
        return stacked([solver.solve(s["penalty"]).scores for s in settings])


def build(
    *, meta: Meta, trunk: TrunkFactory, seed: int, pca: int = 128, penalty: float = 0.0
) -> DAPHead:
    """The head, on the first `pca` principal components (0: all). `penalty`: of each logistic regression,
    on features of mean squared length 1 (0: validation chooses).

    Raises BenchError for numbers below 0, and where no attribute distinguishes the seen classes.
    """
    return DAPHead(meta, seed, pca, {"penalty": penalty} if penalty else {})
