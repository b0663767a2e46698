"""Depends on another encoder: that one's features beside their squares."""

from __future__ import annotations

import torch

from bench import Encoder, SourceInfo

REVISION = 1
TRAINING = "closed_form"


class Squared(Encoder):
    def __init__(self, inner: Encoder) -> None:
        super().__init__()
        self.inner, self.input, self.seeded = inner, inner.input, inner.seeded
        self.dims = {"code": 2 * inner.dims[inner.level]}

    def taps(self, images):
        features = self.inner(images)
        return {"code": torch.cat([features, features.square()], dim=1)}


def build(*, source: SourceInfo, inner: Encoder) -> Squared:
    return Squared(inner)
