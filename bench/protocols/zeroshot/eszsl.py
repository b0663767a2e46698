"""ESZSL (`esz-v1`): a bilinear map between features and signatures, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import Lesson, Scores, Setting, ZeroShot, along
from bench.solvers import signatures

REVISION = 1


class ESZSL(ZeroShot):
    """Romera-Paredes and Torr 2015, with 1 for a row's class and 0 for the others; signatures have
    length 1, and features are not centred: the map has no intercept, which a mean can stand for."""

    about_mean = False
    grid = tuple(
        {"gamma": gamma, "lambda": lam}
        for gamma in (1e-4, 1e-3, 1e-2, 0.1)
        for lam in (1e-2, 0.1, 1.0, 10.0)
    )

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        solver = signatures.ESZSL(lesson.statistics, lesson.own)
        return solver.solve(along(settings, "gamma"), along(settings, "lambda")).scores


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    gamma: float = 0.0,
    lam: float = 0.1,
) -> ESZSL:
    """The head, on the first `pca` principal components (0: all). `gamma` and `lam`: shares of the mean
    eigenvalues of the features' and of the signatures' Gram matrices (gamma 0: validation chooses both).

    Raises BenchError for numbers below 0.
    """
    chosen = {"gamma": gamma, "lambda": lam} if gamma else {}
    return ESZSL(meta, seed, pca, chosen)
