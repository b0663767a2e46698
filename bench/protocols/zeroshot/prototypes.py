"""Zero-shot prototypes (`zsp-v1`): class means regressed on signatures, the nearest one wins."""

from __future__ import annotations

from collections.abc import Callable

from bench.data import Meta
from bench.protocols._zeroshot import Lesson, Scores, Setting, ZeroShot
from bench.protocols.base import TrunkFactory
from bench.solvers.prototypes import RidgePrototypes

REVISION = 1


class Prototypes(ZeroShot):
    """Ridge regression from signatures to class means, every class weighing alike: the linear case of
    exemplar prediction (Changpinyo et al. 2017, arXiv:1605.08151). Distances count after whitening by the
    covariance within classes, shrunk towards its mean variance by a share that validation chooses."""

    centre = True
    grid = tuple(
        {"penalty": penalty, "shrinkage": shrinkage}
        for penalty in (0.01, 0.1, 1.0)
        for shrinkage in (0.003, 0.03, 0.3, 3.0)
    )

    def learn(self, lesson: Lesson) -> Callable[[Setting], Scores]:
        solver = RidgePrototypes(lesson.statistics, lesson.own)
        return lambda s: solver.solve(s["penalty"], shrinkage=s["shrinkage"]).scores


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    penalty: float = 0.0,
    shrinkage: float = 1.0,
) -> Prototypes:
    """The head, on the first `pca` principal components (0: all). `penalty`: a share of the mean
    eigenvalue of the signatures' Gram matrix (0: validation chooses it and `shrinkage`).

    Raises BenchError for numbers below 0.
    """
    chosen = {"penalty": penalty, "shrinkage": shrinkage} if penalty else {}
    return Prototypes(meta, seed, pca, chosen)
