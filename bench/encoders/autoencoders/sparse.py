"""Sparse autoencoder: few units of its code are active at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.parts.autoencoder import Autoencoder, Objective, some_batches, squared_error
from bench.encoders.parts.training import Loss
from bench.encoders.parts.trunk import ConvDecoder, check_sizes
from bench.errors import BenchError

REVISION = 1

Array = npt.NDArray[Any]
Penalty = Callable[[Tensor], Tensor]
WEIGHTS = {"kl": 0.1, "l1": 0.03, "topk": 0.0}  # the usual ones
RHO = 0.05  # share of the time that a unit is to be active
_MEMORY = 0.9  # of the moving average, a batch


class MeanActivity:
    """sum_j KL(RHO || rho_j) of sigmoid units, rho_j their mean activation, by a moving average.

    A batch alone is too noisy: the value is the moving average's, the gradient that of the batch mean.
    """

    def __init__(self) -> None:
        self.average: Tensor | None = None

    def __call__(self, codes: Tensor) -> Tensor:
        mean = codes.mean(dim=0)
        now = mean.detach()
        kept = now if self.average is None else _MEMORY * self.average + (1 - _MEMORY) * now
        self.average = kept
        rho = (kept + mean - now).clamp(1e-6, 1 - 1e-6)
        return bernoulli_divergence(rho).sum()


def bernoulli_divergence(rho: Tensor) -> Tensor:
    """KL(Bernoulli(RHO) || Bernoulli(rho)) in nats, element by element."""
    return RHO * (RHO / rho).log() + (1 - RHO) * ((1 - RHO) / (1 - rho)).log()


def absolute(codes: Tensor) -> Tensor:
    """sum_j |h_j|, averaged over images, of codes (n, d) brought to unit root mean square.

    In units of its own size, so that a smaller code with a larger decoder gains nothing.
    """
    # Clamped below the root, whose slope at 0 is infinite.
    size = codes.square().mean().clamp(min=1e-24).sqrt()
    return codes.abs().sum(dim=1).mean() / size


class TopK(nn.Module):
    """Keeps the `k` largest of each code (n, d), the others are 0. Makhzani and Frey 2014
    (arXiv:1312.5663)."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, codes: Tensor) -> Tensor:
        values, places = codes.topk(self.k, dim=1)
        return torch.zeros_like(codes).scatter(1, places, values)


class UnitColumns(nn.Module):
    """A weight (out, in) with columns of length 1: all units of a code are measured alike."""

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.normalize(weight, dim=0)


def sparse(penalty: Callable[[], Penalty], weight: float) -> Objective:
    """Squared error, and `weight` x a penalty of the code."""

    def objective(model: Autoencoder, seed: int) -> Loss:
        penalise = penalty()

        def loss(batch: Tensor, rows: Array) -> dict[str, Tensor]:
            code = model.encode(batch)
            rebuilt = squared_error(model.decode(code), batch)
            return {"reconstruction": rebuilt, "sparsity": weight * penalise(code)}

        return loss

    return objective


@torch.inference_mode()
def activity(model: Autoencoder, images: Delivery) -> dict[str, Any]:
    """Mean activation, units that are never active (below a hundredth of the code's root mean square),
    and Hoyer's sparsity over images with any activity (0: all units alike, 1: one alone; Hoyer 2004,
    JMLR 5:1457)."""
    codes = torch.cat([model.encode(batch) for batch in some_batches(model, images)]).abs()
    d, size = codes.shape[1], codes.square().mean().sqrt()
    active = codes[codes.amax(dim=1) > 0]
    ratio = active.sum(dim=1) / active.norm(dim=1)
    hoyer = (d**0.5 - ratio) / max(d**0.5 - 1, 1e-12)
    return {
        "mean_activation": float(f"{codes.mean():.4g}"),
        "dead_units": int((codes.amax(dim=0) <= 0.01 * size).sum()),
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
    """Squared error and a penalty of the code, by `weight` (default 0.1 for kl, 0.03 for l1):

    kl: sigmoid units whose mean activation is drawn to 0.05 (Ng 2011, CS294A lecture notes).
    l1: sum |h| of rectified units, at unit size, with decoder columns of length 1 (Olshausen and Field
    1996, doi:10.1038/381607a0). topk: the largest sixteenth is kept, and nothing weighed.
    Sizes and Adam's `rate` as for `autoencoder`.

    Raises BenchError for a negative weight, one with topk, a code below 1 (topk: 16), a width that is
    no multiple of 8.
    """
    check_sizes("sparse", code, width, rate)
    if weight is not None and (weight < 0 or penalty == "topk"):
        allowed = "none" if penalty == "topk" else "0 or more"
        raise BenchError(f"sparse,penalty={penalty},weight={weight:g}: {allowed} is wanted")
    if penalty == "topk" and code < 16:
        raise BenchError(f"sparse,penalty=topk,code={code}: 16 or more is wanted")
    used = WEIGHTS[penalty] if weight is None else weight
    units: dict[str, nn.Module] = {"kl": nn.Sigmoid(), "l1": nn.ReLU(), "topk": TopK(code // 16)}
    objectives: dict[str, Objective | None] = {
        "kl": sparse(MeanActivity, used),
        "l1": sparse(lambda: absolute, used),
        "topk": None,
    }
    model = Autoencoder(
        source,
        track=track,
        code=code,
        width=width,
        rate=rate,
        activation=units[penalty],
        objective=objectives[penalty],
        notes=activity,
    )
    if penalty == "l1" and isinstance(model.decoder, ConvDecoder):
        parametrize.register_parametrization(model.decoder.first, "weight", UnitColumns())
    return model
