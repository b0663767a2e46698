"""Can attributes of classes be read off features, of classes that were there and of others?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.diagnostics.base import Context
from bench.solvers.ridge import RidgePath

REVISION = 1
ROWS = 10_000
AXES = 128  # principal axes of the training features that are read
GRID = np.logspace(1, -5, 13)  # of the mean variance of an axis
Array = npt.NDArray[Any]


def diagnose(context: Context) -> Mapping[str, float | None]:
    """R2, at most 1, of attributes predicted by ridge regression from 128 principal axes of the features
    of 10,000 training images, mean over attributes: `images`, of validation images after a fit to all
    classes; `classes`, of those of each class after a fit without it; and the share of attributes that
    the latter tells better than their mean does. The penalty is chosen on training images: by leaving
    one image out, or one more class. Empty where the task's first target has no signatures.

    What zero-shot methods stand on: attributes that nothing tells of new classes help with none.
    """
    name, target = next(iter(context.meta.targets.items()))
    if target.semantics is None or not np.isfinite(target.semantics).all():
        return {}
    y, truth = (np.asarray(part.y[name]) for part in (context.training, context.validation))
    y, kept = y[:ROWS], truth >= 0
    x, z = _axes(
        context.trained[context.level][:ROWS][y >= 0], context.features[context.level][kept]
    )
    y, truth = y[y >= 0], truth[kept]
    table = target.semantics.astype(np.float64)
    seen = np.unique(y)
    if len(seen) < 3:
        return {}
    images = explained(_fit(x, table[y])(z), table[truth])
    told, sums = np.empty((len(z), table.shape[1])), Sums.of(x, y, len(table))
    for out in seen:
        rows = truth == out
        told[rows] = _without(x, y, sums, table, int(out))(z[rows])
    asked = np.isin(truth, seen)
    classes = explained(told[asked], table[truth[asked]])
    return {
        "images": _mean(images),
        "classes": _mean(classes),
        "attributes told": _mean([None if v is None else float(v > 0) for v in classes]),
    }


def _axes(x: Array, z: Array) -> tuple[Array, Array]:
    """Both about the mean of x (n, d), on its principal axes: float64 (n, k) and (m, k)."""
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :AXES]
    return centred @ axes, (z - mean) @ axes


def _grid(x: Array) -> Array:
    found: Array = GRID * (float(x.var(axis=0).mean()) or 1.0)
    return found


def _fit(x: Array, y: Array) -> Callable[[Array], Array]:
    """Predictions by the penalty, for each attribute, of the least error on images that are left out one
    by one."""
    path, grid = RidgePath(x, y), _grid(x)
    solved = path.solve(grid)
    return _best(solved.weights, solved.biases, path.left_out_errors(grid))


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Rows x of classes y, by class, so that a fit to some of the classes need not go through them."""

    counts: Array  # (C,)
    sums: Array  # (C, d)
    grams: Array  # (C, d, d)

    @classmethod
    def of(cls, x: Array, y: Array, classes: int) -> Sums:
        parts = [x[y == c] for c in range(classes)]
        return cls(
            np.array([len(part) for part in parts], dtype=float),
            np.stack([part.sum(axis=0) for part in parts]),
            np.stack([part.T @ part for part in parts]),
        )

    def solve(self, chosen: Array, table: Array, grid: Array) -> tuple[Array, Array]:
        """Ridge regression of the signatures (C, m) on the rows of the chosen classes, as `RidgePath`
        has it: weights (l, d, m) and biases (l, m) for every penalty (l,)."""
        counts, sums, own = self.counts[chosen], self.sums[chosen], table[chosen]
        n = counts.sum()
        mean, middle = sums.sum(axis=0) / n, counts @ own / n
        values, turn = np.linalg.eigh(self.grams[chosen].sum(axis=0) - n * np.outer(mean, mean))
        inner = turn.T @ (sums - counts[:, None] * mean).T @ (own - middle)
        weights = turn @ (inner / (values.clip(0) + n * grid[:, None])[..., None])
        return weights, middle - mean @ weights


def _without(x: Array, y: Array, sums: Sums, table: Array, out: int) -> Callable[[Array], Array]:
    """Predictions after a fit without a class, by the penalty, for each attribute, of the least error on
    the others when they are left out one by one too."""
    grid, rest = _grid(x), np.array([c for c in np.unique(y) if c != out])
    errors = np.zeros((len(grid), table.shape[1]))
    for other in rest:
        weights, biases = sums.solve(rest[rest != other], table, grid)
        told = x[y == other] @ weights + biases[:, None]
        errors += np.square(told - table[other]).mean(axis=1)
    return _best(*sums.solve(rest, table, grid), errors)


def _best(weights: Array, biases: Array, errors: Array) -> Callable[[Array], Array]:
    """Predictions by the penalty of the least of errors (l, m), for each attribute."""
    best, columns = errors.argmin(axis=0), np.arange(errors.shape[1])
    chosen, bias = weights[best, :, columns].T, biases[best, columns]
    return lambda z: z @ chosen + bias


def explained(told: Array, truth: Array) -> list[float | None]:
    """R2 of each column of truth (n, k); None where it does not vary."""
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    error = np.square(told - truth).sum(axis=0)
    return [float(1 - e / s) if s > 1e-12 else None for e, s in zip(error, spread, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return float(np.mean(some)) if some else None
