"""Prototypes regressed on signatures, as two protocols learn them: on frozen features, on tuned ones.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.protocols.zeroshot._method import Lesson, Scores, Setting, ZeroShot, along
from bench.solvers.prototypes import RidgePrototypes

__all__ = ["Prototypes"]


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

    def learn(self, lesson: Lesson, settings: Sequence[Setting]) -> Scores:
        solver = RidgePrototypes(lesson.statistics, lesson.own)
        shrinkage = along(settings, "shrinkage")
        return solver.solve(along(settings, "penalty"), shrinkage=shrinkage).scores
