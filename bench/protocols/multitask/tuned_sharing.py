"""Sharing with the trunk fine-tuned: one for all tasks, or a copy for each, held together or not."""

from __future__ import annotations

import copy
import math
from itertools import combinations

import torch
from torch import Tensor, nn

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.finetune import FineTune, Plan, Tuned
from bench.protocols.parts.probe import LinearHeads

REVISION = 1
EXAMPLE = "images=2000"  # the check kit fits often


class Copies(Tuned):
    """A trunk a task, all starting as the one that is given: inputs to logits (n, k) by target."""

    def __init__(self, trunk: nn.Module, head: LinearHeads, coupling: float) -> None:
        super().__init__(trunk, head)
        del self.trunk
        self.trunks = nn.ModuleList(copy.deepcopy(trunk) for _ in head.names)
        self.coupling = coupling

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {
            name: layer(trunk(x).flatten(1))
            for name, trunk, layer in zip(
                self.head.names, self.trunks, self.head.layers, strict=True
            )
        }

    def parts(self) -> list[list[nn.Parameter]]:
        """A trunk and its own head: at coupling 0 each task trains as it would alone."""
        return [
            [*trunk.parameters(), *layer.parameters()]
            for trunk, layer in zip(self.trunks, self.head.layers, strict=True)
        ]

    def penalty(self) -> Tensor | None:
        """Half the coupling times the squared distances of all pairs of trunks."""
        if not self.coupling:
            return None
        apart = [
            (a - b).square().sum()
            for one, other in combinations(self.trunks, 2)
            for a, b in zip(one.parameters(), other.parameters(), strict=True)
        ]
        return self.coupling / 2 * torch.stack(apart).sum() if apart else None


class TunedSharing(FineTune):
    """As `finetune` on all targets together. Coupling infinite: one trunk under all heads (hard sharing,
    Caruana 1997). 0: a copy of it for each task, which are then tuned apart. Between: copies held
    together by their squared distance, which is 0 at the start (soft sharing, Duong et al. 2015,
    doi:10.3115/v1/P15-2139). Every task sees every image, so copies cost as many passes each.
    """

    def __init__(
        self, meta: Meta, trunk: TrunkFactory, seed: int, plan: Plan, coupling: float
    ) -> None:
        super().__init__(meta, trunk, seed, plan)
        self._coupling = coupling

    def joined(self, trunk: nn.Module, head: LinearHeads) -> Tuned:
        if math.isinf(self._coupling):
            return Tuned(trunk, head)
        return Copies(trunk, head, self._coupling)


def build(
    *,
    meta: Meta,
    trunk: TrunkFactory,
    seed: int,
    images: int = 100_000,
    rate: float = 0.0,
    least: float = 1e-3,
    blocks: int = 0,
    coupling: str = "inf",
) -> TunedSharing:
    """`images` drawn for each fit; the learning `rate`, 0: one of four from `least` on, half a decade
    apart; the last `blocks` stages alone; the `coupling` of trunks, "inf" or a number from 0 on.

    Raises BenchError for what is below its least value.
    """
    try:
        held = float(coupling)
    except ValueError:
        held = math.nan
    if images < 1 or rate < 0 or blocks < 0 or not least > 0 or not held >= 0:
        raise BenchError(
            f"tuned_sharing,images={images},rate={rate:g},least={least:g},blocks={blocks},"
            f"coupling={coupling}: images from 1, least above 0, the others from 0 on are wanted"
        )
    plan = Plan(images=images, rate=rate, least=least, blocks=blocks, start="probe")
    return TunedSharing(meta, trunk, seed, plan, held)
