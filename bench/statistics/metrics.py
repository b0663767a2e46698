"""Metrics: predictions against labels, for each kind of target. Only the runner calls them.

All that is known of a metric is its entry in `METRICS`; a new one is a new entry, and moves no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

REVISION = 1
KNOWN_AS = "metrics"  # its key in the revisions of records

Array = npt.NDArray[Any]
Stored = Mapping[str, Array]
KINDS = ("classes", "unseen", "binary", "number")


@dataclass(frozen=True)
class PredictedRows:
    """The rows with a label of a target of classes, or of one column of yes/no labels or numbers.

    truth: (n,); prediction: (n, k) for classes, else (n,); otherwise as for `score`.
    """

    truth: Array
    prediction: Array
    probabilistic: bool
    temperature: float | None = None
    unseen: frozenset[int] = frozenset()

    @cached_property
    def is_right(self) -> Array:
        """(n,): is the class with the best score the true one?"""
        right: Array = self.prediction.argmax(axis=1) == self.truth
        return right

    @cached_property
    def is_unseen(self) -> Array:
        """(n,): is the true class an unseen one?"""
        return np.isin(self.truth, sorted(self.unseen))

    @cached_property
    def calibrated(self) -> PredictedRows | None:
        """With log-probabilities divided by the temperature; None without one."""
        if self.temperature is None:
            return None
        scaled = self.prediction / self.temperature
        scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        return replace(self, prediction=scaled)


class Formula(NamedTuple):
    """A metric of one kind of target.

    value: of one column, None where it has none; the metric is the mean over columns. rows: scores (n,) of
    test rows whose mean is the metric, from stored predictions as `results.predictions.decode` gives them,
    with `labelled` (n,) or (n, k); None: it is not a mean over rows. stored: the parts that `rows` needs.
    """

    value: Callable[[PredictedRows], float | None] | None
    rows: Callable[[Stored], Array] | None = None
    stored: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Formulas by kind of target; `unseen`: classes of which some are unseen.

    scale: the factor that the metric is shown with, 100 (per cent), or 1 where it has no ceiling.
    bounds: the least and the largest value of one row's score, and so of the metric.
    """

    classes: Formula | None = None
    unseen: Formula | None = None
    binary: Formula | None = None
    number: Formula | None = None
    higher_is_better: bool = True
    scale: float = 100.0
    bounds: tuple[float, float] = (0.0, 1.0)

    def formula(self, kind: str) -> Formula:
        """One without functions for a kind of target that the metric is not for."""
        return getattr(self, kind) or Formula(None)

    @property
    def stored(self) -> frozenset[str]:
        """The parts of stored predictions that its row scores need, of any kind of target."""
        return frozenset(p for kind in KINDS for p in self.formula(kind).stored)


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
    invalid = np.isinf(prediction) if kind == "number" else np.isposinf(prediction)
    if np.isnan(prediction).any() or invalid.any():
        raise BenchError("predictions hold NaN or infinity")
    prediction = prediction.astype(np.float64)
    truth = truth.astype(np.float64) if kind == "number" else truth
    columns = (
        [(truth, prediction)] if kind == "classes" else zip(truth.T, prediction.T, strict=True)
    )
    targets = []
    for labels, predicted in columns:
        labelled = ~np.isnan(labels) if kind == "number" else labels >= 0
        if labelled.any():
            rows = labels[labelled], predicted[labelled]
            targets.append(PredictedRows(*rows, probabilistic, temperature, unseen))
    if not targets:
        raise BenchError("no test row has a label")
    if kind == "classes" and unseen:
        kind, is_unseen = "unseen", targets[0].is_unseen
        if is_unseen.all() or not is_unseen.any():
            raise BenchError("a zero-shot task needs test rows of seen and of unseen classes")
    scores: dict[str, float] = {}
    for name, metric in METRICS.items():
        if value := metric.formula(kind).value:
            numbers = [number for number in map(value, targets) if number is not None]
            scores |= {name: float(np.mean(numbers))} if numbers else {}
    return scores


def row_metrics(kind: str) -> list[str]:
    """The metrics of a kind of target that are means over test rows, so that these are a sample."""
    return sorted(name for name, metric in METRICS.items() if metric.formula(kind).rows)


def _per_class(truth: Array, right: Array) -> float:
    """Mean over the classes present of the share of right rows."""
    counts = np.bincount(truth)
    hits = np.bincount(truth, weights=right, minlength=len(counts))
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def _influences(values: Array, labelled: Array) -> Array:
    """(n, ...) whose means are those of the labelled values (n, ...), and vary between draws of rows as
    these: a row without a label counts as the mean."""
    if labelled.all():
        return np.asarray(values, dtype=float)
    share = labelled.mean(axis=0)
    mean: Array = np.where(labelled, values, 0.0).mean(axis=0) / share
    return mean + np.where(labelled, (values - mean) / share, 0.0)


def _rows_of_columns(values: Array, labelled: Array) -> Array:
    """(n,) whose mean is the mean over columns of the values (n, k) of their labelled rows."""
    rows: Array = _influences(values, labelled).mean(axis=1)
    return rows


def _balanced_rows(stored: Stored) -> Array:
    """The mean recall, and of a row how far its class's recall would move it."""
    truth, labelled = stored["truth"], stored["labelled"]
    right = (stored["class"] == truth) & labelled
    counts = np.bincount(truth[labelled])
    hits = np.bincount(truth[labelled], weights=right[labelled], minlength=len(counts))
    recalls = hits / counts.clip(1)
    present, own = counts > 0, truth.clip(0, len(counts) - 1)
    weights = len(truth) / (present.sum() * counts[own].clip(1))
    moved = np.where(labelled, weights * (right - recalls[own]), 0.0)
    rows: Array = recalls[present].mean() + moved
    return rows


def _top5(rows: PredictedRows) -> float | None:
    """From 20 classes on; ties by order, as argmax.

    The lowest score of a row tells nothing for a class, unless all are equal: classes without a vote share
    the lowest probability, and those among the five that come first in order are not predicted.
    """
    if rows.prediction.shape[1] < 20:
        return None
    best = np.argsort(-rows.prediction, axis=1, kind="stable")[:, :5]
    of_truth = rows.prediction[np.arange(len(rows.truth)), rows.truth]
    lowest, highest = rows.prediction.min(axis=1), rows.prediction.max(axis=1)
    is_told = (of_truth > lowest) | (lowest == highest)
    return float(((best == rows.truth[:, None]).any(axis=1) & is_told).mean())


def _nll(rows: PredictedRows | None) -> float | None:
    if rows is None or not rows.probabilistic:
        return None
    of_truth = rows.prediction[np.arange(len(rows.truth)), rows.truth]
    return float(-of_truth.clip(-1e4).mean())


def _ece(rows: PredictedRows | None) -> float | None:
    if rows is None or not rows.probabilistic:
        return None
    return calibration_error(np.exp(rows.prediction.max(axis=1)), rows.is_right)


def calibration_error(confidence: Array, right: Array, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017, arXiv:1706.04599).

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
    0.4
    """
    bin_of_row = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of_row, weights=confidence - right, minlength=bins)
    return round(float(np.abs(gaps).sum() / len(confidence)), 12)


# Generalised zero-shot accuracy, per class (Xian et al. 2018, arXiv:1707.00600).


def _zero_shot(rows: PredictedRows) -> float:
    """Unseen rows among the unseen classes alone."""
    scores, truth = rows.prediction[rows.is_unseen], rows.truth[rows.is_unseen]
    scores[:, [c for c in range(scores.shape[1]) if c not in rows.unseen]] = -np.inf
    return _per_class(truth, scores.argmax(axis=1) == truth)


def _recall(rows: PredictedRows, chosen: Array) -> float:
    """Of the classes of the chosen rows, among all classes."""
    return _per_class(rows.truth[chosen], rows.is_right[chosen])


def _harmonic_mean(rows: PredictedRows) -> float:
    s, u = _recall(rows, ~rows.is_unseen), _recall(rows, rows.is_unseen)
    return 2 * s * u / (s + u) if s + u else 0.0


def _yes_accuracy(rows: PredictedRows) -> float:
    threshold = np.log(0.5) if rows.probabilistic else 0.0
    return float(((rows.prediction > threshold) == (rows.truth == 1)).mean())


def _yes_nll(rows: PredictedRows) -> float | None:
    if not rows.probabilistic:
        return None
    log_yes = rows.prediction.clip(-1e4, -1e-12)
    return -float(np.where(rows.truth == 1, log_yes, np.log(-np.expm1(log_yes))).mean())


def _average_precision(rows: PredictedRows) -> float | None:
    """Area under the precision-recall curve by steps, equal values taken together; none for a label
    without a yes or without a no among its rows."""
    if not 0 < rows.truth.sum() < len(rows.truth):
        return None
    order = np.argsort(-rows.prediction, kind="stable")
    value, positive = rows.prediction[order], rows.truth[order] == 1
    ends = np.append(np.flatnonzero(value[1:] != value[:-1]), len(value) - 1)  # of equal values
    hits = np.cumsum(positive)[ends]
    precision = hits / (ends + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


def _squares(truth: Array, value: Array) -> Array:
    squares: Array = (value - np.nan_to_num(truth)) ** 2
    return squares


def _mse(rows: PredictedRows) -> float:
    return float(((rows.truth - rows.prediction) ** 2).mean())


def _r2(rows: PredictedRows) -> float | None:
    """None for a constant rows."""
    variance = float(rows.truth.var())
    return 1 - _mse(rows) / variance if variance > 0 else None


def _r2_rows(stored: Stored) -> Array:
    varies = np.nanvar(stored["truth"], axis=0) > 0
    truth, value, labelled = (stored[name][:, varies] for name in ("truth", "value", "labelled"))
    shares = 1 - _squares(truth, value) / np.nanvar(truth, axis=0)
    return _rows_of_columns(shares, labelled)


# A target's scores have the order of this table. `scoring.class_splits` fills in those without a value
# function: they need a solver, whose REVISION must not enter the digests of what imports metrics.
METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(
        classes=Formula(
            lambda r: float(r.is_right.mean()),
            lambda s: _influences(s["class"] == s["truth"], s["labelled"]),
            ("class",),
        ),
        binary=Formula(
            _yes_accuracy,
            lambda s: _rows_of_columns(s["yes"] == s["truth"], s["labelled"]),
            ("yes",),
        ),
    ),
    "balanced_accuracy": Metric(
        classes=Formula(lambda r: _per_class(r.truth, r.is_right), _balanced_rows, ("class",))
    ),
    "average_precision": Metric(binary=Formula(_average_precision)),
    "top5": Metric(classes=Formula(_top5)),
    "nll": Metric(
        classes=Formula(
            _nll, lambda s: _influences(-s["true"], s["labelled"]), ("class", "top", "true")
        ),
        binary=Formula(_yes_nll),
        higher_is_better=False,
        scale=1.0,
        bounds=(0.0, math.inf),
    ),
    "ece": Metric(classes=Formula(_ece), higher_is_better=False),
    "calibrated_nll": Metric(
        classes=Formula(lambda r: _nll(r.calibrated)),
        higher_is_better=False,
        scale=1.0,
        bounds=(0.0, math.inf),
    ),
    "calibrated_ece": Metric(classes=Formula(lambda r: _ece(r.calibrated)), higher_is_better=False),
    "zero_shot": Metric(unseen=Formula(_zero_shot)),
    "seen": Metric(unseen=Formula(lambda r: _recall(r, ~r.is_unseen))),
    "unseen": Metric(unseen=Formula(lambda r: _recall(r, r.is_unseen))),
    "harmonic_mean": Metric(unseen=Formula(_harmonic_mean)),
    "ausuc": Metric(unseen=Formula(None)),
    "oracle_harmonic_mean": Metric(unseen=Formula(None)),
    "mse": Metric(
        number=Formula(
            _mse,
            lambda s: _rows_of_columns(_squares(s["truth"], s["value"]), s["labelled"]),
            ("value",),
        ),
        higher_is_better=False,
        scale=1.0,
        bounds=(0.0, math.inf),
    ),
    "r2": Metric(number=Formula(_r2, _r2_rows, ("value",)), bounds=(-math.inf, 1.0)),
}
