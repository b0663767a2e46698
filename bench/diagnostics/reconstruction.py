"""Reconstruction error of images that an encoder was trained on, of others, and of noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.diagnostics.base import BATCH, Context, first_images
from bench.seeding import generator

REVISION = 1
IMAGES = 1_000


def diagnose(context: Context) -> Mapping[str, float | None]:
    """`lost`, the unexplained share of the variance of pixels, 0 or more, on 1,000 training images, 1,000
    validation images, and as many of uniform noise: an encoder that reconstructs noise copies its input
    instead of modelling images. None for encoders without `reconstruct`.
    """
    if not hasattr(context.encoder, "reconstruct"):
        return dict.fromkeys(("train", "held_out", "noise"))
    held_out = first_images(context.validation, IMAGES)
    drawn = generator(context.seed, "reconstruction:noise").random(
        tuple(held_out.shape), np.float32
    )
    return {
        "train": _lost(context, first_images(context.training, IMAGES)),
        "held_out": _lost(context, held_out),
        "noise": _lost(context, torch.from_numpy(drawn)),
    }


@torch.inference_mode()
def _lost(context: Context, images: Tensor) -> float | None:
    parts = [
        context.encoder.reconstruct(batch.to(context.device)).cpu()  # type: ignore[operator]
        for batch in torch.split(images, BATCH)
    ]
    return lost(images, torch.cat(parts))


def lost(images: Tensor, reconstructions: Tensor) -> float | None:
    """sum |x - reconstruction|^2 / sum |x - mean image|^2 of images x (n, c, h, w): 1 for the mean image.
    None for images that are all equal."""
    wide = images.double().flatten(1)
    spread = float((wide - wide.mean(dim=0)).square().sum())
    error = float((reconstructions.double().flatten(1) - wide).square().sum())
    return error / spread if spread else None
