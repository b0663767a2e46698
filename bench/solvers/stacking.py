"""Calibrated stacking: seen classes against unseen ones at every calibration, and the area under that.

Chao et al. 2016, arXiv:1605.04253. The guess at calibration g is the largest of f_c - g [c seen]; S and U
are the means over seen, and over unseen, classes of the share of their rows that is guessed right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

__all__ = [
    "REVISION",
    "Accuracies",
    "Candidates",
    "SeenUnseenCurve",
    "accuracies",
    "ausuc",
    "calibrated_scores",
    "calibration_at",
    "harmonic_mean",
    "seen_unseen_curve",
    "share_below",
    "stacking_margins",
]

REVISION = 1
"""Raised whenever an edit moves numbers."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class SeenUnseenCurve:
    """Accuracies for every calibration: they only change at the margins, so k + 1 points are all."""

    calibrations: Array  # (k + 1,) rising, one between two margins, and one outside on each side
    seen: Array  # (k + 1,) S, falling from the accuracy among seen classes alone to 0
    unseen: Array  # (k + 1,) U, rising from 0 to the accuracy among unseen classes alone

    @property
    def area(self) -> float:
        """AUSUC in [0, 1]: under S as a function of U, by trapezoids."""
        widths, heights = np.diff(self.unseen), (self.seen[1:] + self.seen[:-1]) / 2
        return min(float(widths @ heights), 1.0)

    @property
    def best_calibration(self) -> float:
        """The calibration of the largest harmonic mean, the first of equals. Of validation rows this is a
        choice; of test rows it is an oracle's."""
        return float(self.calibrations[harmonic_mean(self.seen, self.unseen).argmax()])


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Per-class accuracies at one calibration, each in [0, 1]."""

    zero_shot: float  # T1: unseen rows among unseen classes alone
    seen: float  # S: seen rows among all classes
    unseen: float  # U: unseen rows among all classes
    harmonic_mean: float  # of S and U


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Of each row the best seen class against the best unseen one, for one set of scores or many."""

    truth: Array  # (n,) classes
    is_unseen: Array  # bool (C,): which are unseen
    best_seen: Array  # (..., n) the best seen class, of equals the lower
    best_unseen: Array  # (..., n) the best unseen class
    margin: Array  # (..., n) float64: the score of the first less that of the second

    @classmethod
    def of(cls, scores: Array, truth: Array, unseen: Iterable[int]) -> Self:
        """From scores (..., n, C) and classes truth (n,). Raises as `seen_unseen_curve`."""
        scores, truth, new = _checked(scores, truth, unseen)
        return cls(truth, new, *_rivals(scores, new))

    def score_set(self, index: int) -> Self:
        """Of one set of many."""
        parts = (self.best_seen, self.best_unseen, self.margin)
        return type(self)(self.truth, self.is_unseen, *(part[index] for part in parts))

    @property
    def weights(self) -> Array:
        """1 / (rows of its class x classes of its side that have rows), of each row (n,)."""
        counts = np.bincount(self.truth, minlength=len(self.is_unseen))
        present = np.where(
            self.is_unseen, (counts[self.is_unseen] > 0).sum(), (counts[~self.is_unseen] > 0).sum()
        )
        found: Array = 1 / (counts * present)[self.truth]
        return found

    def curve(self) -> SeenUnseenCurve:
        """All calibrations of one set: exact, in O(n log n)."""
        steps, place = np.unique(self.margin, return_inverse=True)
        place, weights = place.ravel(), self.weights
        lost = np.bincount(place, weights * (self.best_seen == self.truth), minlength=len(steps))
        won = np.bincount(place, weights * (self.best_unseen == self.truth), minlength=len(steps))
        return SeenUnseenCurve(
            _between(steps),
            # Summed from the end where each is zero, so that both are zero there exactly.
            np.append(np.cumsum(lost[::-1])[::-1], 0.0).clip(0, 1),
            np.append(0.0, np.cumsum(won)).clip(0, 1),
        )

    def areas(self) -> Array:
        """The area under the curve (s,) of each of s sets, which costs less than one by one."""
        order = np.argsort(self.margin, axis=1)
        margin = np.take_along_axis(self.margin, order, axis=1)
        # A row has a seen class, which counts until its margin, or an unseen one, which does from there.
        weights = self.weights
        gain = (self.best_unseen == self.truth) * weights - (self.best_seen == self.truth) * weights
        gain = np.take_along_axis(gain, order, axis=1)
        won = gain.clip(min=0)
        lost = won - gain
        after = lost.sum(axis=1, keepdims=True) - np.cumsum(lost, axis=1)
        found: Array = (won * after).sum(axis=1).clip(0, 1)
        for number in np.flatnonzero((margin[:, 1:] == margin[:, :-1]).any(axis=1)).tolist():
            found[number] = self.score_set(number).curve().area
        return found


def seen_unseen_curve(scores: Array, truth: Array, unseen: Iterable[int]) -> SeenUnseenCurve:
    """All calibrations of scores (n, C) for rows of classes truth (n,): exact, in O(n C + n log n).

    A row's guess leaves its best seen class for its best unseen one where g passes its margin. Raises
    BenchError for scores that are not finite, labels outside 0 .. C - 1, and rows or classes that are
    all seen or all unseen.
    """
    return Candidates.of(scores, truth, unseen).curve()


def ausuc(scores: Array, truth: Array, unseen: Iterable[int]) -> float:
    """Area under the seen-unseen curve in [0, 1] of scores (n, C). Raises as `seen_unseen_curve`."""
    return seen_unseen_curve(scores, truth, unseen).area


def accuracies(scores: Array, truth: Array, unseen: Iterable[int], g: float) -> Accuracies:
    """Of scores (n, C) at calibration g, which may be infinite; equal scores go to the lower class.

    Raises as `seen_unseen_curve` does, and for g that is NaN.
    """
    if np.isnan(g):
        raise BenchError("the calibration is NaN: give a number, or an infinity of either sign")
    found = Candidates.of(scores, truth, unseen)
    guess, other, margin, weights = found.best_seen, found.best_unseen, found.margin, found.weights
    final = np.where(margin > g, guess, np.where(margin < g, other, np.minimum(guess, other)))
    right, rows = weights * (final == truth), found.is_unseen[truth]
    s, u = min(float(right[~rows].sum()), 1.0), min(float(right[rows].sum()), 1.0)
    alone = min(float((weights * (other == truth))[rows].sum()), 1.0)
    return Accuracies(alone, s, u, float(harmonic_mean(s, u)))


def harmonic_mean(seen: Any, unseen: Any) -> Array:
    """Harmonic mean of accuracies, any shape: 0 where both are."""
    both, total = 2 * np.multiply(seen, unseen, dtype=float), np.add(seen, unseen, dtype=float)
    found: Array = both / np.where(total > 0, total, 1)
    return found


def stacking_margins(scores: Array, unseen: Iterable[int]) -> Array:
    """Best seen less best unseen score (n,) of scores (n, C): the calibrations at which guesses turn."""
    scores, new = _classes(scores, unseen)
    return _rivals(scores, new)[2]


def share_below(margins: Array, g: float) -> float:
    """The share in [0, 1] of margins (n,) that lie below a calibration, half of those that equal it.

    A level, unlike a calibration, has no unit: one chosen on some classes holds for more of them, and for
    other scales of scores, if both margins are of rows of one kind. Rows of seen classes that were not
    trained on are such: they are at hand before any test row.
    """
    found = _margins(margins)
    return float((found < g).mean() + (found == g).mean() / 2)


def calibration_at(margins: Array, level: float) -> float:
    """The calibration with that share, in [0, 1], of margins (n,) below it; halves lie between two.

    At 0 it is below all of them, at 1 above.
    """
    if not 0 <= level <= 1:
        raise BenchError(f"level {level} is a share of rows: give a number from 0 to 1")
    edges = _between(np.sort(_margins(margins)))
    return float(np.interp(level * (len(edges) - 1), np.arange(len(edges)), edges))


def calibrated_scores(scores: Array, unseen: Iterable[int], g: float) -> Array:
    """Scores (n, C) less g, finite, on seen classes: the largest is the guess."""
    if not np.isfinite(g):
        raise BenchError(f"calibration {g} leaves no finite scores: give a finite one")
    scores, new = _classes(scores, unseen)
    found: Array = scores - g * ~new
    return found


def _rivals(scores: Array, new: Array) -> tuple[Array, Array, Array]:
    """Best seen class (..., n), best unseen class (..., n) and the margin (..., n) of the first."""
    columns = np.ascontiguousarray(np.moveaxis(scores, -1, 0))
    guess, best = _best(columns, np.flatnonzero(~new))
    other, rival = _best(columns, np.flatnonzero(new))
    return guess, other, np.subtract(best, rival, dtype=np.float64)


def _best(columns: Array, classes: Array) -> tuple[Array, Array]:
    """The class with the largest score, of equals the first, and that score, of columns (C, ...). Class by
    class: NumPy is slow along rows as short as these."""
    best = columns[classes[0]]
    guess = np.full(best.shape, classes[0])
    for c in classes[1:]:
        np.putmask(guess, columns[c] > best, c)
        best = np.maximum(best, columns[c])
    return guess, best


def _between(steps: Array) -> Array:
    """One number (k + 1,) between any two of rising steps (k,), and one outside on each side."""
    pad = (steps[-1] - steps[0]) / len(steps) or max(1.0, abs(float(steps[0])))
    middle = steps[:-1] / 2 + steps[1:] / 2
    return np.concatenate([[steps[0] - pad], middle, [steps[-1] + pad]])


def _margins(values: Array) -> Array:
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise BenchError(f"margins of shape {found.shape}: give a list of finite numbers")
    return found


def _classes(scores: Array, unseen: Iterable[int]) -> tuple[Array, Array]:
    """Scores (..., n, C) as floats, and which classes are unseen: bool (C,)."""
    found, chosen = np.asarray(scores), sorted(set(unseen))
    if found.dtype not in (np.float32, np.float64):
        found = found.astype(np.float64)
    if found.ndim < 2 or not np.isfinite(found).all():
        raise BenchError(f"scores of shape {found.shape}: give finite ones, (rows, classes)")
    count = found.shape[-1]
    if not 0 < len(chosen) < count or chosen[0] < 0 or chosen[-1] >= count:
        raise BenchError(
            f"unseen classes {chosen[:5]} of {count}: give some of 0 to {count - 1}, not all"
        )
    new = np.zeros(count, bool)
    new[chosen] = True
    return found, new


def _checked(scores: Array, truth: Array, unseen: Iterable[int]) -> tuple[Array, Array, Array]:
    found, new = _classes(scores, unseen)
    truth, count = np.asarray(truth), found.shape[-2]
    if truth.shape != (count,) or truth.dtype.kind not in "iu":
        raise BenchError(f"labels are {truth.dtype} {truth.shape} for {count} rows")
    if count and (truth.min() < 0 or truth.max() >= len(new)):
        raise BenchError(
            f"labels run from {truth.min()} to {truth.max()}: 0 to {len(new) - 1} are allowed; leave "
            "out rows without a label"
        )
    rows = new[truth]
    if rows.all() or not rows.any():
        raise BenchError("rows of seen and of unseen classes are needed, not of one kind alone")
    return found, truth.astype(np.int64), new
