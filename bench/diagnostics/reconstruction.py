"""How much of an image an encoder gives back: of images it has seen, of others, and of noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.diagnostics.base import BATCH, Context, deliver
from bench.seeding import generator

REVISION = 1
IMAGES = 1_000


def diagnose(context: Context) -> Mapping[str, float | None]:
    """The share of the variance of pixels that is lost, 0 or more, of 1,000 training images, 1,000
    validation images, and as many of uniform noise, which is no picture of anything: an encoder that
    gives it back copies instead of knowing what images are like. None without `reconstruct`.
    """
    if not hasattr(context.encoder, "reconstruct"):
        return dict.fromkeys(("train", "held_out", "noise"))
    held_out = deliver(context.validation, IMAGES)
    drawn = generator(context.seed, "reconstruction:noise").random(
        tuple(held_out.shape), np.float32
    )
    return {
        "train": _lost(context, deliver(context.training, IMAGES)),
        "held_out": _lost(context, held_out),
        "noise": _lost(context, torch.from_numpy(drawn)),
    }


@torch.inference_mode()
def _lost(context: Context, images: Tensor) -> float | None:
    parts = [
        context.encoder.reconstruct(some.to(context.device)).cpu()  # type: ignore[operator]
        for some in torch.split(images, BATCH)
    ]
    return lost(images, torch.cat(parts))


def lost(images: Tensor, reconstructions: Tensor) -> float | None:
    """Squared error of reconstructions over the squared distance of images (n, c, h, w) from their mean
    image; 1 is what the mean image gives. None for images that are all alike."""
    wide = images.double().flatten(1)
    spread = float((wide - wide.mean(dim=0)).square().sum())
    error = float((reconstructions.double().flatten(1) - wide).square().sum())
    return error / spread if spread else None
