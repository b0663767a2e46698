"""The contract of a diagnostic: it sees a fitted encoder, its features and images, and no test data.

A diagnostic is a file `bench/diagnostics/<name>.py` with a REVISION and

    def diagnose(context: Context) -> Mapping[str, float | None]:

whose docstring says what each number is, its range, and when it is None: where the context lacks what it
needs. An empty mapping leaves the diagnostic out of the record. The keys are stored and are the columns of
the board: renaming one is a change of results. Random numbers come from `generator(context.seed, "...")`.

    def diagnose(context):
        features = context.validation_features[context.level]  # (n, d)
        return {"variance": float(features.var(axis=0).sum())}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples, Target
from bench.encoders.base import Encoder

BATCH = 250  # images encoded at a time


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """All that a diagnostic may look at. Rows of `training` and of `training_features[level]` are the same
    images in the same order, and so are those of validation. Labels of -1 and NaN are missing."""

    encoder: Encoder  # fitted; it must be left unchanged
    level: str  # the level of the encoder that the task reads
    meta: Meta  # the task's targets
    factors: Mapping[str, Target]  # all targets of the data set, the task's among them
    training: Samples  # x: Delivery of images as the encoder takes them; y: labels (n, ...) of all factors
    training_features: Mapping[str, Array]  # level -> (n, d)
    validation: Samples
    validation_features: Mapping[str, Array]
    outliers: Delivery | None  # images of another data set; None: the task names none
    head: nn.Module | None  # features (n, d) -> target -> logits (n, k), of training rows; or None
    seed: int  # of the replicate

    @property
    def device(self) -> torch.device:
        """Where the encoder's parameters are; the CPU if it has none."""
        return next((p.device for p in self.encoder.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def encode(self, images: Tensor, level: str | None = None) -> Array:
        """Features (n, d) float32 of images (n, c, h, w) in [0, 1], at `level` (None: the task's), in
        batches."""
        parts = [
            self.encoder.taps(batch.to(self.device))[level or self.level].float().cpu().numpy()
            for batch in torch.split(images, BATCH)
        ]
        return np.concatenate(parts)


def first_images(samples: Samples, count: int) -> Tensor:
    """The first `count` images (n, c, h, w) of samples, or all, as the encoder takes them, in [0, 1]."""
    assert isinstance(samples.x, Delivery)
    return samples.x.read(np.arange(min(count, len(samples.x))))
