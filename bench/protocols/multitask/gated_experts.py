"""Gated experts: each task weights shared experts, input by input (Ma et al. 2018)."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import ArmSettings, MultiTask
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often


class GatedExperts(MultiTask):
    """Ma et al. 2018, Modeling task relationships in multi-task learning with multi-gate
    mixture-of-experts, KDD. Experts have as many parameters as a tower for each task would have
    together. Gates are linear in the input, start with equal weights, and have no weight decay."""

    def __init__(self, meta: Meta, seed: int, settings: ArmSettings, *, experts: int) -> None:
        super().__init__(meta, seed, settings)
        if experts < 1:
            raise BenchError(f"gated_experts,experts={experts}: must be 1 or more")
        self._experts = experts

    def layout(self, dim: int) -> Layout:
        width = self._settings.width
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
    """The protocol; arguments as in `bench.protocols.parts.multitask.ArmSettings`. `experts`: how
    many share the parameters.

    Raises BenchError for values out of range.
    """
    settings = ArmSettings(
        arm="gated_experts", pca=pca, width=width, epochs=epochs, trials=trials, weighting=weighting,
        rate=rate, decay=decay, dropout=dropout, weights=weights,
    )  # fmt: skip
    return GatedExperts(meta, seed, settings, experts=experts)
