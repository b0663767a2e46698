"""Objects that were handed in: whatever has `forward(images) -> (n, dim)` can be an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.encoders.base import Encoder
from bench.errors import BenchError

__all__ = ["Given", "eval_mode"]


class Given(Encoder):
    """An object with `forward(images) -> (n, dim)` as an encoder."""

    seeded = False

    def __init__(self, given: Any) -> None:
        super().__init__()
        if not callable(getattr(given, "forward", None)):
            raise BenchError(
                f"{type(given).__name__} cannot encode: give a spec, an Encoder, or an object with "
                "forward(images) -> (n, dim)"
            )
        self.given, self.name = given, type(given).__name__
        self.input = getattr(given, "input", Input(size=(32, 32), channels=3))
        self.differentiable = isinstance(given, nn.Module)
        height, width = self.input.size
        with torch.inference_mode():
            features = self._features(torch.zeros(2, self.input.channels, height, width))
        if features.ndim != 2 or len(features) != 2:
            raise BenchError(
                f"{self.name}.forward gives shape {tuple(features.shape)} for 2 images; (2, dim) is wanted"
            )
        self.dims = {"code": features.shape[1]}

    def _features(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.given.forward(images))

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"code": self._features(images)}


@contextmanager
def eval_mode(given: object) -> Iterator[None]:
    """A module in eval mode, and afterwards each of its parts as it was."""
    parts = list(given.modules()) if isinstance(given, nn.Module) else []
    modes = [part.training for part in parts]
    if isinstance(given, nn.Module):
        given.eval()
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
