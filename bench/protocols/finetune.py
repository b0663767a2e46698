"""Fine-tuning (`ft-v1`): the trunk is tuned under a head that starts as its linear probe."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.finetune import FineTune, FrozenFineTune, TuningPlan

REVISION = 1
EXAMPLE = "images=2000"  # the check kit fits often


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    images: int = 150_000,
    rate: float = 0.0,
    least: float = 1e-3,
    blocks: int = 0,
    start: Literal["probe", "zero"] = "probe",
) -> FineTune:
    """The tuned trunk under its head, or at `images=0` the probe.

    images, rate, least, blocks, start: as in `bench.protocols.parts.finetune.TuningPlan`

    Raises BenchError for negative numbers, and `least` of 0.
    """
    if images < 0 or rate < 0 or blocks < 0 or not least > 0:
        raise BenchError(
            f"finetune,images={images},rate={rate:g},least={least:g},blocks={blocks}: least must be "
            "above 0, the others 0 or more"
        )
    plan = TuningPlan(images=images, rate=rate, least=least, blocks=blocks, start=start)
    return FineTune(meta, trunk, seed, plan) if images else FrozenFineTune(meta, trunk, seed, plan)
