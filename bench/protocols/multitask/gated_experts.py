"""Gated experts: each task weighs shared experts, input by input (Ma et al. 2018)."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import MultiTask, Plan
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often


class GatedExperts(MultiTask):
    """Ma et al. 2018, Modeling task relationships in multi-task learning with multi-gate
    mixture-of-experts, KDD. Towers as wide as makes the parameters those of towers of their own; gates
    are linear in the input, begin alike, and do not decay."""

    def __init__(self, meta: Meta, seed: int, plan: Plan, *, experts: int) -> None:
        super().__init__(meta, seed, plan)
        if experts < 1:
            raise BenchError(f"gated_experts,experts={experts}: 1 or more are wanted")
        self._experts = experts

    def layout(self, dim: int) -> Layout:
        width = self._plan.width
        return self.matched(dim, Layout(towers=self._experts, width=width, mix="gates"))


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 64,
    width: int = 256,
    experts: int = 4,
    epochs: int = 30,
    trials: int = 12,
    weighting: Literal["equal", "static", "random"] = "equal",
    rate: float = 0.0,
    decay: float = 0.0,
    dropout: float = 0.0,
    weights: str = "",
) -> GatedExperts:
    """The arm; arguments as in `bench.protocols.parts.multitask.Plan`. `experts` share the
    parameters.

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
    return GatedExperts(meta, seed, plan.checked("gated_experts"), experts=experts)
