"""Trunks that a protocol may tune: copies of a fitted encoder, whole or its last stages."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.data.samples import SourceInfo
from bench.digests import arrays_digest, digest
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.given import Given
from bench.encoders.parts.state import object_digest
from bench.errors import BenchError, Declined
from bench.naming.specs import Resolved
from bench.running.workspace import Fitted, fresh

State = Literal["trained", "untrained"]


@dataclass(frozen=True, slots=True, eq=False)
class FittedTrunk:
    """Implements `TrunkFactory`: each call gives a module of its own, free to be changed.

    It holds an encoder and no data set: nothing leads from a protocol to the test split.
    """

    spec: Resolved | None  # None: an object that was handed in
    info: SourceInfo
    encoder: Encoder
    level: str
    input: Literal["features", "activations", "images"]  # of the task
    blocks: int  # of the protocol's own arguments; 0: it names none

    def __call__(self, state: State, *, seed: int, blocks: int | None = None) -> nn.Module:
        if self.input == "features":
            return nn.Identity()
        if state == "untrained":
            encoder = untrained(self.spec, self.info, seed).encoder
        else:
            encoder = copy.deepcopy(self.encoder)
            if isinstance(encoder, Given) and encoder.casts:
                encoder = encoder.float()  # steps of training vanish in half precision
        trunk: nn.Module = _LevelFeatures(encoder, self.level)
        if self.input == "activations":
            trunk = last_stages(encoder, blocks or self.blocks)
        return trunk.requires_grad_(True)


def no_trunk(state: State, *, seed: int, blocks: int | None = None) -> nn.Module:
    """The `TrunkFactory` of a protocol that is built for what it declares alone. Raises BenchError."""
    raise BenchError("a protocol takes its trunk in fit, not in build")


def untrained(spec: Resolved | None, info: SourceInfo, seed: int) -> Fitted:
    """A fresh encoder of this kind, on fresh ones of those that it depends on."""
    if spec is None:
        raise Declined("an encoder that was given as an object has no untrained copy")
    depends = {name: untrained(inner, info, seed) for name, inner in spec.depends.items()}
    return Fitted(fresh(spec, info, seed, depends), "", FitReport(), depends=depends)


def untrained_digest(spec: Resolved, info: SourceInfo) -> str:
    """Digest of the untrained trunk, of seed 0: the weights that its level depends on, and the kinds of
    module that hold them. Equal for encoders that tuning from scratch cannot tell apart: they share the
    row of that baseline, while the discriminator of a GAN, whose layers are normalised, has its own."""
    encoder = untrained(spec, info, 0).encoder
    level, size = spec.level or encoder.level, encoder.input.size
    encoder.taps(torch.zeros(1, encoder.input.channels, *size))[level].sum().backward()  # type: ignore[no-untyped-call]
    weights = [
        (type(module).__name__, parameter.detach().numpy())
        for module in encoder.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.grad is not None
    ]
    arrays = {f"{number:04}": array for number, (_, array) in enumerate(weights)}
    return digest([[kind for kind, _ in weights], arrays_digest(arrays)])


def built_digest(spec: Resolved, info: SourceInfo) -> str | None:
    """Digest of what `build` gives for seed 0, whatever it depends on, where the encoder or one within it
    is a file of the user's own; None for the package's, and where it is another one each time."""
    if not _has_file(spec):
        return None
    digests = {object_digest(untrained(spec, info, 0).encoder) for _ in range(2)}
    return digests.pop() if len(digests) == 1 else None


def _has_file(spec: Resolved) -> bool:
    return spec.entry.group == "local" or any(map(_has_file, spec.depends.values()))


def last_stages(encoder: Encoder, blocks: int) -> nn.Sequential:
    """The last `blocks` stages of an encoder. Raises Declined where it does not have as many."""
    stages = encoder.stages()
    if stages is None:
        raise Declined("this encoder cannot be fine-tuned in parts: it has no stages")
    if not 1 <= blocks <= len(stages):
        raise Declined(f"blocks={blocks} does not fit: there are {len(stages)} stages")
    return stages[-blocks:]


class _LevelFeatures(nn.Module):
    """An encoder's features of one level, as a module."""

    def __init__(self, encoder: Encoder, level: str) -> None:
        super().__init__()
        self.encoder, self.level = encoder, level

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.taps(images)[self.level]
