"""How far features move with their image: in any direction, and along the manifold of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.diagnostics.base import Context, deliver
from bench.seeding import generator

REVISION = 1
IMAGES, DIRECTIONS = 128, 8
BANK, NEIGHBOURS, TANGENTS = 5_000, 10, 5
STEP = 0.01  # of the root of the images' total variance
Array = npt.NDArray[Any]


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Of 128 validation images at the level that is read out, by central differences.

    - norm: the mean of ||J||_F^2 / d_x, times the total variance of images over that of features: the
      pixels have 1; below, features move less with white noise than with what tells images apart. No
      rescaling of either changes it (the contractive encoder's penalty, Rifai et al. 2011, is not so).
    - tangent_share: the share of ||J||_F^2, in [0, 1] but for the error of its estimate, that five
      directions to the nearest training images have (the manifold's tangents, Rifai et al. 2011b); all
      directions alike give 5 / d_x, as the pixels do.

    None where no gradient reaches the image, and where features are all alike.
    """
    names = ("norm", "tangent_share")
    if not context.encoder.differentiable:
        return dict.fromkeys(names)
    images = deliver(context.validation, IMAGES)
    bank = deliver(context.training, BANK)
    scale, spread = variance(bank.flatten(1).numpy()), variance(context.features[context.level])
    if not scale or not spread:
        return dict.fromkeys(names)
    rng = generator(context.seed, "jacobian:directions")
    step, size = STEP * scale**0.5, images[0].numel()

    def moved(directions: Array) -> Array:
        return slopes(context.encode, images, torch.from_numpy(directions), step)

    drawn = rng.standard_normal((DIRECTIONS, len(images), size), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    mean = float(np.mean([moved(each).mean() for each in drawn]))  # of ||J v||^2: ||J||_F^2 / d_x
    along = tangents(images.flatten(1).numpy(), bank.flatten(1).numpy())
    share = sum(float(moved(each).mean()) for each in along) / (size * mean) if mean else None
    return {"norm": mean * scale / spread, "tangent_share": share}


def variance(rows: Array) -> float:
    """Total variance of rows (n, d)."""
    return float(rows.var(axis=0, dtype=np.float64).sum())


def slopes(encode: Any, images: Tensor, directions: Tensor, step: float) -> Array:
    """||J v||^2 (n,) of images (n, c, h, w) along directions (n, d_x) of length 1, by central
    differences."""
    change = step * directions.view_as(images)
    apart = encode(images + change).astype(np.float64) - encode(images - change)
    found: Array = np.square(apart / (2 * step)).sum(axis=1)
    return found


def tangents(images: Array, bank: Array) -> Array:
    """Orthonormal directions (k, n, d), the first the longest, that span most of what leads from each of
    images (n, d) to its ten nearest in a bank (m, d) by Euclidean distance."""
    lengths = np.square(bank).sum(axis=1)
    near = np.argsort(lengths - 2 * images @ bank.T, axis=1, kind="stable")[:, :NEIGHBOURS]
    found = np.zeros((min(TANGENTS, len(bank), images.shape[1]), *images.shape), np.float32)
    for row, (image, own) in enumerate(zip(images, near, strict=True)):
        axes = np.linalg.svd(bank[own] - image, full_matrices=False)[2]
        found[: len(axes), row] = axes[: len(found)]
    return found
