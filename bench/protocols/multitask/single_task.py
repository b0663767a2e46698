"""A tower of its own for every task: what sharing is measured against."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import MultiTask, Plan
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often


class SingleTask(MultiTask):
    """Nothing is shared: summed losses train each tower as it would be trained alone, since the optimiser
    works number by number and no gradient is cut."""

    def layout(self, dim: int) -> Layout:
        return Layout(towers=len(self.sizes), width=self._plan.width, mix="separate")


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
    """The arm; arguments as in `bench.protocols.parts.multitask.Plan`.

    Raises BenchError for what is below its least value.
    """
    plan = Plan(
        pca=pca,
        width=width,
        epochs=epochs,
        trials=trials,
        weighting=weighting,
        rate=rate,
        decay=decay,
        dropout=dropout,
        coupling=0.0,
        weights=weights,
    )
    return SingleTask(meta, seed, plan.checked("single_task"))
