"""How small networks of zero-shot methods are trained: a stream for every draw, Adam with a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.seeding import torch_generator

__all__ = ["BATCH", "REVISION", "above_zero", "checked", "descend", "layer"]

REVISION = 1
"""Raised whenever an edit moves numbers."""

Array = npt.NDArray[Any]
BATCH = 256


def layer(seed: int, name: str, inputs: int, outputs: int, *, gain: float = 2.0) -> list[Tensor]:
    """Weights (inputs, outputs) of variance gain / inputs, from a stream of their own (2: He et al. 2015,
    arXiv:1502.01852, for what is rectified), and a bias (outputs,) of zeros; both to be learnt."""
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

    AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), its rate falling along a cosine to zero; no bias
    decays. Raises BenchError for a rate of 0 or a decay below, and where a parameter is no longer finite.
    """
    above_zero(rate=rate, samples=samples)
    if not decay >= 0:
        raise BenchError(f"decay={decay}: 0 or more is wanted")
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)
    done = 0
    for rows in batches:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done / samples))
        value = loss(torch.from_numpy(rows))
        slopes = torch.autograd.grad(value, list(parameters))
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        optimiser.step()
        done += len(rows)
    for parameter in parameters:
        parameter.grad = None
        parameter.requires_grad_(False)
        if not bool(parameter.isfinite().all()):
            raise BenchError(f"training at the rate {rate} has diverged: give a lower one")


def above_zero(**numbers: float) -> None:
    """Raise BenchError unless all of these are above 0."""
    for name, value in numbers.items():
        if not value > 0:
            raise BenchError(f"{name}={value}: a number above 0 is wanted")


def checked(x: Array, y: Array, signatures: Array) -> tuple[Tensor, Tensor, Tensor]:
    """Features (n, d), places (n,) in signatures (C, a) as tensors: float32, int64, float32.

    Raises BenchError where shapes do not fit, or a label is no class.
    """
    if x.ndim != 2 or signatures.ndim != 2 or y.shape != (len(x),) or not len(x):
        raise BenchError(
            f"features {x.shape}, labels {y.shape} and signatures {signatures.shape} do not fit: "
            "give (n, d), (n,) and (C, a), with a row or more"
        )
    if y.min() < 0 or y.max() >= len(signatures):
        raise BenchError(
            f"labels run from {y.min()} to {y.max()}: there are signatures of 0 to "
            f"{len(signatures) - 1} alone"
        )
    return (
        torch.from_numpy(np.ascontiguousarray(x, np.float32)),
        torch.from_numpy(np.ascontiguousarray(y, np.int64)),
        torch.from_numpy(np.ascontiguousarray(signatures, np.float32)),
    )
