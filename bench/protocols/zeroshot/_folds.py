"""Class-disjoint validation: seen classes are held out in turn, and these folds choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.seeding import generator
from bench.solvers.stacking import Candidates, share_below

MOST_IN_PAIRS = 12  # seen classes up to which a fold is a pair of them; else a fifth


def folds(seen: Sequence[int]) -> list[tuple[int, ...]]:
    """Seen classes to hold out together: pairs of neighbours by number, each class twice; of more than
    twelve classes a seeded fifth, each class once; of three, one each; of fewer, none.

    The order of classes therefore influences what is chosen, not what is learnt. On pixels, all 21 pairs
    of a split of seven, or grids a decade wider at each side, or both, moved the mean area over 12 splits
    by -0.5 to +0.2 points (prototypes, Fashion-MNIST and CIFAR-10) and +0.4 to +0.9 (ESZSL,
    Fashion-MNIST; one standard error is 0.4 to 0.5), at three times the fits.

    >>> folds([2, 5, 7, 9])
    [(2, 5), (5, 7), (7, 9), (2, 9)]
    """
    if len(seen) < 3:
        return []
    if len(seen) == 3:
        return [(c,) for c in seen]
    if len(seen) <= MOST_IN_PAIRS:
        neighbours = [*seen[1:], seen[0]]
        pairs = zip(seen, neighbours, strict=True)
        return list(dict.fromkeys((min(pair), max(pair)) for pair in pairs))
    order = generator(0, "zeroshot:folds").permutation(np.array(seen))
    return [tuple(sorted(part.tolist())) for part in np.array_split(order, 5)]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutFold:
    """Validation rows of all seen classes, scored at every setting by fits without the held-out ones,
    which stand for unseen classes."""

    candidates: Candidates

    def areas(self) -> list[float]:
        """The area under the seen-unseen curve, in [0, 1], at every setting."""
        return [float(area) for area in self.candidates.areas()]

    def share(self, setting: int) -> float:
        """The share, in [0, 1], of rows of classes not held out whose margin (best seen less best held-out
        score) lies below the calibration of the largest harmonic mean."""
        candidates = self.candidates.score_set(setting)
        trained_on = ~candidates.is_unseen[candidates.truth]
        return share_below(candidates.margin[trained_on], candidates.curve().best_calibration)


@dataclass(frozen=True, slots=True, eq=False)
class ChosenSetting:
    """What the folds have chosen."""

    index: int  # of the setting
    areas: Sequence[float]  # mean over folds, at every setting; empty without folds
    share: float | None  # mean over folds, by which to calibrate; None: no calibration


def choose_setting(
    held_out: Sequence[HeldOutFold], settings: int, *, calibrate: bool
) -> ChosenSetting:
    """The setting of the largest mean area, the first of equals (areas are rounded to 9 digits), and the
    mean share there; without folds the middle one of `settings`."""
    if not held_out:
        return ChosenSetting(settings // 2, [], None)
    means = np.mean([fold.areas() for fold in held_out], axis=0)
    best = int(np.argmax(means.round(9)))
    share = float(np.mean([fold.share(best) for fold in held_out])) if calibrate else None
    return ChosenSetting(best, means.tolist(), share)
