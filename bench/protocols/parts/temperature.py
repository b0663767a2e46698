"""The temperature by which logits are divided, judged on validation rows that did not fit it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from bench.data.samples import Array

FOLDS = 5
LEAST_ROWS = 10  # below which nothing is fitted
LOWEST, HIGHEST = 1e-3, 1e3  # temperatures


class _Rows(NamedTuple):
    """Logits (n, k) float64, their true classes (n,), and of each row the likeliest wrong class (n,)."""

    logits: Array
    truth: Array
    wrong: Array

    def take(self, rows: Array) -> _Rows:
        return _Rows(self.logits[rows], self.truth[rows], self.wrong[rows])

    def of(self, classes: Array) -> Array:
        """(n,): the logit of one class a row."""
        return self.logits[np.arange(len(self.logits)), classes]


def chosen_temperature(logits: Array, truth: Array) -> float:
    """The temperature of logits (n, k) for classes (n,) of least negative log-likelihood (NLL; Guo et al.
    2017, arXiv:1706.04599), or 1.0 unless it lowers the NLL of rows that did not fit it by more than one
    standard error.

    Each of five folds is judged at the temperature that the other rows fit. In both, a label is wrong with
    probability 1 / (n + 2), the expected share of errors where n rows show none (rule of succession, as in
    Platt 1999), and the likeliest other class is then right. Without this, rows that are all right sharpen
    without end, and the first error that is met costs more than they gained.
    Fewer than ten rows, a single class and logits that are not finite choose nothing.
    Logits c times as large give a temperature c times as large, where one is chosen.
    """
    if len(logits) < LEAST_ROWS or logits.shape[1] < 2 or not np.isfinite(logits).all():
        return 1.0
    exact, row = logits.astype(np.float64), np.arange(len(logits))
    others = exact.copy()
    others[row, truth] = -math.inf
    rows = _Rows(exact, truth, others.argmax(axis=1))
    fold = _folds(rows)
    gains = np.empty((2, len(logits)))  # where the label is right, and where it is wrong
    for number in range(FOLDS):
        out = fold == number
        temperature, held_out = _fitted(rows.take(~out)), rows.take(out)
        gains[:, out] = _losses(held_out, 1.0) - _losses(held_out, temperature)
    share = np.array([[1 - _wrong_share(len(logits))], [_wrong_share(len(logits))]])
    mean = (share * gains).sum(axis=0).mean()
    variance = (share * (gains - mean) ** 2).sum(axis=0).mean()
    return _fitted(rows) if mean > math.sqrt(variance / len(logits)) else 1.0


def _wrong_share(n: int) -> float:
    return 1 / (n + 2)


def _folds(rows: _Rows) -> Array:
    """The fold (n,) of each row: every class, and in it rows with small and with large margins, is spread
    evenly over all folds, whatever the order and the scale of the rows."""
    margin = rows.of(rows.truth) - rows.of(rows.wrong)
    fold = np.empty(len(margin), dtype=np.int64)
    fold[np.lexsort((margin, rows.truth))] = np.arange(len(margin)) % FOLDS
    return fold


def _losses(rows: _Rows, temperature: float) -> Array:
    """(2, n): -log p of the true class, and of the likeliest wrong one."""
    normaliser = np.logaddexp.reduce(rows.logits / temperature, axis=1)
    losses: Array = normaliser - np.stack([rows.of(rows.truth), rows.of(rows.wrong)]) / temperature
    return losses


def _fitted(rows: _Rows) -> float:
    """The temperature at which the smoothed NLL, convex in its inverse, has slope 0; the nearer end of the
    range where there is none."""
    centred = rows.logits - rows.logits.max(axis=1, keepdims=True)
    share = _wrong_share(len(centred))
    target = (1 - share) * rows.of(rows.truth) + share * rows.of(rows.wrong)
    target = (target - rows.logits.max(axis=1)).mean()

    def slope(log_inverse: float) -> float:
        weights = np.exp(centred * math.exp(log_inverse))
        expected = (weights * centred).sum(axis=1) / weights.sum(axis=1)
        return float(expected.mean() - target)

    low, high = -math.log(HIGHEST), -math.log(LOWEST)
    if slope(low) >= 0:
        return HIGHEST
    if slope(high) <= 0:
        return LOWEST
    return math.exp(-brentq(slope, low, high, xtol=1e-9))
