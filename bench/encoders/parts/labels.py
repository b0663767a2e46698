"""Losses of labels, for encoders that are told some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.samples import Target
from bench.errors import BenchError

REVISION = 1
KNOWN_AS = "encoders/_labels"  # its key in the revisions of records

Array = npt.NDArray[Any]


class Heads(nn.Module):
    """One linear head a target on features (n, d), and the loss of what is labelled."""

    def __init__(self, dim: int, targets: Mapping[str, Target]) -> None:
        super().__init__()
        self.targets = dict(targets)
        # In a list: a target may have any name, a module not.
        self.heads = nn.ModuleList(nn.Linear(dim, target.size) for target in targets.values())

    def loss(self, features: Tensor, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A term a target in `labels`, each a mean over labelled rows: cross-entropy in nats of
        classes and of yes/no labels, squared error of numbers; 0 where no row is labelled."""
        found = {}
        for head, (name, target) in zip(self.heads, self.targets.items(), strict=True):
            if name in labels:
                found[name] = _loss(target, head(features), labels[name])
        return found


def _loss(target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
    if target.kind == "classes":
        known = labels >= 0
        losses = nn.functional.cross_entropy(outputs, labels, ignore_index=-1, reduction="none")
    elif target.kind == "binary":
        known = labels >= 0
        asked = labels.clamp(min=0).to(outputs.dtype)
        losses = nn.functional.binary_cross_entropy_with_logits(outputs, asked, reduction="none")
    else:
        known = ~labels.isnan()
        losses = (outputs - labels.nan_to_num()).square()
    return (losses * known).sum() / known.sum().clamp(min=1)


def as_tensors(labels: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Labels as tensors on a device, to be indexed by the rows of a batch."""
    return {name: torch.from_numpy(values).to(device) for name, values in labels.items()}


def pick(targets: Mapping[str, Target], name: str | None, encoder: str) -> dict[str, Target]:
    """The one target `name`, or all. Raises BenchError for one that the data set has not."""
    if name is None:
        return dict(targets)
    if name not in targets:
        raise BenchError(
            f"{encoder},target={name}: the data have no such target (targets: {', '.join(targets)})"
        )
    return {name: targets[name]}
