"""Heads and losses for encoders that are trained with labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.samples import Array, Target, missing
from bench.errors import BenchError

REVISION = 1
KNOWN_AS = "encoders/_labels"  # its key in the revisions of records


class Heads(nn.Module):
    """A linear head for each target on features (n, d), and the loss of the labelled rows."""

    def __init__(self, dim: int, targets: Mapping[str, Target]) -> None:
        super().__init__()
        self.targets = dict(targets)
        # A list, not a dict: names of modules are restricted, names of targets are not.
        self.heads = nn.ModuleList(nn.Linear(dim, target.size) for target in targets.values())

    def loss(self, features: Tensor, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A term for each target in `labels`, a mean over labelled rows: cross-entropy in nats for
        classes and yes/no labels, squared error for numbers; 0 where no row is labelled."""
        heads = zip(self.heads, self.targets.items(), strict=True)
        return {
            name: _loss(target, head(features), labels[name])
            for head, (name, target) in heads
            if name in labels
        }


def _loss(target: Target, outputs: Tensor, labels: Tensor) -> Tensor:
    if target.kind == "classes":
        is_labelled = labels >= 0
        losses = nn.functional.cross_entropy(outputs, labels, ignore_index=-1, reduction="none")
    elif target.kind == "binary":
        is_labelled = labels >= 0
        truth = labels.clamp(min=0).to(outputs.dtype)
        losses = nn.functional.binary_cross_entropy_with_logits(outputs, truth, reduction="none")
    else:
        is_labelled = ~labels.isnan()
        losses = (outputs - labels.nan_to_num()).square()
    return (losses * is_labelled).sum() / is_labelled.sum().clamp(min=1)


def as_tensors(labels: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Labels by target as tensors on `device`, to be indexed by the rows of a batch."""
    return {name: torch.from_numpy(values).to(device) for name, values in labels.items()}


def without_labels(target: Target, labels: Array) -> Array:
    """Rows without any label of a target, bool (n,), of labels (n,) or (n, size)."""
    lacking = missing(target, labels)
    return lacking if lacking.ndim == 1 else np.all(lacking, axis=1)


def pick(targets: Mapping[str, Target], name: str | None, encoder: str) -> dict[str, Target]:
    """The target `name` alone, or all. Raises BenchError, naming `encoder`, for an unknown target."""
    if name is None:
        return dict(targets)
    if name not in targets:
        raise BenchError(
            f"{encoder},target={name}: the data set has no such target (targets: {', '.join(targets)})"
        )
    return {name: targets[name]}
