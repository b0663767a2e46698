"""Class means regressed on signatures, as two protocols use them: on frozen features and on tuned ones."""

from __future__ import annotations

from collections.abc import Sequence

from bench.protocols.zeroshot._method import GridScores, Setting, ZeroShot, values_of
from bench.protocols.zeroshot._seen_classes import SeenClasses
from bench.solvers.prototypes import RidgePrototypes


class PrototypeRegression(ZeroShot):
    """Ridge regression from signatures to class means, all classes weighted equally: the linear case of
    exemplar prediction (Changpinyo et al. 2017, arXiv:1605.08151). The nearest mean wins, by distances
    after whitening by the covariance within classes, shrunk towards its mean variance by `shrinkage`."""

    centre_signatures = True
    grid = tuple(
        {"penalty": penalty, "shrinkage": shrinkage}
        for penalty in (0.01, 0.1, 1.0)
        for shrinkage in (0.003, 0.03, 0.3, 3.0)
    )

    def learn(self, seen: SeenClasses, settings: Sequence[Setting]) -> GridScores:
        solver = RidgePrototypes(seen.statistics, seen.signatures)
        shrinkage = values_of(settings, "shrinkage")
        return solver.solve(values_of(settings, "penalty"), shrinkage=shrinkage).scores
