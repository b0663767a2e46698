"""Fine-tuning (`ft-v1`): the trunk goes on learning, under a head that starts as its own linear probe."""

from __future__ import annotations

from typing import Literal

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.finetune import FineTune, Plan, Untuned

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
    """`images` drawn for each fit (0: nothing is tuned, the probe predicts); the learning `rate`, 0: one
    of four from `least` on, half a decade apart; the last `blocks` stages alone, for tasks whose input
    is activations; the head's `start`.

    Raises BenchError for what is negative, and a lowest rate of 0.
    """
    if images < 0 or rate < 0 or blocks < 0 or not least > 0:
        raise BenchError(
            f"finetune,images={images},rate={rate:g},least={least:g},blocks={blocks}: none is below 0, "
            "and least is above"
        )
    plan = Plan(images=images, rate=rate, least=least, blocks=blocks, start=start)
    return FineTune(meta, trunk, seed, plan) if images else Untuned(meta, trunk, seed, plan)
