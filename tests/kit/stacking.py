"""Per-class accuracies at one calibration, and the area in one call, for tests of zero-shot methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.solvers.stacking import Candidates, harmonic_mean, seen_unseen_curve

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Per-class accuracies at one calibration, each in [0, 1]."""

    zero_shot: float  # T1: unseen rows among unseen classes alone
    seen: float  # S: seen rows among all classes
    unseen: float  # U: unseen rows among all classes
    harmonic_mean: float  # of S and U


def ausuc(scores: Array, truth: Array, unseen: Iterable[int]) -> float:
    """Area under the seen-unseen curve in [0, 1] of scores (n, C)."""
    return seen_unseen_curve(scores, truth, unseen).area


def accuracies(
    scores: Array, truth: Array, unseen: Iterable[int], calibration: float
) -> Accuracies:
    """Of scores (n, C) at a calibration, which may be infinite; equal scores go to the lower class."""
    if np.isnan(calibration):
        raise BenchError("the calibration is NaN: give a number, or an infinity of either sign")
    candidates = Candidates.of(scores, truth, unseen)
    seen, unseen_best, margin = candidates.best_seen, candidates.best_unseen, candidates.margin
    tied = np.minimum(seen, unseen_best)
    predicted = np.where(
        margin > calibration, seen, np.where(margin < calibration, unseen_best, tied)
    )
    rows, weights = candidates.is_unseen[truth], candidates.weights
    right = weights * (predicted == truth)
    s, u = min(float(right[~rows].sum()), 1.0), min(float(right[rows].sum()), 1.0)
    zero_shot = min(float((weights * (unseen_best == truth))[rows].sum()), 1.0)
    return Accuracies(zero_shot, s, u, float(harmonic_mean(s, u)))
