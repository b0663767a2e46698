"""Hard sharing: one tower for all tasks, a head for each (Caruana 1997)."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.multitask import ArmSettings, MultiTask
from bench.solvers.towers import Layout

REVISION = 1
EXAMPLE = "pca=0,width=16,epochs=200,trials=4,rate=0.01"  # the check kit fits often


class HardSharing(MultiTask):
    """Caruana 1997, Multitask learning, Machine Learning 28. The tower has as many parameters as one for
    each task would have together; slim: it is as wide as one of them."""

    def __init__(self, meta: Meta, seed: int, settings: ArmSettings, *, slim: bool) -> None:
        super().__init__(meta, seed, settings)
        self._slim = slim

    def layout(self, dim: int) -> Layout:
        layout = Layout(towers=1, width=self._settings.width, mix="shared")
        return layout if self._slim else self.matched(dim, layout)


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    pca: int = 64,
    width: int = 256,
    slim: bool = False,
    epochs: int = 30,
    trials: int = 12,
    weighting: Literal["equal", "static", "random"] = "equal",
    rate: float = 0.0,
    decay: float = 0.0,
    dropout: float = 0.0,
    weights: str = "",
) -> HardSharing:
    """The protocol; arguments as in `bench.protocols.parts.multitask.ArmSettings`. `slim`: as
    wide as one task's tower, instead of as many parameters as all of them.

    Raises BenchError for values out of range.
    """
    settings = ArmSettings(
        arm="hard_sharing", pca=pca, width=width, epochs=epochs, trials=trials, weighting=weighting,
        rate=rate, decay=decay, dropout=dropout, weights=weights,
    )  # fmt: skip
    return HardSharing(meta, seed, settings, slim=slim)
