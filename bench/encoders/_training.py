"""The one training loop: budgets in images seen, named random streams, divergence told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.encoders.base import FitReport
from bench.errors import BenchError
from bench.images import Delivery
from bench.seeding import generator

REVISION = 1

Array = npt.NDArray[Any]
Loss = Callable[[Tensor, Array], Mapping[str, Tensor]]
BATCH = 128
_LOOK = 64  # steps between two looks at the loss: each one waits for the device


def train(
    model: nn.Module,
    images: Delivery,
    loss: Loss,
    *,
    budget: int,
    seed: int,
    rate: float,
    batch: int = BATCH,
) -> FitReport:
    """Train `model` in place on `budget` images drawn, by Adam with a cosine to zero.

    `loss` gets a batch (n, c, h, w) in [0, 1] and the numbers (n,) of its rows, and gives terms whose
    sum is minimised. The order of the minibatches hangs on the seed alone. The report has each
    term's mean over the last tenth of the steps.

    Kingma and Ba 2015 (arXiv:1412.6980); Loshchilov and Hutter 2017 (arXiv:1608.03983), one cycle.
    Raises BenchError where the loss is no longer finite, and where there is nothing to train on.
    """
    if not len(images):
        raise BenchError("there are no images to train on")
    images = images.resident()
    device = next(model.parameters()).device
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    steps = math.ceil(budget / batch)
    last, tail = steps - max(1, steps // 10), dict[str, Tensor]()
    model.train()
    progress = tqdm(total=budget, desc="training", unit="image", disable=None, leave=False, delay=1)
    with progress:
        for step, rows in enumerate(minibatches(len(images), budget, batch, seed)):
            for group in optimiser.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            terms = loss(images.read(rows).to(device), rows)
            total = torch.stack(list(terms.values())).sum()
            optimiser.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if (step % _LOOK == 0 or step == steps - 1) and not bool(total.isfinite()):
                raise BenchError(
                    f"training has diverged: after {step + 1} of {steps} steps the loss is "
                    f"{total.item()}; try a lower rate than {rate:g}"
                )
            if step >= last:
                for name, term in terms.items():
                    tail[name] = tail.get(name, 0.0) + term.detach()
            progress.update(len(rows))
    model.eval()
    means = {name: float(f"{value.item() / (steps - last):.6g}") for name, value in tail.items()}
    return FitReport(images_seen=budget, steps=steps, terms=means)


def minibatches(count: int, budget: int, batch: int, seed: int) -> Iterator[Array]:
    """Row numbers, `batch` at a time, `budget` in all: whole epochs, each in an order of its own."""
    rng = generator(seed, "batches")
    waiting = np.empty(0, dtype=np.int64)
    while budget > 0:
        size = min(batch, budget)
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:size]
        waiting, budget = waiting[size:], budget - size
