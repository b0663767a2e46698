"""Are attributes of classes linearly decodable from features, for known classes and for held-out ones?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.samples import Array
from bench.diagnostics.base import Context
from bench.solvers.ridge import RidgePath

REVISION = 1
ROWS = 10_000
AXES = 128  # principal axes of the training features
GRID = np.logspace(1, -5, 13)  # penalties, in units of the mean variance of an axis


def diagnose(context: Context) -> Mapping[str, float | None]:
    """R2, at most 1, of attributes predicted by ridge regression from 128 principal axes of the features
    of 10,000 training images, mean over attributes. `images`: on validation images, after a fit to all
    classes; `classes`: on those of each class, after a fit without it; `attributes told`: the share of
    attributes in [0, 1] whose R2 on held-out classes is above 0. The penalty is chosen on training images,
    by leaving out one image, or one more class. Empty where the task's first target has no signatures.

    Zero-shot methods depend on it: an attribute that cannot be predicted for new classes is of no use.
    """
    name, target = next(iter(context.meta.targets.items()))
    if target.semantics is None or not np.isfinite(target.semantics).all():
        return {}
    y, truth = (np.asarray(part.y[name]) for part in (context.training, context.validation))
    y, labelled = y[:ROWS], truth >= 0
    training = context.training_features[context.level][:ROWS][y >= 0]
    x, z = _axes(training, context.validation_features[context.level][labelled])
    y, truth = y[y >= 0], truth[labelled]
    table = target.semantics.astype(np.float64)
    seen = np.unique(y)
    if len(seen) < 3:
        return {}
    images = r_squared(_fit(x, table[y])(z), table[truth])
    predictions, sums = np.empty((len(z), table.shape[1])), RidgeClassSums.of(x, y, len(table))
    for out in seen:
        rows = truth == out
        predictions[rows] = _fit_without(x, y, sums, table, int(out))(z[rows])
    scored = np.isin(truth, seen)
    classes = r_squared(predictions[scored], table[truth[scored]])
    return {
        "images": _mean(images),
        "classes": _mean(classes),
        "attributes told": _mean([None if v is None else float(v > 0) for v in classes]),
    }


def _axes(x: Array, z: Array) -> tuple[Array, Array]:
    """x (n, d) and z (m, d) minus the mean of x, on the principal axes of x: float64 (n, k), (m, k)."""
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :AXES]
    return centred @ axes, (z - mean) @ axes


def _grid(x: Array) -> Array:
    penalties: Array = GRID * (float(x.var(axis=0).mean()) or 1.0)
    return penalties


def _fit(x: Array, y: Array) -> Callable[[Array], Array]:
    """The predictor with, for each attribute, the penalty of the least leave-one-image-out error."""
    path, grid = RidgePath(x, y), _grid(x)
    solved = path.solve(grid)
    return _best(solved.weights, solved.biases, path.left_out_errors(grid))


@dataclass(frozen=True, slots=True, eq=False)
class RidgeClassSums:
    """Sums over the rows of each class, so that a fit to a subset of classes needs no pass over rows."""

    counts: Array  # (C,)
    sums: Array  # (C, d)
    grams: Array  # (C, d, d)

    @classmethod
    def of(cls, x: Array, y: Array, classes: int) -> RidgeClassSums:
        parts = [x[y == c] for c in range(classes)]
        return cls(
            np.array([len(part) for part in parts], dtype=float),
            np.stack([part.sum(axis=0) for part in parts]),
            np.stack([part.T @ part for part in parts]),
        )

    def solve(self, chosen: Array, table: Array, grid: Array) -> tuple[Array, Array]:
        """Ridge regression of signatures (C, m) on the rows of the chosen classes, with the objective of
        `RidgePath`: weights (l, d, m) and biases (l, m) for every penalty (l,)."""
        counts, sums, targets = self.counts[chosen], self.sums[chosen], table[chosen]
        n = counts.sum()
        mean, target_mean = sums.sum(axis=0) / n, counts @ targets / n
        values, basis = np.linalg.eigh(self.grams[chosen].sum(axis=0) - n * np.outer(mean, mean))
        core = basis.T @ (sums - counts[:, None] * mean).T @ (targets - target_mean)
        weights = basis @ (core / (values.clip(0) + n * grid[:, None])[..., None])
        return weights, target_mean - mean @ weights


def _fit_without(
    x: Array, y: Array, sums: RidgeClassSums, table: Array, out: int
) -> Callable[[Array], Array]:
    """The predictor fitted without class `out`, with, for each attribute, the penalty of the least error
    when each of the remaining classes is left out in turn."""
    grid, classes = _grid(x), np.array([c for c in np.unique(y) if c != out])
    errors = np.zeros((len(grid), table.shape[1]))
    for left_out in classes:
        weights, biases = sums.solve(classes[classes != left_out], table, grid)
        predictions = x[y == left_out] @ weights + biases[:, None]
        errors += np.square(predictions - table[left_out]).mean(axis=1)
    return _best(*sums.solve(classes, table, grid), errors)


def _best(weights: Array, biases: Array, errors: Array) -> Callable[[Array], Array]:
    """The predictor with, for each attribute, the penalty of the least of errors (l, m)."""
    best, columns = errors.argmin(axis=0), np.arange(errors.shape[1])
    chosen, bias = weights[best, :, columns].T, biases[best, columns]
    return lambda z: z @ chosen + bias


def r_squared(predictions: Array, truth: Array) -> list[float | None]:
    """R2 = 1 - error / variance of each column of truth (n, k); None where it does not vary."""
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    error = np.square(predictions - truth).sum(axis=0)
    return [float(1 - e / s) if s > 1e-12 else None for e, s in zip(error, spread, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
