"""Contractive autoencoder: its code may move but little with the image."""

from __future__ import annotations

from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder, some_batches, squared_error
from bench.encoders.parts.contraction import (
    layer_contraction,
    probed_contraction,
    scale_free,
    total_variance,
)
from bench.encoders.parts.mlp import MLPTrunk
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import check_sizes
from bench.errors import BenchError
from bench.seeding import torch_generator

REVISION = 1

Array = npt.NDArray[Any]
_PROBES = 4  # random signs an image, for the notes


def _layers(model: Autoencoder, seed: int, weight: float) -> Loss:
    """Squared error and every sigmoid layer's contraction with respect to its own input (CAE-2)."""

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        assert isinstance(model.trunk, MLPTrunk)
        hidden = model.trunk.hidden(batch)
        code = model.to_code(hidden[-1])
        parts = zip([*model.trunk.layers, model.to_code[0]], [*hidden, code], strict=True)
        each = [layer_contraction(units, layer.weight).mean() for layer, units in parts]
        moved = torch.stack(each).sum()
        rebuilt = squared_error(model.decode(code), batch)
        return {"reconstruction": rebuilt, "contraction": weight * moved}

    return loss


def _probed(model: Autoencoder, seed: int, weight: float) -> Loss:
    """Squared error and the contraction of the code in units of its own variance."""
    noise = torch_generator(seed, "contraction", next(model.parameters()).device)

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        batch = batch.requires_grad_()
        code = model.encode(batch)
        rebuilt = squared_error(model.decode(code), batch)
        if not weight:
            return {"reconstruction": rebuilt, "contraction": 0 * rebuilt.detach()}
        moved = scale_free(probed_contraction(code, batch, noise), code)
        return {"reconstruction": rebuilt, "contraction": weight * moved}

    return loss


def scale_free_contraction(model: Autoencoder, images: Delivery) -> float | None:
    """Mean ||J||_F^2 of the code over training images, divided by the code's total variance: what no
    rescaling of the code changes; None where codes do not vary. Estimated with random signs."""
    noise = torch_generator(0, "contraction notes", next(model.parameters()).device)
    moved, codes = [], []
    for batch in some_batches(model, images, most=500):
        batch = batch.requires_grad_()
        code = model.encode(batch)
        for _ in range(_PROBES):
            moved.append(probed_contraction(code, batch, noise).detach())
        codes.append(code.detach())
    spread = float(total_variance(torch.cat(codes)))
    return float(torch.cat(moved).mean()) / spread if spread > 0 else None


def _notes(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    found = scale_free_contraction(model, images)
    return {"scale_free_contraction": None if found is None else float(f"{found:.4g}")}


def build(
    *,
    source: SourceInfo,
    track: Literal["conv", "mlp"] = "conv",
    weight: float = 1.0,
    code: int = 64,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """Squared error and `weight` x ||J||_F^2 of the code with respect to the image.

    On the MLP track, with sigmoid units and tied weights, the closed form of each layer with respect to
    its own input. On CONV an estimate with random signs, divided by the code's variance over the batch:
    the decoder does not feel the code's scale, so that shrinking the code would cost nothing.
    Rifai et al. 2011, "Contractive auto-encoders", ICML. Sizes and Adam's `rate` as for `autoencoder`.

    Raises BenchError for a negative weight, a code below 1, a width that is no multiple of 8.
    """
    check_sizes("contractive", code, width, rate)
    if weight < 0:
        raise BenchError(f"contractive,weight={weight:g}: a weight of 0 or more is wanted")
    penalty = _probed if track == "conv" else _layers
    return Autoencoder(
        source,
        track=track,
        code=code,
        width=width,
        rate=rate,
        activation=nn.Sigmoid() if track == "mlp" else None,
        objective=lambda model, seed: penalty(model, seed, weight),
        notes=_notes,
    )
