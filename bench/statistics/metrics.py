"""Metrics: predictions against labels, for each kind of target. Only the runner calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

REVISION = 1
KNOWN_AS = "metrics"  # its key in the revisions of records

Array = npt.NDArray[Any]

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "accuracy": True,
    "ausuc": True,
    "average_precision": True,
    "balanced_accuracy": True,
    "calibrated_ece": False,
    "calibrated_nll": False,
    "ece": False,
    "harmonic_mean": True,
    "mse": False,
    "nll": False,
    "oracle_harmonic_mean": True,
    "r2": True,
    "seen": True,
    "top5": True,
    "unseen": True,
    "zero_shot": True,
}


def score(
    kind: str,
    truth: Array,
    prediction: Array,
    *,
    probabilistic: bool,
    temperature: float | None = None,
    unseen: frozenset[int] = frozenset(),
) -> dict[str, float]:
    """All metrics of one target; rows (for yes/no labels and numbers, cells) without a label skipped.

    truth: as in `Samples.y`; prediction (n, k): log-probabilities if `probabilistic`, else scores
    (yes/no labels: log p(yes), or a score above 0 for yes), or values. `temperature` divides the
    log-probabilities in the calibrated columns. Raises BenchError for predictions that are not
    finite or not of the labels' length.
    """
    if len(prediction) != len(truth) or prediction.ndim != 2:
        raise BenchError(f"predictions are {prediction.shape} for {len(truth)} rows")
    if np.isnan(prediction).any() or np.isposinf(prediction).any():
        raise BenchError("predictions hold NaN or infinity")
    prediction = prediction.astype(np.float64)
    if kind == "number":
        if np.isinf(prediction).any():
            raise BenchError("predictions hold NaN or infinity")
        return _numbers(truth, prediction)
    if kind == "binary":
        return _yes_no(truth, prediction, probabilistic)
    known = truth >= 0
    truth, prediction = truth[known], prediction[known]
    if not len(truth):
        raise BenchError("no test row has a label")
    if unseen:
        return _zero_shot(truth, prediction, unseen)
    guess = prediction.argmax(axis=1)
    scores = {
        "accuracy": float((guess == truth).mean()),
        "balanced_accuracy": _per_class(truth, guess == truth),
    }
    if prediction.shape[1] >= 20:
        best = np.argsort(-prediction, axis=1, kind="stable")[:, :5]  # ties by order, as argmax
        scores["top5"] = float((best == truth[:, None]).any(axis=1).mean())
    if probabilistic:
        scores |= _likelihood(truth, prediction, "")
        if temperature is not None:
            scaled = prediction / temperature
            scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
            scores |= _likelihood(truth, scaled, "calibrated_")
    return scores


def _per_class(truth: Array, right: Array) -> float:
    """Mean over the classes present of the share of right rows."""
    counts = np.bincount(truth)
    hits = np.bincount(truth, weights=right, minlength=len(counts))
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def _likelihood(truth: Array, log_probability: Array, prefix: str) -> dict[str, float]:
    own = log_probability[np.arange(len(truth)), truth]
    confidence = np.exp(log_probability.max(axis=1))
    right = log_probability.argmax(axis=1) == truth
    return {
        f"{prefix}nll": float(-own.clip(-1e4).mean()),
        f"{prefix}ece": calibration_error(confidence, right),
    }


def calibration_error(confidence: Array, right: Array, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017, arXiv:1706.04599).

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
    0.4
    """
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=confidence - right, minlength=bins)
    return round(float(np.abs(gaps).sum() / len(confidence)), 12)


def _zero_shot(truth: Array, scores: Array, unseen: frozenset[int]) -> dict[str, float]:
    """Generalised zero-shot accuracy, per class (Xian et al. 2018, arXiv:1707.00600).

    `zero_shot`: unseen rows among the unseen classes alone; `seen` and `unseen`: among all classes;
    `harmonic_mean` of these two.
    """
    new = np.isin(truth, sorted(unseen))
    if new.all() or not new.any():
        raise BenchError("a zero-shot task needs test rows of seen and of unseen classes")
    right = scores.argmax(axis=1) == truth
    outside = [c for c in range(scores.shape[1]) if c not in unseen]
    among = scores[new].copy()
    among[:, outside] = -np.inf
    s, u = _per_class(truth[~new], right[~new]), _per_class(truth[new], right[new])
    return {
        "zero_shot": _per_class(truth[new], among.argmax(axis=1) == truth[new]),
        "seen": s,
        "unseen": u,
        "harmonic_mean": 2 * s * u / (s + u) if s + u else 0.0,
    }


def _yes_no(truth: Array, prediction: Array, probabilistic: bool) -> dict[str, float]:
    """Means over labels; a label with no yes or no no among its rows has no average precision."""
    threshold = np.log(0.5) if probabilistic else 0.0
    accuracies, precisions, likelihoods = [], [], []
    for label, value in zip(truth.T, prediction.T, strict=True):
        known = label >= 0
        label, value = label[known], value[known]
        if not len(label):
            continue
        accuracies.append(float(((value > threshold) == (label == 1)).mean()))
        if 0 < label.sum() < len(label):
            precisions.append(_average_precision(label == 1, value))
        if probabilistic:
            value = value.clip(-1e4, -1e-12)
            likelihoods.append(-float(np.where(label == 1, value, np.log(-np.expm1(value))).mean()))
    if not accuracies:
        raise BenchError("no test row has a label")
    scores = {"accuracy": float(np.mean(accuracies))}
    if precisions:
        scores["average_precision"] = float(np.mean(precisions))
    if likelihoods:
        scores["nll"] = float(np.mean(likelihoods))
    return scores


def _average_precision(positive: Array, value: Array) -> float:
    """Area under the precision-recall curve by steps, equal values taken together."""
    order = np.argsort(-value, kind="stable")
    value, positive = value[order], positive[order]
    last = np.append(
        np.flatnonzero(value[1:] != value[:-1]), len(value) - 1
    )  # ends of runs of equal values
    hits = np.cumsum(positive)[last]
    precision = hits / (last + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


def _numbers(truth: Array, value: Array) -> dict[str, float]:
    """Mean over the columns of the squared error and of R^2 (a constant column has no R^2)."""
    errors, shares = [], []
    for column, guess in zip(truth.T.astype(np.float64), value.T, strict=True):
        known = ~np.isnan(column)
        if not known.any():
            continue
        column, guess = column[known], guess[known]
        errors.append(float(((column - guess) ** 2).mean()))
        spread = float(column.var())
        if spread > 0:
            shares.append(1 - errors[-1] / spread)
    if not errors:
        raise BenchError("no test row has a label")
    scores = {"mse": float(np.mean(errors))}
    if shares:
        scores["r2"] = float(np.mean(shares))
    return scores
