"""Sharing with a fine-tuned trunk: one for all tasks, or a copy for each, coupled or not."""

from __future__ import annotations

import copy
import math
from itertools import combinations

import torch
from torch import Tensor, nn

from bench.data.samples import Meta
from bench.errors import BenchError
from bench.protocols.base import TrunkFactory
from bench.protocols.parts.finetune import FineTune, TunedModel, TuningPlan
from bench.protocols.parts.probe import LinearHeads

REVISION = 1
EXAMPLE = "images=2000"  # the check kit fits often


class TrunkCopies(TunedModel):
    """A copy of the trunk for each task: inputs to logits (n, k) by target."""

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

    def clipped(self) -> list[list[nn.Parameter]]:
        """Each trunk with its head: at coupling 0 each task is trained as it would be alone."""
        return [
            [*trunk.parameters(), *layer.parameters()]
            for trunk, layer in zip(self.trunks, self.head.layers, strict=True)
        ]

    def penalty(self) -> Tensor | None:
        """coupling / 2 * sum over pairs of trunks of |a - b|^2 of their parameters; None at coupling 0."""
        if not self.coupling:
            return None
        distances = [
            (a - b).square().sum()
            for first, second in combinations(self.trunks, 2)
            for a, b in zip(first.parameters(), second.parameters(), strict=True)
        ]
        return self.coupling / 2 * torch.stack(distances).sum() if distances else None


class TunedSharing(FineTune):
    """As `finetune` on all targets together. Coupling infinite: one trunk under all heads (hard sharing,
    Caruana 1997). Coupling 0: a copy for each task, tuned separately. Between: copies with a penalty on
    their squared distances, 0 at the start (soft sharing, Duong et al. 2015, doi:10.3115/v1/P15-2139).
    Every task sees every image, so each copy costs a pass of its own.
    """

    def __init__(
        self, meta: Meta, trunk: TrunkFactory, seed: int, plan: TuningPlan, coupling: float
    ) -> None:
        super().__init__(meta, trunk, seed, plan)
        self._coupling = coupling

    def assembled(self, trunk: nn.Module, head: LinearHeads) -> TunedModel:
        if math.isinf(self._coupling):
            return TunedModel(trunk, head)
        return TrunkCopies(trunk, head, self._coupling)


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
    """The tuned trunk, or its copies, under a head for each target.

    images, rate, least, blocks: as in `bench.protocols.parts.finetune.TuningPlan`
    coupling: of trunks, "inf" or a number of 0 or more

    Raises BenchError for values out of range.
    """
    try:
        strength = float(coupling)
    except ValueError:
        strength = math.nan
    if images < 1 or rate < 0 or blocks < 0 or not least > 0 or not strength >= 0:
        raise BenchError(
            f"tuned_sharing,images={images},rate={rate:g},least={least:g},blocks={blocks},"
            f"coupling={coupling}: images must be 1 or more, least above 0, the others 0 or more"
        )
    plan = TuningPlan(images=images, rate=rate, least=least, blocks=blocks, start="probe")
    return TunedSharing(meta, trunk, seed, plan, strength)
