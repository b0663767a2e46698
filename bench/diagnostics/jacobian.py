"""The Jacobian of features by pixels: its norm, and its share along the tangents of the data manifold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.samples import Array
from bench.diagnostics.base import Context, first_images
from bench.seeding import generator

REVISION = 1
IMAGES, DIRECTIONS = 128, 8
BANK, NEIGHBOURS, TANGENTS = 5_000, 10, 5
STEP = 0.01  # in units of the root of the images' total variance


def diagnose(context: Context) -> Mapping[str, float | None]:
    """On 128 validation images at the task's level, by central differences.

    - norm: the mean of ||J||_F^2 / d_x, times the total variance of images over that of features: 1 for
      the pixels; below 1, features react less to white noise than to differences between images. It does
      not depend on the scale of either, unlike the contractive penalty (Rifai et al. 2011).
    - tangent_share: the share of ||J||_F^2, in [0, 1] but for the error of its estimate, along
      five directions to the nearest training images (tangents of the manifold, Rifai et al. 2011b); an
      isotropic Jacobian, such as that of the pixels, has 5 / d_x.

    None for encoders that are not differentiable, and where images or features are all equal.
    """
    names = ("norm", "tangent_share")
    if not context.encoder.differentiable:
        return dict.fromkeys(names)
    images = first_images(context.validation, IMAGES)
    bank = first_images(context.training, BANK)
    scale, spread = (
        variance(bank.flatten(1).numpy()),
        variance(context.validation_features[context.level]),
    )
    if not scale or not spread:
        return dict.fromkeys(names)
    rng = generator(context.seed, "jacobian:directions")
    step, size = STEP * scale**0.5, images[0].numel()

    def change(directions: Array) -> Array:
        return squared_slopes(context.encode, images, torch.from_numpy(directions), step)

    drawn = rng.standard_normal((DIRECTIONS, len(images), size), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    mean = float(np.mean([change(v).mean() for v in drawn]))  # of ||J v||^2: ||J||_F^2 / d_x
    directions = tangents(images.flatten(1).numpy(), bank.flatten(1).numpy())
    share = sum(float(change(v).mean()) for v in directions) / (size * mean) if mean else None
    return {"norm": mean * scale / spread, "tangent_share": share}


def variance(rows: Array) -> float:
    """Total variance of rows (n, d)."""
    return float(rows.var(axis=0, dtype=np.float64).sum())


def squared_slopes(encode: Any, images: Tensor, directions: Tensor, step: float) -> Array:
    """||J v||^2 (n,) of images (n, c, h, w) along directions (n, d_x) of length 1, by central
    differences."""
    shift = step * directions.view_as(images)
    difference = encode(images + shift).astype(np.float64) - encode(images - shift)
    squares: Array = np.square(difference / (2 * step)).sum(axis=1)
    return squares


def tangents(images: Array, bank: Array) -> Array:
    """Orthonormal directions (k, n, d), the first the longest, the principal axes of the differences
    between each of images (n, d) and its ten nearest in a bank (m, d) by Euclidean distance."""
    lengths = np.square(bank).sum(axis=1)
    near = np.argsort(lengths - 2 * images @ bank.T, axis=1, kind="stable")[:, :NEIGHBOURS]
    directions = np.zeros((min(TANGENTS, len(bank), images.shape[1]), *images.shape), np.float32)
    for row, (image, neighbours) in enumerate(zip(images, near, strict=True)):
        axes = np.linalg.svd(bank[neighbours] - image, full_matrices=False)[2]
        directions[: len(axes), row] = axes[: len(directions)]
    return directions
