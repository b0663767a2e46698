"""Do clusters of a representation follow classes? Normalised mutual information of k-means with labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.samples import Array
from bench.diagnostics.base import Context

REVISION = 1
STARTS = 3


def diagnose(context: Context) -> Mapping[str, float | None]:
    """`agreement` in [0, 1] at the task's level, for each target of kind classes, on validation images;
    None where fewer than two classes have labels."""
    features = context.validation_features[context.level]
    return {
        f"nmi of {name}": agreement(features, context.validation.y[name], context.seed)
        for name, target in context.meta.targets.items()
        if target.kind == "classes"
    }


def agreement(features: Array, labels: Array, seed: int) -> float | None:
    """Normalised mutual information I(labels; clusters) / mean of their entropies, of labels (n,) and
    k-means clusters of features (n, d), as many as classes. Rows are scaled to unit length, as for nearest
    neighbours; of three starts the one of least inertia. Labels of -1 are left out.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    labelled = labels >= 0
    classes = len(np.unique(labels[labelled]))
    if classes < 2 or labelled.sum() <= classes:
        return None
    rows = np.asarray(features[labelled], dtype=np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    clusters = KMeans(classes, n_init=STARTS, random_state=seed).fit_predict(rows)
    return float(normalized_mutual_info_score(labels[labelled], clusters))
