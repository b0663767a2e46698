"""The type of arrays, and checks of inputs that several solvers share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

Array = npt.NDArray[Any]


def penalty_grid(penalties: Array) -> Array:
    """Penalties (l,) as float64. Raises BenchError unless all are finite and above 0."""
    grid = np.asarray(penalties, np.float64)
    if grid.ndim != 1 or not grid.size or not (np.isfinite(grid) & (grid > 0)).all():
        raise BenchError(f"penalties {penalties} are not allowed: give a list of finite values > 0")
    return grid


def require_labels(labels: Array, classes: int, *, missing: bool = False) -> None:
    """Raise BenchError unless integer labels (n,) are 0 to classes - 1, or, if they may be missing, -1."""
    lowest = -1 if missing else 0
    if len(labels) and not lowest <= labels.min() <= labels.max() < classes:
        missing_one = ", and -1 for a missing one," if missing else ""
        without = "" if missing else "leave out rows without a label (-1), "
        raise BenchError(
            f"labels run from {labels.min()} to {labels.max()}: with {classes} classes 0 to {classes - 1}"
            f"{missing_one} are allowed; renumber them, {without}or raise the number of classes"
        )


def require_finite(values: Array, column_name: str) -> None:
    """Raise BenchError, with the first place, where values (n, d) hold NaN or infinity."""
    if not np.isfinite(values.sum(dtype=np.float64)):
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise BenchError(
            f"{column_name} {column} of row {row} is {values[row, column]}: only finite values are "
            "allowed; drop the row or correct what made it"
        )


def require_labelled_rows(x: Array, y: Array, classes: int) -> None:
    """Raise BenchError unless features x (n, d) are finite and labels y (n,) are 0 to classes - 1."""
    if classes < 2:
        raise BenchError(
            f"classes {classes} is not allowed: give the number of classes, at least 2"
        )
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size:
        raise BenchError(
            f"features of shape {x.shape} with labels of shape {y.shape}: "
            "give features (n, d) and labels (n,) with n and d at least 1"
        )
    if x.dtype.kind != "f" or y.dtype.kind not in "iu":
        raise BenchError(
            f"features of type {x.dtype} with labels of type {y.dtype}: "
            "give floating-point features and integer labels"
        )
    require_finite(x, "feature")
    require_labels(y, classes)


def require_descent(
    gap: float, unit: str, max_iterations: int, start: Array | None, shape: tuple[int, int]
) -> None:
    """Raise BenchError unless a gap is finite and above 0, iterations are allowed, and weights (l, d, k)
    to start from, if any, are of the problem's shape (d, k). unit: of the gap."""
    if not (math.isfinite(gap) and gap > 0):
        raise BenchError(f"gap {gap} is not allowed: give a finite {unit}")
    if max_iterations < 1:
        raise BenchError(f"max_iterations {max_iterations} is not allowed: give at least 1")
    if start is not None and start.shape[1:] != shape:
        raise BenchError(
            f"start has weights of shape {start.shape[1:]}, this problem needs {shape}: start from a "
            "solution with these features and classes"
        )
