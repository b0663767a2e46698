"""Which generative factors of an image are linearly decodable from its features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.samples import Array, Target
from bench.diagnostics.base import Context
from bench.diagnostics.parts.factors import independent
from bench.solvers.ridge import RidgePath

REVISION = 1
ROWS = 5_000
GRID = np.logspace(1, -7, 17)  # penalties, in units of the mean variance of a feature


def diagnose(context: Context) -> Mapping[str, float | None]:
    """At the task's level, by ridge regression on 5,000 training images, its penalty chosen by leaving one
    image out: accuracy on validation images of factors that are classes, R2 of those that are
    numbers (mean over columns; below 0 is worse than the mean). Empty for fewer than two factors.
    """
    factors = independent(context.factors)
    if len(factors) < 2:
        return {}
    x = context.training_features[context.level][:ROWS]
    y = {name: np.asarray(context.training.y[name])[:ROWS] for name in factors}
    truth = {name: np.asarray(context.validation.y[name]) for name in factors}
    return probed(factors, x, y, context.validation_features[context.level], truth)


def probed(
    factors: Mapping[str, Target],
    x: Array,
    y: Mapping[str, Array],
    z: Array,
    truth: Mapping[str, Array],
) -> dict[str, float | None]:
    """Scores on features z (m, d) with labels `truth` of probes fitted to features x (n, d) with labels y;
    rows without a label are left out."""
    scores: dict[str, float | None] = {}
    for name, predictions in probe_predictions(factors, x, y, z).items():
        if factors[name].kind == "classes":
            rows = truth[name] >= 0
            hits = predictions[rows].argmax(axis=1) == truth[name][rows]
            scores[f"accuracy of {name}"] = float(hits.mean()) if rows.any() else None
        else:
            scores[f"R2 of {name}"] = r_squared(predictions, truth[name])
    return scores


def probe_predictions(
    factors: Mapping[str, Target], x: Array, y: Mapping[str, Array], z: Array
) -> dict[str, Array]:
    """Predictions (m, size) for features z (m, d) by factor, of ridge probes fitted to x (n, d): scores of
    classes, or numbers. The penalty of each factor is chosen by leaving one row out."""
    coded = np.concatenate(
        [_regression_targets(target, y[name]) for name, target in factors.items()], axis=1
    )
    labelled = ~np.isnan(coded).any(axis=1)
    grid = GRID * (float(x[labelled].var(axis=0, dtype=np.float64).mean()) or 1.0)
    path = RidgePath(x[labelled], coded[labelled])
    errors, solved = path.left_out_errors(grid), path.solve(grid)
    predictions: dict[str, Array] = {}
    start = 0
    for name, target in factors.items():
        columns = slice(start, start + target.size)
        start += target.size
        best = int(errors[:, columns].sum(axis=1).argmin())
        predictions[name] = z @ solved.weights[best][:, columns] + solved.biases[best][columns]
    return predictions


def _regression_targets(target: Target, labels: Array) -> Array:
    """(n, size) float64: one-hot for classes, numbers as they are; NaN where a label is missing."""
    if target.kind != "classes":
        return np.asarray(labels, dtype=np.float64)
    one_hot: Array = np.eye(target.size)[labels.clip(0)]
    one_hot[labels < 0] = np.nan
    return one_hot


def r_squared(predictions: Array, truth: Array) -> float | None:
    """R2, mean over the columns of truth (n, k) that vary; None where none does."""
    rows = ~np.isnan(truth).any(axis=1)
    truth, predictions = truth[rows].astype(np.float64), predictions[rows]
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0) if len(truth) else np.zeros(1)
    varies = spread > 0
    if not varies.any():
        return None
    return float((1 - np.square(predictions - truth).sum(axis=0)[varies] / spread[varies]).mean())
