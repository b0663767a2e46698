"""Sparse autoencoder: only few units of the code are active for an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.data.images import Delivery
from bench.data.samples import Array, SourceInfo
from bench.encoders.parts.arguments import require_at_least
from bench.encoders.parts.autoencoder import Autoencoder, Objective, squared_error
from bench.encoders.parts.training import Loss, noted_batches
from bench.encoders.parts.trunk import ConvDecoder, Sizes
from bench.errors import BenchError

REVISION = 1

Penalty = Callable[[Tensor], Tensor]
WEIGHTS = {"kl": 0.1, "l1": 0.03, "topk": 0.0}  # the defaults
RHO = 0.05  # target of a unit's mean activation
_MEMORY = 0.9  # decay of the moving average, per batch


class MeanActivity:
    """sum_j KL(RHO || rho_j) of sigmoid units, rho_j their mean activation, as a moving average.

    The value is that of the moving average, since a batch is too noisy; the gradient that of the batch.
    """

    def __init__(self) -> None:
        self.average: Tensor | None = None

    def __call__(self, codes: Tensor) -> Tensor:
        mean = codes.mean(dim=0)
        value = mean.detach()
        if self.average is None:
            self.average = value
        else:
            self.average = _MEMORY * self.average + (1 - _MEMORY) * value
        rho = (self.average + mean - value).clamp(1e-6, 1 - 1e-6)
        return bernoulli_divergence(rho).sum()


def bernoulli_divergence(rho: Tensor) -> Tensor:
    """KL(Bernoulli(RHO) || Bernoulli(rho)) in nats, elementwise."""
    return RHO * (RHO / rho).log() + (1 - RHO) * ((1 - RHO) / (1 - rho)).log()


def absolute(codes: Tensor) -> Tensor:
    """Mean over images of sum_j |h_j| / sqrt(mean h^2), of codes h (n, d).

    Scale-free, so that a smaller code with larger decoder weights does not reduce it.
    """
    # Clamped before the square root, whose derivative at 0 is infinite.
    scale = codes.square().mean().clamp(min=1e-24).sqrt()
    return codes.abs().sum(dim=1).mean() / scale


class TopK(nn.Module):
    """Codes (n, d) with all but the `k` largest entries of each row set to 0. Makhzani and Frey 2014
    (arXiv:1312.5663)."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, codes: Tensor) -> Tensor:
        values, places = codes.topk(self.k, dim=1)
        return torch.zeros_like(codes).scatter(1, places, values)


class UnitColumns(nn.Module):
    """A weight (out, in) with columns of length 1, so that all units of a code have one scale."""

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.normalize(weight, dim=0)


def sparse(penalty: Callable[[], Penalty], weight: float) -> Objective:
    """The objective of squared error and `weight` x a penalty of the code."""

    def objective(model: Autoencoder, seed: int) -> Loss:
        penalise = penalty()

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            code = model.encode(batch)
            error = squared_error(model.decode(code), batch)
            return {"reconstruction": error, "sparsity": weight * penalise(code)}

        return loss

    return objective


@torch.inference_mode()
def activity(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    """Mean activation; units that are never active (above 0.01 x the code's root mean square); mean
    sparsity of Hoyer 2004 (JMLR 5:1457), from 0, all units equal, to 1, a single active unit."""
    codes = torch.cat([model.encode(batch) for batch in noted_batches(model, images)]).abs()
    d, scale = codes.shape[1], codes.square().mean().sqrt()
    active = codes[codes.amax(dim=1) > 0]
    ratio = active.sum(dim=1) / active.norm(dim=1)
    hoyer = (d**0.5 - ratio) / max(d**0.5 - 1, 1e-12)
    return {
        "mean_activation": float(f"{codes.mean():.4g}"),
        "dead_units": int((codes.amax(dim=0) <= 0.01 * scale).sum()),
        "hoyer": float(f"{hoyer.mean():.4g}") if d > 1 and len(active) else None,
    }


def build(
    *,
    source: SourceInfo,
    track: Literal["conv", "mlp"] = "conv",
    penalty: Literal["l1", "kl", "topk"] = "kl",
    weight: float | None = None,
    code: int = 256,
    width: int = 16,
    rate: float = 2e-3,
) -> Autoencoder:
    """Squared error and `weight` x a penalty of the code.

    penalty: kl, sigmoid units with KL of their mean activation from 0.05 (Ng 2011, CS294A lecture notes);
        l1, sum |h| / sqrt(mean h^2) of rectified units, with decoder columns of length 1 (Olshausen and
        Field 1996, doi:10.1038/381607a0); topk, no penalty, but only the largest sixteenth is not 0
    weight: of the penalty, default 0.1 for kl, 0.03 for l1; not for topk
    track, code, width, rate: as for `autoencoder`, with the same errors

    Raises BenchError for a negative weight, a weight with topk, a code below 16 with topk.
    """
    sizes = Sizes(code, width, rate).checked("sparse")
    if penalty == "topk":
        if weight is not None:
            raise BenchError(f"sparse,penalty=topk,weight={weight:g}: topk has no weight; omit it")
        require_at_least(16, "sparse,penalty=topk", code=code)
    weight = WEIGHTS[penalty] if weight is None else weight
    require_at_least(0, f"sparse,penalty={penalty}", weight=weight)
    units: dict[str, nn.Module] = {"kl": nn.Sigmoid(), "l1": nn.ReLU(), "topk": TopK(code // 16)}
    objectives: dict[str, Objective | None] = {
        "kl": sparse(MeanActivity, weight),
        "l1": sparse(lambda: absolute, weight),
        "topk": None,
    }
    model = Autoencoder(
        source,
        track,
        sizes,
        activation=units[penalty],
        objective=objectives[penalty],
        notes=activity,
    )
    if penalty == "l1" and isinstance(model.decoder, ConvDecoder):
        parametrize.register_parametrization(model.decoder.first, "weight", UnitColumns())
    return model
