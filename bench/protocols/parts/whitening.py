"""The inputs and labels of multi-task heads: whitened features, standardised numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.data.samples import Array, Samples, Target
from bench.protocols.base import features_of

READER = "a multi-task head"


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """Features (n, d) to their first p principal components on the training rows, each of variance 1."""

    mean: Array  # (d,) float32
    axes: Array  # (d, p) float32, divided by the standard deviations
    numbers: Mapping[
        str, tuple[Array, Array]
    ]  # mean and deviation (k,) of targets that are numbers

    @classmethod
    def of(cls, train: Samples, targets: Mapping[str, Target], pca: int) -> Whitening:
        """By the training rows, at most `pca` components (0: all of nonzero variance).

        Raises BenchError for images.
        """
        x = features_of(train.x, READER)
        mean = x.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((x.shape[1], x.shape[1]))
        for start in range(0, len(x), 4096):
            part = x[start : start + 4096] - mean
            scatter += part.T @ part
        values, axes = np.linalg.eigh(scatter / len(x))
        nonzero = values[::-1] > 1e-9 * max(values[-1], 1e-30)
        axes, values = axes[:, ::-1][:, nonzero], values[::-1][nonzero]
        if pca:
            axes, values = axes[:, :pca], values[:pca]
        numbers = {}
        for name, target in targets.items():
            if target.kind == "number":
                y = train.y[name]
                spread = np.nanstd(y, axis=0)
                numbers[name] = np.nanmean(y, axis=0), np.where(spread > 0, spread, 1.0)
        return cls(mean.astype(np.float32), (axes / np.sqrt(values)).astype(np.float32), numbers)

    def __call__(self, x: Array) -> Array:
        """(n, p) of features (n, d)."""
        whitened: Array = (x - self.mean) @ self.axes
        return whitened

    def labels(self, y: Mapping[str, Array]) -> dict[str, Array]:
        """Labels by target, numbers standardised."""
        return {
            name: ((values - self.numbers[name][0]) / self.numbers[name][1]).astype(np.float32)
            if name in self.numbers
            else values
            for name, values in y.items()
        }
