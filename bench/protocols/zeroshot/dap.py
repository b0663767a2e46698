"""Direct attribute prediction (`dap-v1`): a yes/no classifier an attribute, whose answers tell classes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Lesson, Scores, Setting, ZeroShot, stacked
from bench.solvers import attributes

REVISION = 1


class DAP(ZeroShot):
    """Lampert, Nickisch and Harmeling 2014: logistic regressions; a class is as likely as its attributes
    are together, each over its prior. An attribute is a yes above its mean over the seen classes, so
    signatures keep their lengths here."""

    unit = False
    grid = tuple({"penalty": 10.0**exponent} for exponent in range(-1, -7, -1))

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        solver = attributes.DAP(lesson.statistics, lesson.rows()[0], lesson.own)
        return stacked([solver.solve(s["penalty"]).scores for s in settings])


def build(
    *, meta: Meta, trunk: TrunkFactory, seed: int, pca: int = 128, penalty: float = 0.0
) -> DAP:
    """The head, on the first `pca` principal components (0: all). `penalty`: that of each logistic
    regression, on features of mean squared length 1 (0: validation chooses).

    Raises BenchError for numbers below 0, and where no attribute tells the seen classes apart.
    """
    return DAP(meta, seed, pca, {"penalty": penalty} if penalty else {})
