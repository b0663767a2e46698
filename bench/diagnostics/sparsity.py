"""Sparsity of a code: how many units are active for an image, and how many images activate a unit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.data.samples import Array
from bench.diagnostics.base import Context

REVISION = 1
SILENT = 1e-6  # of the root mean square of all activations: at most this is no activity


def diagnose(context: Context) -> Mapping[str, float | None]:
    """`measures` of the task's level on validation images, all in [0, 1]."""
    return measures(context.validation_features[context.level])


def measures(features: Array) -> dict[str, float | None]:
    """Of absolute activations |features| (n images, d units): the sign of a unit does not matter.

    - hoyer: (sqrt(d) - l1/l2) / (sqrt(d) - 1), mean over images that have any activity: 1 where one unit
      is active, 0 where all are equal (Hoyer 2004, JMLR 5). None for one unit, or no activity.
    - lifetime: 1 - (mean r)^2 / mean r^2 over images, mean over units that have any activity; population:
      the same over units, mean over images (Treves and Rolls 1991, doi:10.1088/0954-898X_2_4_004).
    - active: the share of units that an image activates. A code is distributed where it is above 1/d.
    - dead: the share of units that are constant over images; always: those that every image activates.
    """
    activity = np.abs(np.asarray(features, dtype=np.float64))
    d = activity.shape[1]
    scale = math.sqrt(np.square(activity).mean())
    active = activity > SILENT * scale
    has_activity = active.any(axis=1)
    hoyer = None
    if d > 1 and has_activity.any():
        rows = activity[has_activity]
        ratio = rows.sum(axis=1) / np.sqrt(np.square(rows).sum(axis=1))
        hoyer = float(((math.sqrt(d) - ratio) / (math.sqrt(d) - 1)).mean())
    spread = np.asarray(features, dtype=np.float64).std(axis=0)
    return {
        "hoyer": hoyer,
        "lifetime": _treves_rolls(activity, 0),
        "population": _treves_rolls(activity, 1),
        "active": float(active.mean()),
        "dead": float((spread <= SILENT * scale).mean()),
        "always": float(active.all(axis=0).mean()),
    }


def _treves_rolls(activity: Array, axis: int) -> float | None:
    """1 - (mean r)^2 / mean r^2 along an axis, mean over the slices with activity; None without any."""
    mean_squares = np.square(activity).mean(axis=axis)
    nonzero = mean_squares > 0
    if not nonzero.any():
        return None
    squared_means = np.square(activity.mean(axis=axis)[nonzero])
    return float((1 - squared_means / mean_squares[nonzero]).mean())
