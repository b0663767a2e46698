"""GFZSL (`gfz-v1`): a Gaussian of features for every class, made from its signature."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.zeroshot._method import GridScores, Setting, ZeroShot, values_of
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers import prototypes

REVISION = 1


class GFZSLHead(ZeroShot):
    """Verma and Rai 2017, arXiv:1707.08040, generative and in closed form: a class's means and
    log-variances are kernel ridge regressions on its signature; the largest density wins."""

    grid = tuple(
        {"penalty": penalty, "spread": spread}
        for penalty in (1e-3, 1e-2, 0.1, 1.0)
        for spread in (1.0, 100.0, 1e4)
    )

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        solver = prototypes.GFZSLSolver(seen.statistics, seen.signatures)
        return solver.solve(values_of(settings, "penalty"), values_of(settings, "spread")).scores


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 128,
    penalty: float = 0.0,
    spread: float = 1.0,
) -> GFZSLHead:
    """The head.

    pca: principal components that are read (0: all)
    penalty: of the means' regression, in units of the kernel's mean (0: validation chooses it and
      `spread`)
    spread: penalty of the log-variances' regression, in the same units

    Raises BenchError for numbers below 0.
    """
    chosen = {"penalty": penalty, "spread": spread} if penalty else {}
    return GFZSLHead(meta, seed, pca, chosen)
