"""Features and labels as multi-task heads read them.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Samples, Target
from bench.errors import BenchError

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Features (n, d) as heads read them: their first principal components on train, each of unit
    variance, and targets that are numbers standardised by train."""

    mean: Array
    axes: Array  # (d, p), divided by the deviations
    centres: Mapping[str, tuple[Array, Array]]

    @classmethod
    def of(cls, train: Samples, targets: Mapping[str, Target], pca: int) -> Reader:
        x = features_of(train.x)
        mean = x.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((x.shape[1], x.shape[1]))
        for start in range(0, len(x), 4096):
            part = x[start : start + 4096] - mean
            scatter += part.T @ part
        values, axes = np.linalg.eigh(scatter / len(x))
        kept = values[::-1] > 1e-9 * max(values[-1], 1e-30)
        axes, values = axes[:, ::-1][:, kept], values[::-1][kept]
        if pca:
            axes, values = axes[:, :pca], values[:pca]
        centres = {}
        for name, target in targets.items():
            if target.kind == "number":
                y = train.y[name]
                spread = np.nanstd(y, axis=0)
                centres[name] = np.nanmean(y, axis=0), np.where(spread > 0, spread, 1.0)
        return cls(mean.astype(np.float32), (axes / np.sqrt(values)).astype(np.float32), centres)

    def __call__(self, x: Array) -> Array:
        found: Array = (x - self.mean) @ self.axes
        return found

    def labels(self, y: Mapping[str, Array]) -> dict[str, Array]:
        return {
            name: ((values - self.centres[name][0]) / self.centres[name][1]).astype(np.float32)
            if name in self.centres
            else values
            for name, values in y.items()
        }


def features_of(x: Any) -> Array:
    """`Samples.x` where it holds features. Raises BenchError for images."""
    if not isinstance(x, np.ndarray):
        raise BenchError("multi-task heads read features; set input = 'features' in the task")
    return x
