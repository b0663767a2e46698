"""Contractive autoencoder: penalises the Jacobian, so that the code changes little with the image."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.autoencoder import Autoencoder, squared_error
from bench.encoders.parts.contraction import (
    layer_contraction,
    probed_contraction,
    scale_free,
    total_variance,
)
from bench.encoders.parts.mlp import MLPTrunk
from bench.encoders.parts.training import Loss, noted_batches
from bench.encoders.parts.trunk import Sizes
from bench.seeding import torch_generator

REVISION = 1

_PROBES = 4  # random signs an image, for the notes


def _layers(model: Autoencoder, seed: int, weight: float) -> Loss:
    """Squared error and weight x sum over sigmoid layers of ||J||_F^2 of each for its input (CAE-2)."""

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        assert isinstance(model.trunk, MLPTrunk)
        hidden = model.trunk.hidden(batch)
        code = model.to_code(hidden[-1])
        layers = zip([*model.trunk.layers, model.to_code[0]], [*hidden, code], strict=True)
        by_layer = [layer_contraction(units, layer.weight).mean() for layer, units in layers]
        error = squared_error(model.decode(code), batch)
        return {"reconstruction": error, "contraction": weight * torch.stack(by_layer).sum()}

    return loss


def _probed(model: Autoencoder, seed: int, weight: float) -> Loss:
    """Squared error and weight x ||J||_F^2 of the code / its total variance over the batch."""
    noise = torch_generator(seed, "contraction", next(model.parameters()).device)

    def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        batch = batch.requires_grad_()
        code = model.encode(batch)
        error = squared_error(model.decode(code), batch)
        if not weight:
            return {"reconstruction": error, "contraction": 0 * error.detach()}
        contraction = scale_free(probed_contraction(code, batch, noise), code)
        return {"reconstruction": error, "contraction": weight * contraction}

    return loss


def scale_free_contraction(model: Autoencoder, images: Delivery) -> float | None:
    """Mean ||J||_F^2 of the code over 500 training images / total variance of the code: unchanged when
    the code is rescaled. Estimated with random signs. None where the codes do not vary."""
    noise = torch_generator(0, "contraction notes", next(model.parameters()).device)
    contractions, codes = [], []
    for batch in noted_batches(model, images, limit=500):
        batch = batch.requires_grad_()
        code = model.encode(batch)
        for _ in range(_PROBES):
            contractions.append(probed_contraction(code, batch, noise).detach())
        codes.append(code.detach())
    variance = float(total_variance(torch.cat(codes)))
    return float(torch.cat(contractions).mean()) / variance if variance > 0 else None


def _notes(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    contraction = scale_free_contraction(model, images)
    rounded = None if contraction is None else float(f"{contraction:.4g}")
    return {"scale_free_contraction": rounded}


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

    On track mlp, with sigmoid units and tied weights, J is each layer's Jacobian for its own input, in
    closed form. On conv it is the code's, estimated with random signs, and the penalty is divided by the
    code's variance over the batch: the decoder is invariant to the code's scale, so that shrinking the
    code would otherwise reduce the penalty at no cost.
    Rifai et al. 2011, "Contractive auto-encoders", ICML.

    weight: of the penalty, 0 or more
    track, code, width, rate: as for `autoencoder`, with the same errors

    Raises BenchError for a negative weight.
    """
    sizes = Sizes(code, width, rate).checked("contractive")
    require_at_least(0, "contractive", weight=weight)
    penalty = _probed if track == "conv" else _layers
    return Autoencoder(
        source,
        track,
        sizes,
        activation=nn.Sigmoid() if track == "mlp" else None,
        objective=lambda model, seed: penalty(model, seed, weight),
        notes=_notes,
    )
