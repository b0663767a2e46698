"""A tower of its own for every task: the baseline of sharing."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import ArmSettings, MultiTask
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often


class SingleTask(MultiTask):
    """Nothing is shared: summed losses train each tower as it would be trained alone, since the optimiser
    works parameter by parameter and gradients are not clipped."""

    def layout(self, dim: int) -> Layout:
        return Layout(towers=len(self.sizes), width=self._settings.width, mix="separate")


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 64,
    width: int = 256,
    epochs: int = 30,
    trials: int = 12,
    weighting: Literal["equal", "static", "random"] = "equal",
    rate: float = 0.0,
    decay: float = 0.0,
    dropout: float = 0.0,
    weights: str = "",
) -> SingleTask:
    """The protocol; arguments as in `bench.protocols.parts.multitask.ArmSettings`.

    Raises BenchError for values out of range.
    """
    settings = ArmSettings(
        arm="single_task", pca=pca, width=width, epochs=epochs, trials=trials, weighting=weighting,
        rate=rate, decay=decay, dropout=dropout, weights=weights,
    )  # fmt: skip
    return SingleTask(meta, seed, settings)
