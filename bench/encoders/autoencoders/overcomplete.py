"""Overcomplete autoencoder: a code larger than the image, no penalty; a negative control."""

from __future__ import annotations

from typing import Any, Literal

import torch

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder
from bench.encoders.parts.training import noted_batches
from bench.encoders.parts.trunk import Sizes
from bench.seeding import torch_generator

REVISION = 1


@torch.inference_mode()
def copies(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    """1 - squared error of reconstructions / total variance, of training images and of uniform noise;
    None where the variance is 0."""
    noise = torch_generator(0, "noise", next(model.parameters()).device)
    sums: dict[str, list[tuple[float, float]]] = {"images_kept": [], "noise_kept": []}
    for batch in noted_batches(model, images):
        random = torch.rand(batch.shape, generator=noise, device=batch.device)
        for name, inputs in (("images_kept", batch), ("noise_kept", random)):
            error = float((model.reconstruct(inputs) - inputs).square().sum())
            variance = float((inputs - inputs.mean(dim=0)).square().sum())
            sums[name].append((error, variance))
    explained: dict[str, Any] = {}
    for name, by_batch in sums.items():
        error, variance = (sum(values) for values in zip(*by_batch, strict=True))
        explained[name] = round(1 - error / variance, 4) if variance > 0 else None
    return explained


def build(
    *,
    source: SourceInfo,
    track: Literal["conv"] = "conv",
    code: int = 2048,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """`autoencoder` with a large code, which may learn to copy: the notes say how well it reconstructs
    uniform noise. On track conv only: track mlp has a bottleneck of 250 units with any code.

    Bengio 2009, doi:10.1561/2200000006, section 4.6. Arguments and errors as for `autoencoder`.
    """
    sizes = Sizes(code, width, rate).checked("overcomplete")
    return Autoencoder(source, track, sizes, notes=copies)
