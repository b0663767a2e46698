"""Soft sharing: a tower for each task, with a penalty on their squared distances."""

from __future__ import annotations

import math
from typing import Literal

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import ArmSettings, MultiTask
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often

COUPLINGS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, math.inf)


class SoftSharing(MultiTask):
    """Towers are coupled in pairs, heads are not (Duong et al. 2015, doi:10.3115/v1/P15-2139, for two
    networks). Coupling 0 is `single_task`, infinity `hard_sharing,slim=true`. All towers start equal, so
    that the penalty does not depend on the order of their units."""

    def __init__(self, meta: Meta, seed: int, settings: ArmSettings, *, chosen: bool) -> None:
        super().__init__(meta, seed, settings)
        self.couplings = COUPLINGS if chosen else (settings.coupling,)

    def layout(self, dim: int) -> Layout:
        return Layout(towers=len(self.sizes), width=self._settings.width, mix="separate")


def _coupling(text: str) -> float:
    """Text to a number from 0 to infinity, "chosen" to 0. Raises BenchError for anything else."""
    try:
        coupling = 0.0 if text == "chosen" else float(text)
    except ValueError:
        coupling = math.nan
    if not coupling >= 0:
        raise BenchError(
            f"soft_sharing,coupling={text}: must be a number of 0 or more, inf or chosen"
        )
    return coupling


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
    """The protocol; arguments as in `bench.protocols.parts.multitask.ArmSettings`. `coupling`: a
    number of 0 or more, "inf", or "chosen" by the trials.

    Raises BenchError for values out of range.
    """
    settings = ArmSettings(
        arm="soft_sharing", pca=pca, width=width, epochs=epochs, trials=trials, weighting=weighting,
        rate=rate, decay=decay, dropout=dropout, weights=weights, coupling=_coupling(coupling),
    )  # fmt: skip
    return SoftSharing(meta, seed, settings, chosen=coupling == "chosen")
