"""Does each unit of a small code stand for one factor, and each factor for one unit?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.diagnostics.base import Context, deliver
from bench.diagnostics.parts.factors import levels
from bench.seeding import generator, stream

REVISION = 1
LARGEST = 64  # units; of larger codes no unit is meant to stand for anything
ROWS, BINS = 5_000, 20
TREES, DRAWN = 20, 1_000  # rows a tree
Array = npt.NDArray[Any]
NAMES = ("mig", "mig of a rotation", "disentanglement", "completeness", "informativeness")


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Of the level `code` where there is one, else of the level that is read out, on 5,000 training
    images, all in [0, 1]; None for more than 64 units and for fewer than two factors.

    - mig: `information_gap`; of a rotation: of the code turned at random, as good for any linear probe.
    - disentanglement, completeness: of the importances of units for random forests that tell each factor
      from the code; informativeness: the forests' accuracy on validation images, mean over factors
      (Eastwood and Williams 2018, openreview.net/forum?id=By-7dz-AZ).
    """
    level = "code" if "code" in context.encoder.dims else context.level
    factors = levels(context.factors, context.training.y)
    if len(factors) < 2 or not 2 <= context.encoder.dims[level] <= LARGEST:
        return dict.fromkeys(NAMES)
    x = context.encode(deliver(context.training, ROWS), level)
    z = context.encode(deliver(context.validation, ROWS), level)
    y = {name: values[:ROWS] for name, values in factors.items()}
    truth = levels(context.factors, context.validation.y)
    rng = generator(context.seed, "disentanglement:rotation")
    turned = x @ np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0]
    importances, right = [], []
    for name, values in y.items():
        importance, accuracy = _forest(x, values, z, truth[name][: len(z)], context.seed)
        importances.append(importance)
        right.append(accuracy)
    apart, complete = entropies(np.stack(importances, axis=1))
    return {
        "mig": information_gap(x, y.values()),
        "mig of a rotation": information_gap(turned, y.values()),
        "disentanglement": apart,
        "completeness": complete,
        "informativeness": float(np.mean(right)),
    }


def information_gap(code: Array, factors: Any) -> float:
    """How much more the unit that tells most of a factor tells than the next, over the factor's entropy,
    mean over factors (Chen et al. 2018, arXiv:1802.04942); units of code (n, d) in 20 bins of equal
    width."""
    from sklearn.metrics import mutual_info_score

    binned = np.stack([_binned(unit) for unit in code.T])
    gaps = []
    for values in factors:
        known = values >= 0
        told = sorted(mutual_info_score(values[known], unit[known]) for unit in binned)
        entropy = mutual_info_score(values[known], values[known])
        gaps.append((told[-1] - told[-2]) / entropy if entropy else 0.0)
    return float(np.mean(gaps))


def _binned(unit: Array) -> Array:
    low, high = float(unit.min()), float(unit.max())
    if low == high:
        return np.zeros(len(unit), np.int64)
    return np.minimum((BINS * (unit - low) / (high - low)).astype(np.int64), BINS - 1)


def _forest(x: Array, y: Array, z: Array, truth: Array, seed: int) -> tuple[Array, float]:
    """Importance (d,) of each unit, and the accuracy on z."""
    from sklearn.ensemble import RandomForestClassifier

    known, asked = y >= 0, truth >= 0
    forest = RandomForestClassifier(
        TREES,
        max_features=None,
        max_samples=min(DRAWN, int(known.sum())),
        random_state=stream(seed, "disentanglement:forest") % 2**32,
    ).fit(x[known], y[known])
    return forest.feature_importances_, float((forest.predict(z[asked]) == truth[asked]).mean())


def entropies(importances: Array) -> tuple[float, float]:
    """Disentanglement and completeness of importances (units, factors), 0 or more: 1 less the entropy of a
    unit's row, or of a factor's column, in units of the largest there can be; means weighed by their
    sums."""
    return _sharp(importances), _sharp(importances.T)


def _sharp(table: Array) -> float:
    sums = table.sum(axis=1)
    if not sums.any() or table.shape[1] < 2:
        return 0.0
    shares = table[sums > 0] / sums[sums > 0, None]
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    sharp = 1 + (shares * logs).sum(axis=1) / np.log(table.shape[1])
    return float(np.average(sharp, weights=sums[sums > 0]))
