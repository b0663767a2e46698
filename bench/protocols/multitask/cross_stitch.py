"""Cross-stitch units: each task reads a learnt mixture of all towers (Misra et al. 2016)."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import ArmSettings, MultiTask
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often


class CrossStitch(MultiTask):
    """Misra et al. 2016, arXiv:1604.03539. A unit starts as 0.9 of its own tower, the remainder shared by
    the others; its rate is ten times that of the towers, without weight decay."""

    def layout(self, dim: int) -> Layout:
        return Layout(towers=len(self.sizes), width=self._settings.width, mix="stitch")


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
) -> CrossStitch:
    """The protocol; arguments as in `bench.protocols.parts.multitask.ArmSettings`.

    Raises BenchError for values out of range.
    """
    settings = ArmSettings(
        arm="cross_stitch", pca=pca, width=width, epochs=epochs, trials=trials, weighting=weighting,
        rate=rate, decay=decay, dropout=dropout, weights=weights,
    )  # fmt: skip
    return CrossStitch(meta, seed, settings)
