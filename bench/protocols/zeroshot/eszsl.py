"""ESZSL (`esz-v1`): a bilinear map between features and signatures, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import GridScores, Setting, ZeroShot, values_of
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers import signatures

REVISION = 1


class ESZSLHead(ZeroShot):
    """Romera-Paredes and Torr 2015, fitted to 1 for a row's class and 0 for the others. Features are not
    centred: the map has no intercept, and their mean can serve as one."""

    centre_features = False
    grid = tuple(
        {"gamma": gamma, "lambda": lam}
        for gamma in (1e-4, 1e-3, 1e-2, 0.1)
        for lam in (1e-2, 0.1, 1.0, 10.0)
    )

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        solver = signatures.ESZSLSolver(seen.statistics, seen.signatures)
        return solver.solve(values_of(settings, "gamma"), values_of(settings, "lambda")).scores


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    gamma: float = 0.0,
    lam: float = 0.1,
) -> ESZSLHead:
    """The head.

    pca: principal components that are read (0: all)
    gamma: penalty, in units of the mean eigenvalue of the features' Gram matrix (0: validation chooses
      it and `lam`)
    lam: penalty, in units of the mean eigenvalue of the signatures' Gram matrix

    Raises BenchError for numbers below 0.
    """
    chosen = {"gamma": gamma, "lambda": lam} if gamma else {}
    return ESZSLHead(meta, seed, pca, chosen)
