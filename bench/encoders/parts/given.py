"""An adapter: any object with `forward(images) -> (n, dim)` as an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Input
from bench.encoders.base import Encoder
from bench.errors import BenchError


class Given(Encoder):
    """A user's object as an encoder, called by the object's class. It gets images float32 (n, c, h, w) in
    [0, 1] as its attribute `input` says, else 32 x 32 RGB.

    Raises BenchError for an object without `forward`, or whose features are not (n, dim). The names of
    the class and of the attribute `given` are part of the digest of such an encoder.
    """

    seeded = False

    def __init__(self, wrapped: Any) -> None:
        super().__init__()
        if not callable(getattr(wrapped, "forward", None)):
            raise BenchError(
                f"{type(wrapped).__name__} cannot encode: give a spec, an Encoder, or an object with "
                "forward(images) -> (n, dim)"
            )
        self.given, self.name = wrapped, type(wrapped).__name__
        self.input = getattr(wrapped, "input", Input(size=(32, 32), channels=3))
        self.differentiable = isinstance(wrapped, nn.Module)
        height, width = self.input.size
        with torch.inference_mode():
            features = self._features(torch.zeros(2, self.input.channels, height, width))
        if features.ndim != 2 or len(features) != 2:
            raise BenchError(
                f"{self.name}.forward gives shape {tuple(features.shape)} for 2 images, not (2, dim)"
            )
        self.dims = {"code": features.shape[1]}

    def _features(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.given.forward(images))

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"code": self._features(images)}


@contextmanager
def eval_mode(module: object) -> Iterator[None]:
    """Eval mode within the context, if it is an nn.Module; then each part's former mode again."""
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    modes = [part.training for part in parts]
    if isinstance(module, nn.Module):
        module.eval()
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
