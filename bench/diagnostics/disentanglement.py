"""Does each unit of a small code encode one factor, and each factor one unit? MIG and DCI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from bench.data.samples import Array
from bench.diagnostics.base import Context, first_images
from bench.diagnostics.parts.factors import levels
from bench.seeding import generator, stream

REVISION = 1
LARGEST = 64  # units; in larger codes no unit is meant to encode a factor
ROWS, BINS = 5_000, 20
TREES, DRAWN = 20, 1_000  # rows a tree
NAMES = ("mig", "mig of a rotation", "disentanglement", "completeness", "informativeness")


def diagnose(context: Context) -> Mapping[str, float | None]:
    """At the level `code` where there is one, else at the task's level, on 5,000 training images, all in
    [0, 1]; None for more than 64 units and for fewer than two factors.

    - mig: `information_gap`; of a rotation: of the code randomly rotated, a control that linear probes
      cannot tell from it.
    - disentanglement, completeness: from the importances of units in random forests that predict each
      factor from the code; informativeness: the forests' accuracy on validation images, mean over factors
      (Eastwood and Williams 2018, openreview.net/forum?id=By-7dz-AZ).
    """
    level = "code" if "code" in context.encoder.dims else context.level
    factors = levels(context.factors, context.training.y)
    if len(factors) < 2 or not 2 <= context.encoder.dims[level] <= LARGEST:
        return dict.fromkeys(NAMES)
    x = context.encode(first_images(context.training, ROWS), level)
    z = context.encode(first_images(context.validation, ROWS), level)
    y = {name: values[:ROWS] for name, values in factors.items()}
    truth = levels(context.factors, context.validation.y)
    rng = generator(context.seed, "disentanglement:rotation")
    turned = x @ np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0]
    importances, right = [], []
    for name, values in y.items():
        importance, accuracy = _forest(x, values, z, truth[name][: len(z)], context.seed)
        importances.append(importance)
        right.append(accuracy)
    disentanglement, completeness = entropies(np.stack(importances, axis=1))
    return {
        "mig": information_gap(x, y.values()),
        "mig of a rotation": information_gap(turned, y.values()),
        "disentanglement": disentanglement,
        "completeness": completeness,
        "informativeness": float(np.mean(right)),
    }


def information_gap(code: Array, factors: Iterable[Array]) -> float:
    """(I_1 - I_2) / H in [0, 1], mean over factors (Chen et al. 2018, arXiv:1802.04942): the two largest
    mutual informations of a factor (n,) with a unit of code (n, d), over the factor's entropy. Units in 20
    bins of equal width; labels of -1 are left out."""
    from sklearn.metrics import mutual_info_score

    binned = np.stack([_binned(unit) for unit in code.T])
    gaps = []
    for values in factors:
        labelled = values >= 0
        information = sorted(mutual_info_score(values[labelled], unit[labelled]) for unit in binned)
        entropy = mutual_info_score(values[labelled], values[labelled])
        gaps.append((information[-1] - information[-2]) / entropy if entropy else 0.0)
    return float(np.mean(gaps))


def _binned(unit: Array) -> Array:
    low, high = float(unit.min()), float(unit.max())
    if low == high:
        return np.zeros(len(unit), np.int64)
    return np.minimum((BINS * (unit - low) / (high - low)).astype(np.int64), BINS - 1)


def _forest(x: Array, y: Array, z: Array, truth: Array, seed: int) -> tuple[Array, float]:
    """Importance (d,) of each unit in a forest fitted to codes x and labels y, and its accuracy on z."""
    from sklearn.ensemble import RandomForestClassifier

    train, test = y >= 0, truth >= 0
    forest = RandomForestClassifier(
        TREES,
        max_features=None,
        max_samples=min(DRAWN, int(train.sum())),
        random_state=stream(seed, "disentanglement:forest") % 2**32,
    ).fit(x[train], y[train])
    return forest.feature_importances_, float((forest.predict(z[test]) == truth[test]).mean())


def entropies(importances: Array) -> tuple[float, float]:
    """Disentanglement and completeness in [0, 1] of importances (units, factors), 0 or more: 1 - entropy /
    log(length) of each unit's row, or of each factor's column, averaged with their sums as weights."""
    return _concentration(importances), _concentration(importances.T)


def _concentration(table: Array) -> float:
    sums = table.sum(axis=1)
    if not sums.any() or table.shape[1] < 2:
        return 0.0
    shares = table[sums > 0] / sums[sums > 0, None]
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    by_row = 1 + (shares * logs).sum(axis=1) / np.log(table.shape[1])
    return float(np.average(by_row, weights=sums[sums > 0]))
