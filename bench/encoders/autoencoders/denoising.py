"""Denoising autoencoder: gives the clean image back from a corrupted copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder, Objective, squared_error
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import check_sizes
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1

Array = npt.NDArray[Any]
Corruption = Callable[[Tensor, float, torch.Generator], Tensor]


def mask(images: Tensor, share: float, noise: torch.Generator) -> Tensor:
    """A `share` of the pixels (all channels together) set to 0; the others are not rescaled."""
    return images * (_uniform(images, noise) >= share)


def salt_pepper(images: Tensor, share: float, noise: torch.Generator) -> Tensor:
    """A `share` of the pixels (all channels together) set to 0 or 1, one as often as the other."""
    drawn = _uniform(images, noise)
    salted = torch.where(drawn < share / 2, torch.ones_like(images), images)
    return torch.where((drawn >= share / 2) & (drawn < share), torch.zeros_like(images), salted)


def gaussian(images: Tensor, sigma: float, noise: torch.Generator) -> Tensor:
    """N(0, sigma^2) added to every value, and not cut to [0, 1]."""
    return images + sigma * torch.randn(images.shape, generator=noise, device=images.device)


def _uniform(images: Tensor, noise: torch.Generator) -> Tensor:
    """One number in [0, 1) a pixel: (n, 1, h, w)."""
    n, _, height, width = images.shape
    return torch.rand((n, 1, height, width), generator=noise, device=images.device)


# Each with its usual strength: a share of the pixels, or a standard deviation.
CORRUPTIONS: dict[str, tuple[Corruption, float]] = {
    "mask": (mask, 0.4),
    "salt_pepper": (salt_pepper, 0.1),
    "gaussian": (gaussian, 0.1),
}


def denoising(corrupt: Corruption, strength: float) -> Objective:
    """Squared error to the clean image, of the reconstruction of a corrupted one."""

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
    """Corrupts each training image anew: `strength` is the share of pixels that are masked or salted
    (default 0.4 and 0.1), or the standard deviation of Gaussian noise (default 0.1). Encoded are clean
    images.

    Vincent et al. 2010, JMLR 11:3371. Sizes and Adam's `rate` as for `autoencoder`.

    Raises BenchError for a share outside [0, 1), a negative deviation, a code below 1, a width that is
    no multiple of 8.
    """
    check_sizes("denoising", code, width, rate)
    corrupt, usual = CORRUPTIONS[corruption]
    used = usual if strength is None else strength
    if used < 0 or (corruption != "gaussian" and used >= 1):
        allowed = "0 or more" if corruption == "gaussian" else "0 up to, but not, 1"
        raise BenchError(
            f"denoising,corruption={corruption},strength={used:g}: {allowed} is wanted"
        )
    objective = denoising(corrupt, used)
    return Autoencoder(source, track=track, code=code, width=width, rate=rate, objective=objective)
