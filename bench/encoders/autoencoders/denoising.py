"""Denoising autoencoder: reconstructs the clean image from a corrupted copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from bench.data.samples import Array, SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder, Objective, squared_error
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import Sizes
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1

Corruption = Callable[[Tensor, float, torch.Generator], Tensor]


def mask(images: Tensor, share: float, noise: torch.Generator) -> Tensor:
    """A `share` of the pixels (all channels together) set to 0; the others are not rescaled."""
    return images * (_uniform(images, noise) >= share)


def salt_pepper(images: Tensor, share: float, noise: torch.Generator) -> Tensor:
    """A `share` of the pixels (all channels together) set to 0 or 1, with equal probability."""
    drawn = _uniform(images, noise)
    salted = torch.where(drawn < share / 2, torch.ones_like(images), images)
    return torch.where((drawn >= share / 2) & (drawn < share), torch.zeros_like(images), salted)


def gaussian(images: Tensor, sigma: float, noise: torch.Generator) -> Tensor:
    """images + N(0, sigma^2), not clipped to [0, 1]."""
    return images + sigma * torch.randn(images.shape, generator=noise, device=images.device)


def _uniform(images: Tensor, noise: torch.Generator) -> Tensor:
    """One number in [0, 1) a pixel: (n, 1, h, w)."""
    n, _, height, width = images.shape
    return torch.rand((n, 1, height, width), generator=noise, device=images.device)


# Each with its default strength: a share of the pixels, or a standard deviation.
CORRUPTIONS: dict[str, tuple[Corruption, float]] = {
    "mask": (mask, 0.4),
    "salt_pepper": (salt_pepper, 0.1),
    "gaussian": (gaussian, 0.1),
}


def denoising(corrupt: Corruption, strength: float) -> Objective:
    """The objective of squared error between the clean image and the decoded code of a corrupted one."""

    def objective(model: Autoencoder, seed: int) -> Loss:
        noise = torch_generator(seed, "corruption", next(model.parameters()).device)

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            rebuilt = model.reconstruct(corrupt(batch, strength, noise))
            return {"reconstruction": squared_error(rebuilt, batch)}

        return loss

    return objective


def build(
    *,
    source: SourceInfo,
    track: Literal["conv", "mlp"] = "conv",
    corruption: Literal["mask", "salt_pepper", "gaussian"] = "mask",
    strength: float | None = None,
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """Corrupts each training image anew at each step; features are those of clean images.

    corruption: pixels set to 0 (mask), to 0 or 1 (salt_pepper), or Gaussian noise added
    strength: share of the pixels (default 0.4 for mask, 0.1 for salt_pepper), or standard deviation of
        the noise (default 0.1)
    track, code, width, rate: as for `autoencoder`, with the same errors

    Vincent et al. 2010, JMLR 11:3371. Raises BenchError for a share outside [0, 1) and a negative
    deviation.
    """
    sizes = Sizes(code, width, rate).checked("denoising")
    corrupt, default = CORRUPTIONS[corruption]
    strength = default if strength is None else strength
    if strength < 0 or (corruption != "gaussian" and strength >= 1):
        allowed = "0 or more" if corruption == "gaussian" else "at least 0 and below 1"
        raise BenchError(
            f"denoising,corruption={corruption},strength={strength:g}: must be {allowed}"
        )
    objective = denoising(corrupt, strength)
    return Autoencoder(source, track, sizes, objective=objective)
