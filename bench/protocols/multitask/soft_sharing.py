"""Soft sharing: towers of their own, held together by their squared distance."""

from __future__ import annotations

import math
from typing import Literal

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import MultiTask, Plan
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often


COUPLINGS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, math.inf)


class SoftSharing(MultiTask):
    """Parameters of towers are coupled in pairs, heads are free (Duong et al. 2015,
    doi:10.3115/v1/P15-2139, for two networks). Coupling 0 is `single_task`; infinite, it is
    `hard_sharing,slim=true`. All towers start alike, so that no permutation of units is held against
    them."""

    def __init__(self, meta: Meta, seed: int, plan: Plan, *, chosen: bool) -> None:
        super().__init__(meta, seed, plan)
        self.couplings = COUPLINGS if chosen else (plan.coupling,)

    def layout(self, dim: int) -> Layout:
        return Layout(towers=len(self.sizes), width=self._plan.width, mix="separate")


def _coupling(text: str) -> float:
    """A float, of "chosen" 0 until it is. Raises BenchError for anything else."""
    try:
        found = 0.0 if text == "chosen" else float(text)
    except ValueError:
        found = math.nan
    if not found >= 0:
        raise BenchError(
            f"soft_sharing,coupling={text}: a number from 0 on, inf or chosen is wanted"
        )
    return found


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
    coupling: str = "chosen",
    weights: str = "",
) -> SoftSharing:
    """The arm; arguments as in `bench.protocols.parts.multitask.Plan`. `coupling`: a number
    from 0 on, "inf", or "chosen" by the trials.

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
        coupling=_coupling(coupling),
        weights=weights,
    )
    return SoftSharing(meta, seed, plan.checked("soft_sharing"), chosen=coupling == "chosen")
