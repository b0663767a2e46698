"""Do clusters of a representation follow classes? Normalised mutual information of k-means with labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.diagnostics.base import Context

REVISION = 1
STARTS = 3
Array = npt.NDArray[Any]


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Of the level that is read out and each target that is classes, in [0, 1]; None where fewer than
    two classes have labels."""
    features = context.features[context.level]
    found: dict[str, float | None] = {}
    for name, target in context.meta.targets.items():
        if target.kind == "classes":
            found[f"nmi of {name}"] = agreement(features, context.validation.y[name], context.seed)
    return found


def agreement(features: Array, labels: Array, seed: int) -> float | None:
    """Normalised mutual information, by the arithmetic mean of entropies, of labels (n,) with k-means of
    features (n, d), as many clusters as classes. Rows have unit norm, as for the neighbours; the best of
    three starts by inertia. Labels of -1 are left out.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    kept = labels >= 0
    classes = len(np.unique(labels[kept]))
    if classes < 2 or kept.sum() <= classes:
        return None
    rows = np.asarray(features[kept], dtype=np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    found = KMeans(classes, n_init=STARTS, random_state=seed).fit_predict(rows)
    return float(normalized_mutual_info_score(labels[kept], found))
