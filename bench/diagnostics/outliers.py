"""Detection of images of another data set by the distance from the nearest training images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.samples import Array
from bench.diagnostics.base import Context
from bench.solvers.neighbours import nearest

REVISION = 1
BANK, IMAGES, NEIGHBOURS = 10_000, 2_000, 5


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Area under the ROC curve, in [0, 1], of 2,000 images of the task's `outliers` against 2,000
    validation images; 0.5 is chance. The score is the mean cosine distance from the five nearest of 10,000
    training images (Sun et al. 2022, arXiv:2204.06507). None where the task names no outliers.
    """
    if context.outliers is None:
        return {"auroc": None}
    bank = context.training_features[context.level][:BANK]
    outliers = context.outliers.read(np.arange(min(IMAGES, len(context.outliers))))
    inlier_distances = knn_distance(context.validation_features[context.level][:IMAGES], bank)
    return {"auroc": auroc(inlier_distances, knn_distance(context.encode(outliers), bank))}


def knn_distance(features: Array, bank: Array) -> Array:
    """Mean cosine distance (n,), in [0, 2], from features (n, d) to their five nearest in a bank (m,
    d)."""
    distance: Array = 1 - nearest(features, bank, NEIGHBOURS)[1].mean(axis=1)
    return distance


def auroc(inliers: Array, outliers: Array) -> float:
    """The share of pairs in which the outlier is farther away, ties half (Mann and Whitney 1947)."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(inliers), len(outliers)])
    return float(roc_auc_score(truth, np.concatenate([inliers, outliers])))
