"""Calibrated stacking: seen against unseen classes at every calibration, and the area under that curve.

Chao et al. 2016, arXiv:1605.04253. At calibration g a row with scores f is predicted as
argmax_c f_c - g [c seen]. S and U are the per-class accuracies over seen and over unseen classes: the mean
over classes of the share of their rows that are predicted right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bench.errors import BenchError
from bench.solvers._checks import Array, require_labels

REVISION = 1


@dataclass(frozen=True, slots=True, eq=False)
class SeenUnseenCurve:
    """S and U at every calibration: they change at the k distinct margins only, so k + 1 points are
    all."""

    calibrations: Array  # (k + 1,) rising: between neighbouring margins, and one on each side
    seen: Array  # (k + 1,) S, falling from the accuracy among seen classes alone to 0
    unseen: Array  # (k + 1,) U, rising from 0 to the accuracy among unseen classes alone

    @property
    def area(self) -> float:
        """AUSUC in [0, 1]: the area under S as a function of U, by trapezoids."""
        widths, heights = np.diff(self.unseen), (self.seen[1:] + self.seen[:-1]) / 2
        return min(float(widths @ heights), 1.0)

    @property
    def best_calibration(self) -> float:
        """The calibration of the largest harmonic mean, ties to the first. A choice on validation rows; an
        oracle on test rows."""
        return float(self.calibrations[harmonic_mean(self.seen, self.unseen).argmax()])


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The best seen and the best unseen class of each row, for one set of scores or several (...)."""

    truth: Array  # (n,) classes
    is_unseen: Array  # bool (C,)
    best_seen: Array  # (..., n) classes, ties to the lower
    best_unseen: Array  # (..., n) classes, ties to the lower
    margin: Array  # (..., n) float64: best seen score - best unseen score

    @classmethod
    def of(cls, scores: Array, truth: Array, unseen: Iterable[int]) -> Self:
        """From scores (..., n, C) and classes truth (n,). Raises as `seen_unseen_curve`."""
        scores, truth, is_unseen = _checked(scores, truth, unseen)
        return cls(truth, is_unseen, *_candidates(scores, is_unseen))

    def score_set(self, index: int) -> Self:
        """Of one of several sets of scores."""
        parts = (self.best_seen, self.best_unseen, self.margin)
        return type(self)(self.truth, self.is_unseen, *(part[index] for part in parts))

    @property
    def weights(self) -> Array:
        """The weight (n,) of each row in S or U: 1 / (rows of its class * classes with rows on its
        side)."""
        counts = np.bincount(self.truth, minlength=len(self.is_unseen))
        seen_classes = (counts[~self.is_unseen] > 0).sum()
        classes = np.where(self.is_unseen, (counts[self.is_unseen] > 0).sum(), seen_classes)
        weights: Array = 1 / (counts * classes)[self.truth]
        return weights

    def curve(self) -> SeenUnseenCurve:
        """All calibrations of a single set of scores: exact, O(n log n)."""
        steps, place = np.unique(self.margin, return_inverse=True)
        place, weights, k = place.ravel(), self.weights, len(steps)
        lost = np.bincount(place, weights * (self.best_seen == self.truth), minlength=k)
        won = np.bincount(place, weights * (self.best_unseen == self.truth), minlength=k)
        return SeenUnseenCurve(
            _between(steps),
            # Summed from the end where each is zero, so that both are zero there exactly.
            np.append(np.cumsum(lost[::-1])[::-1], 0.0).clip(0, 1),
            np.append(0.0, np.cumsum(won)).clip(0, 1),
        )

    def areas(self) -> Array:
        """The area under the curve (s,) of each of s sets of scores, faster than one by one."""
        order = np.argsort(self.margin, axis=1)
        margin = np.take_along_axis(self.margin, order, axis=1)
        # As g rises past its margin, a row of a seen class can only be lost, one of an unseen only won.
        weights = self.weights
        gain = (self.best_unseen == self.truth) * weights - (self.best_seen == self.truth) * weights
        gain = np.take_along_axis(gain, order, axis=1)
        won = gain.clip(min=0)
        lost = won - gain
        seen_after = lost.sum(axis=1, keepdims=True) - np.cumsum(lost, axis=1)
        areas: Array = (won * seen_after).sum(axis=1).clip(0, 1)
        # Equal margins turn together, where the curve has a slope: only `curve` takes that into account.
        for index in np.flatnonzero((margin[:, 1:] == margin[:, :-1]).any(axis=1)).tolist():
            areas[index] = self.score_set(index).curve().area
        return areas


def seen_unseen_curve(scores: Array, truth: Array, unseen: Iterable[int]) -> SeenUnseenCurve:
    """All calibrations of scores (n, C) for rows of classes truth (n,): exact, O(n C + n log n).

    A row's prediction changes from its best seen to its best unseen class where g passes its margin.
    Raises BenchError for scores that are not finite, labels outside 0 .. C - 1, and rows or classes that
    are all seen or all unseen."""
    return Candidates.of(scores, truth, unseen).curve()


def harmonic_mean(seen: Any, unseen: Any) -> Array:
    """2 S U / (S + U), any shape; 0 where both are 0."""
    numerator = 2 * np.multiply(seen, unseen, dtype=float)
    total = np.add(seen, unseen, dtype=float)
    mean: Array = numerator / np.where(total > 0, total, 1)
    return mean


def stacking_margins(scores: Array, unseen: Iterable[int]) -> Array:
    """Best seen - best unseen score (n,) of scores (n, C): the calibrations at which predictions
    change."""
    scores, is_unseen = _checked_scores(scores, unseen)
    return _candidates(scores, is_unseen)[2]


def share_below(margins: Array, calibration: float) -> float:
    """The share in [0, 1] of margins (n,) below a calibration, those equal to it counted half.

    Unlike a calibration it has no unit: one chosen on some classes holds for more of them, and for other
    scales of scores, if both margins are of rows of one kind. Rows of seen classes that were not trained
    on are: they are available before any test row."""
    margins = _checked_margins(margins)
    return float((margins < calibration).mean() + (margins == calibration).mean() / 2)


def calibration_at(margins: Array, share: float) -> float:
    """The calibration with that share, in [0, 1], of margins (n,) below it, interpolated between margins:
    the inverse of `share_below`. At 0 it is below all of them, at 1 above. Raises BenchError for
    others."""
    if not 0 <= share <= 1:
        raise BenchError(f"share {share} of rows: give a number from 0 to 1")
    edges = _between(np.sort(_checked_margins(margins)))
    return float(np.interp(share * (len(edges) - 1), np.arange(len(edges)), edges))


def calibrated_scores(scores: Array, unseen: Iterable[int], calibration: float) -> Array:
    """f_c - g [c seen] of scores f (n, C) and a finite calibration g: the largest is the prediction."""
    if not np.isfinite(calibration):
        raise BenchError(f"calibration {calibration} leaves no finite scores: give a finite one")
    scores, is_unseen = _checked_scores(scores, unseen)
    calibrated: Array = scores - calibration * ~is_unseen
    return calibrated


def _candidates(scores: Array, is_unseen: Array) -> tuple[Array, Array, Array]:
    """Best seen class, best unseen class and margin (..., n) of scores (..., n, C)."""
    columns = np.ascontiguousarray(np.moveaxis(scores, -1, 0))
    best_seen, seen_score = _best(columns, np.flatnonzero(~is_unseen))
    best_unseen, unseen_score = _best(columns, np.flatnonzero(is_unseen))
    return best_seen, best_unseen, np.subtract(seen_score, unseen_score, dtype=np.float64)


def _best(columns: Array, classes: Array) -> tuple[Array, Array]:
    """The class with the largest score, ties to the first, and that score, of columns (C, ...). Class by
    class: NumPy is slow along rows as short as these."""
    score = columns[classes[0]]
    best = np.full(score.shape, classes[0])
    for c in classes[1:]:
        np.putmask(best, columns[c] > score, c)
        score = np.maximum(score, columns[c])
    return best, score


def _between(steps: Array) -> Array:
    """Midpoints (k + 1,) between neighbours of rising steps (k,), and one number outside on each side."""
    pad = (steps[-1] - steps[0]) / len(steps) or max(1.0, abs(float(steps[0])))
    middle = steps[:-1] / 2 + steps[1:] / 2
    return np.concatenate([[steps[0] - pad], middle, [steps[-1] + pad]])


def _checked_margins(values: Array) -> Array:
    margins = np.asarray(values, np.float64)
    if margins.ndim != 1 or not margins.size or not np.isfinite(margins).all():
        raise BenchError(f"margins of shape {margins.shape}: give a list of finite numbers")
    return margins


def _checked_scores(values: Array, unseen: Iterable[int]) -> tuple[Array, Array]:
    """Scores (..., n, C) as floats, and which classes are unseen: bool (C,)."""
    scores, unseen_classes = np.asarray(values), sorted(set(unseen))
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    if scores.ndim < 2 or not np.isfinite(scores).all():
        raise BenchError(f"scores of shape {scores.shape}: give finite ones, (rows, classes)")
    count = scores.shape[-1]
    if not 0 < len(unseen_classes) < count or unseen_classes[0] < 0 or unseen_classes[-1] >= count:
        raise BenchError(
            f"unseen classes {unseen_classes[:5]} of {count}: give some of 0 to {count - 1}, not all"
        )
    is_unseen = np.zeros(count, bool)
    is_unseen[unseen_classes] = True
    return scores, is_unseen


def _checked(values: Array, truth: Array, unseen: Iterable[int]) -> tuple[Array, Array, Array]:
    """Scores and unseen classes as `_checked_scores`, with truth (n,) as int64 between them."""
    scores, is_unseen = _checked_scores(values, unseen)
    truth, count = np.asarray(truth), scores.shape[-2]
    if truth.shape != (count,) or truth.dtype.kind not in "iu":
        raise BenchError(f"labels are {truth.dtype} {truth.shape} for {count} rows")
    require_labels(truth, len(is_unseen))
    of_unseen = is_unseen[truth]
    if of_unseen.all() or not of_unseen.any():
        raise BenchError("rows of seen and of unseen classes are needed, not of one kind alone")
    return scores, truth.astype(np.int64), is_unseen
