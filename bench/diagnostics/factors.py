"""What of the factors that made an image can be read off its features, each by a linear probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Target
from bench.diagnostics.base import Context
from bench.diagnostics.parts.factors import independent
from bench.solvers.ridge import RidgePath

REVISION = 1
ROWS = 5_000
GRID = np.logspace(1, -7, 17)  # of the mean variance of a feature
Array = npt.NDArray[Any]


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Of the level that is read out, by ridge regression on 5,000 training images, its penalty chosen by
    leaving one out: accuracy on validation images of factors that are classes, R2 of those that are
    numbers (mean over columns; below 0 is worse than the mean). Empty for fewer than two factors.
    """
    factors = independent(context.factors)
    if len(factors) < 2:
        return {}
    x = context.trained[context.level][:ROWS]
    y = {name: np.asarray(context.training.y[name])[:ROWS] for name in factors}
    truth = {name: np.asarray(context.validation.y[name]) for name in factors}
    return probed(factors, x, y, context.features[context.level], truth)


def probed(
    factors: Mapping[str, Target],
    x: Array,
    y: Mapping[str, Array],
    z: Array,
    truth: Mapping[str, Array],
) -> dict[str, float | None]:
    """Scores on features z (m, d) of probes fitted to x (n, d); rows that lack a label are left out."""
    found: dict[str, float | None] = {}
    for name, told in read_off(factors, x, y, z).items():
        if factors[name].kind == "classes":
            rows = truth[name] >= 0
            hits = told[rows].argmax(axis=1) == truth[name][rows]
            found[f"accuracy of {name}"] = float(hits.mean()) if rows.any() else None
        else:
            found[f"R2 of {name}"] = explained(told, truth[name])
    return found


def read_off(
    factors: Mapping[str, Target], x: Array, y: Mapping[str, Array], z: Array
) -> dict[str, Array]:
    """What probes fitted to x (n, d) say of features z (m, d): by factor (m, size), scores of classes or
    the numbers themselves. The penalty of each factor is chosen by leaving one row out."""
    coded = np.concatenate([_numbers(target, y[name]) for name, target in factors.items()], axis=1)
    known = ~np.isnan(coded).any(axis=1)
    grid = GRID * (float(x[known].var(axis=0, dtype=np.float64).mean()) or 1.0)
    path = RidgePath(x[known], coded[known])
    errors, solved = path.left_out_errors(grid), path.solve(grid)
    found: dict[str, Array] = {}
    start = 0
    for name, target in factors.items():
        own = slice(start, start + target.size)
        start += target.size
        best = int(errors[:, own].sum(axis=1).argmin())
        found[name] = z @ solved.weights[best][:, own] + solved.biases[best][own]
    return found


def _numbers(target: Target, labels: Array) -> Array:
    """(n, size): ones and zeros for classes; NaN where a label is missing."""
    if target.kind != "classes":
        return np.asarray(labels, dtype=np.float64)
    found: Array = np.eye(target.size)[labels.clip(0)]
    found[labels < 0] = np.nan
    return found


def explained(told: Array, truth: Array) -> float | None:
    """R2, mean over the columns of truth (n, k) that vary; None where none does."""
    rows = ~np.isnan(truth).any(axis=1)
    truth, told = truth[rows].astype(np.float64), told[rows]
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0) if len(truth) else np.zeros(1)
    varies = spread > 0
    if not varies.any():
        return None
    return float((1 - np.square(told - truth).sum(axis=0)[varies] / spread[varies]).mean())
