"""Training of the small networks of zero-shot methods: initial weights, AdamW with a cosine schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.seeding import torch_generator
from bench.solvers._checks import Array, require_labels

REVISION = 1
BATCH = 256


def layer(seed: int, name: str, inputs: int, outputs: int, *, gain: float = 2.0) -> list[Tensor]:
    """Weights (inputs, outputs) of variance gain / inputs, from a random stream of their own (gain 2
    before ReLU: He et al. 2015, arXiv:1502.01852), and a bias (outputs,) of zeros; both require
    gradients."""
    drawn = torch.randn(inputs, outputs, generator=torch_generator(seed, name))
    weight, bias = drawn * math.sqrt(gain / inputs), torch.zeros(outputs)
    return [weight.requires_grad_(), bias.requires_grad_()]


def descend(
    parameters: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor],
    batches: Iterable[Array],
    *,
    samples: int,
    rate: float,
    decay: float = 0.0,
) -> None:
    """Minimise `loss` of row numbers (b,) in place, over batches that hold `samples` rows in all.

    AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), its rate falling along a cosine to zero; biases
    do not decay. Raises BenchError unless rate > 0 and decay >= 0, and where training has diverged.
    """
    require_positive(rate=rate, samples=samples)
    if not decay >= 0:
        raise BenchError(f"decay={decay}: must be 0 or more")
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)
    samples_seen = 0
    for rows in batches:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * samples_seen / samples))
        value = loss(torch.from_numpy(rows))
        slopes = torch.autograd.grad(value, list(parameters))
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        optimiser.step()
        samples_seen += len(rows)
    for parameter in parameters:
        parameter.grad = None
        parameter.requires_grad_(False)
        if not bool(parameter.isfinite().all()):
            raise BenchError(f"training at the rate {rate} has diverged: give a lower one")


def require_positive(**numbers: float) -> None:
    """Raise BenchError unless all of these are above 0."""
    for name, value in numbers.items():
        if not value > 0:
            raise BenchError(f"{name}={value}: must be above 0")


def checked_tensors(x: Array, y: Array, signatures: Array) -> tuple[Tensor, Tensor, Tensor]:
    """Features (n, d), places (n,) in signatures (C, a) as tensors: float32, int64, float32.

    Raises BenchError where shapes do not fit, or a label is no class.
    """
    if x.ndim != 2 or signatures.ndim != 2 or y.shape != (len(x),) or not len(x):
        raise BenchError(
            f"features {x.shape}, labels {y.shape} and signatures {signatures.shape} do not fit: "
            "give (n, d), (n,) and (C, a), with a row or more"
        )
    require_labels(y, len(signatures))
    return (
        torch.from_numpy(np.ascontiguousarray(x, np.float32)),
        torch.from_numpy(np.ascontiguousarray(y, np.int64)),
        torch.from_numpy(np.ascontiguousarray(signatures, np.float32)),
    )
