"""Seen classes held out, each fold an exam, and what exams choose.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.seeding import generator
from bench.solvers.stacking import Rivals, level

__all__ = ["Choice", "Exam", "choose", "folds"]

MANY = 12  # seen classes from which on folds are fifths of them, and no longer pairs


def folds(seen: Sequence[int]) -> list[tuple[int, ...]]:
    """Seen classes to be held out together, each set once: every class twice with a neighbour, or, of more
    than twelve, a seeded fifth at a time. Three classes leave one out each; of fewer none can be spared.
    Neighbours by number: the order of classes has a say in what is chosen, not in what is learnt.

    >>> folds([2, 5, 7, 9])
    [(2, 5), (5, 7), (7, 9), (2, 9)]
    """
    if len(seen) < 3:
        return []
    if len(seen) == 3:
        return [(c,) for c in seen]
    if len(seen) <= MANY:
        around = [*seen[1:], seen[0]]
        found = {tuple(sorted(pair)): None for pair in zip(seen, around, strict=True)}
        return list(found)
    order = generator(0, "zeroshot:folds").permutation(np.array(seen))
    return [tuple(sorted(part.tolist())) for part in np.array_split(order, 5)]


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """Validation rows of all seen classes, after a lesson without some of them, which stand for unseen
    ones; at every setting."""

    rivals: Rivals

    def areas(self) -> list[float]:
        """The area under the seen-unseen curve of every setting, among the seen classes alone."""
        return [float(area) for area in self.rivals.areas()]

    def share(self, setting: int) -> float:
        """The share of rows of classes that were not held out whose margin the best calibration passes."""
        rivals = self.rivals.at(setting)
        old = ~rivals.new[rivals.truth]
        return level(rivals.margin[old], rivals.curve().best)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What exams have chosen."""

    setting: int  # by number
    areas: Sequence[float]  # mean area of every setting
    share: float | None  # by which to calibrate; None: nothing says it


def choose(exams: Sequence[Exam], settings: int, *, calibrate: bool) -> Choice:
    """The setting of the largest mean area, and the mean share at it. Of equals, which rounding shall not
    part, the first; the middle one where nothing can choose."""
    if not exams:
        return Choice(settings // 2, [], None)
    means = np.mean([exam.areas() for exam in exams], axis=0)
    best = int(np.argmax(means.round(9)))
    share = float(np.mean([exam.share(best) for exam in exams])) if calibrate else None
    return Choice(best, means.tolist(), share)
