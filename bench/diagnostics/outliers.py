"""Does a representation tell images of another data set from its own, by how near its own are?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.diagnostics.base import Context
from bench.solvers.neighbours import nearest

REVISION = 1
BANK, IMAGES, NEIGHBOURS = 10_000, 2_000, 5
Array = npt.NDArray[Any]


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Area under the ROC curve, in [0, 1], by which the mean cosine distance from the five nearest of
    10,000 training images tells 2,000 images of the task's `outliers` from 2,000 validation images; 0.5
    is chance. None where the task names no outliers.

    Neighbours as in Sun et al. 2022, arXiv:2204.06507.
    """
    if context.outliers is None:
        return {"auroc": None}
    bank = context.trained[context.level][:BANK]
    others = context.outliers.read(np.arange(min(IMAGES, len(context.outliers))))
    own = far(context.features[context.level][:IMAGES], bank)
    return {"auroc": auroc(own, far(context.encode(others), bank))}


def far(features: Array, bank: Array) -> Array:
    """Mean cosine distance (n,), in [0, 2], of features (n, d) from their nearest in a bank (m, d)."""
    found: Array = 1 - nearest(features, bank, NEIGHBOURS)[1].mean(axis=1)
    return found


def auroc(own: Array, others: Array) -> float:
    """The share of pairs in which the other lies farther out, ties half (Mann and Whitney 1947)."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(own), len(others)])
    return float(roc_auc_score(truth, np.concatenate([own, others])))
