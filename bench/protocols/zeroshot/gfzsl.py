"""GFZSL (`gfz-v1`): a Gaussian of features for every class, made from its signature."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Lesson, Scores, Setting, ZeroShot, along
from bench.solvers import prototypes

REVISION = 1


class GFZSL(ZeroShot):
    """Verma and Rai 2017, arXiv:1707.08040: the closed form among generative methods. A class's means and
    log-variances are kernel ridge regressions on its signature; the largest density wins."""

    grid = tuple(
        {"penalty": penalty, "spread": spread}
        for penalty in (1e-3, 1e-2, 0.1, 1.0)
        for spread in (1.0, 100.0, 1e4)
    )

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        solver = prototypes.GFZSL(lesson.statistics, lesson.own)
        return solver.solve(along(settings, "penalty"), along(settings, "spread")).scores


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    penalty: float = 0.0,
    spread: float = 1.0,
) -> GFZSL:
    """The head, on the first `pca` principal components (0: all). `penalty` and `spread`: shares of the
    kernel's mean for means and log-variances (penalty 0: validation chooses both).

    Raises BenchError for numbers below 0.
    """
    chosen = {"penalty": penalty, "spread": spread} if penalty else {}
    return GFZSL(meta, seed, pca, chosen)
