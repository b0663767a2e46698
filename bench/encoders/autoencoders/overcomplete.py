"""Overcomplete autoencoder: a code larger than the image, and no penalty; the negative control."""

from __future__ import annotations

from typing import Any, Literal

import torch

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder, some_batches
from bench.encoders.parts.trunk import check_sizes
from bench.seeding import torch_generator

REVISION = 1


@torch.inference_mode()
def copies(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    """Share of the variance that reconstructions keep, of training images and of uniform noise; None
    where there is no variance."""
    noise = torch_generator(0, "noise", next(model.parameters()).device)
    kept: dict[str, list[tuple[float, float]]] = {"images_kept": [], "noise_kept": []}
    for batch in some_batches(model, images):
        drawn = torch.rand(batch.shape, generator=noise, device=batch.device)
        for name, some in (("images_kept", batch), ("noise_kept", drawn)):
            lost = float((model.reconstruct(some) - some).square().sum())
            spread = float((some - some.mean(dim=0)).square().sum())
            kept[name].append((lost, spread))
    found: dict[str, Any] = {}
    for name, parts in kept.items():
        lost, spread = (sum(each) for each in zip(*parts, strict=True))
        found[name] = round(1 - lost / spread, 4) if spread > 0 else None
    return found


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    code: int = 2048,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """`autoencoder` with a code of `code` numbers, which may copy: its notes say how well it gives back
    uniform noise. On CONV alone: the MLP track has a bottleneck of 250 whatever the code is.

    Bengio 2009, doi:10.1561/2200000006, section 4.6. Raises BenchError for a code below 1 and for a
    width that is no multiple of 8.
    """
    check_sizes("overcomplete", code, width, rate)
    return Autoencoder(source, track=track, code=code, width=width, rate=rate, notes=copies)
