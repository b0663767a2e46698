"""What a diagnostic is given: an encoder, its features and images to look at, never test data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples, Target
from bench.encoders.base import Encoder

__all__ = ["Context", "deliver"]

Array = npt.NDArray[Any]
BATCH = 250


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """For `diagnose(context) -> {name: value or None}`; what it needs and lacks is None."""

    encoder: Encoder
    level: str  # that is read out
    meta: Meta  # of the task's targets
    factors: Mapping[str, Target]  # all that the data set tells of its images
    training: Samples  # x: Delivery, y: of all factors
    trained: Mapping[str, Array]  # level -> (n, d), of the training samples
    validation: Samples
    features: Mapping[str, Array]  # level -> (n, d), of the validation samples
    outliers: Delivery | None  # images of another data set
    head: nn.Module | None  # of the cell's protocol, fitted on train alone
    seed: int

    @property
    def device(self) -> torch.device:
        """Where the encoder lies."""
        return next((p.device for p in self.encoder.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def encode(self, images: Tensor, level: str | None = None) -> Array:
        """Features (n, d) of images (n, c, h, w), of the level that is read out or another one."""
        parts = [
            self.encoder.taps(some.to(self.device))[level or self.level].float().cpu().numpy()
            for some in torch.split(images, BATCH)
        ]
        return np.concatenate(parts)


def deliver(samples: Samples, most: int) -> Tensor:
    """The first `most` images (n, c, h, w) of samples, as the encoder takes them, in [0, 1]."""
    assert isinstance(samples.x, Delivery)
    return samples.x.read(np.arange(min(most, len(samples.x))))
