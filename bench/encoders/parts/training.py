"""The training loop of all encoders: budget in images, named random streams, a check for divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array
from bench.encoders.base import FitReport
from bench.errors import BenchError
from bench.progress import progress
from bench.seeding import minibatches

REVISION = 1
KNOWN_AS = "encoders/_training"  # its key in the revisions of records

# A batch (n, c, h, w) in [0, 1] and its row numbers (n,) to named terms, whose sum is minimised.
Loss = Callable[[Tensor, Array], Mapping[str, Tensor]]
BATCH = 128
_NOTED = 5_000  # training images for a report's notes
_CHECK_EVERY = 64  # steps between two checks of the loss: each one waits for the device


@dataclass(frozen=True, slots=True, eq=False)
class Player:
    """Parameters with an optimiser (Adam's `rate` and `betas`) and a loss of their own."""

    parameters: Sequence[nn.Parameter]
    loss: Loss
    rate: float
    betas: tuple[float, float] = (0.9, 0.999)


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
    """Train `model` in place by Adam, the learning rate falling to 0 by a cosine.

    loss: a batch and its row numbers to the terms that are added up and minimised
    budget: images to train on, repetitions counted; ceil(budget / batch) steps
    seed: alone decides the order of the minibatches
    rate: Adam's learning rate at the start
    batch: images a step

    The report has each term's mean over the last tenth of the steps.

    Kingma and Ba 2015 (arXiv:1412.6980); Loshchilov and Hutter 2017 (arXiv:1608.03983), one cycle.
    Raises BenchError where the loss is no longer finite, and where there are no images.
    """
    player = Player(list(model.parameters()), loss, rate)
    return compete(model, images, [player], budget=budget, seed=seed, batch=batch)


def compete(
    model: nn.Module,
    images: Delivery,
    players: Sequence[Player],
    *,
    budget: int,
    seed: int,
    batch: int = BATCH,
) -> FitReport:
    """As `train`, with several players, whose names of terms must differ: on each batch each of them in
    turn makes one step, which changes its own parameters alone."""
    if not len(images):
        raise BenchError("there are no images to train on")
    images = images.resident()
    device = next(model.parameters()).device
    optimisers = [torch.optim.Adam(p.parameters, lr=p.rate, betas=p.betas) for p in players]
    steps = math.ceil(budget / batch)
    tail_start, tail = steps - max(1, steps // 10), dict[str, Tensor]()
    model.train()
    with progress("training", budget, "images") as counted:
        for step, rows in enumerate(minibatches(len(images), budget, batch, seed)):
            inputs, totals = images.read(rows).to(device), list[Tensor]()
            for player, optimiser in zip(players, optimisers, strict=True):
                for group in optimiser.param_groups:
                    group["lr"] = player.rate * 0.5 * (1 + math.cos(math.pi * step / steps))
                terms = player.loss(inputs, rows)
                total = torch.stack(list(terms.values())).sum()
                optimiser.zero_grad(set_to_none=True)
                # No gradients for the other players: not needed, and they would accumulate.
                total.backward(inputs=player.parameters)  # type: ignore[no-untyped-call]
                optimiser.step()
                totals.append(total.detach())
                if step >= tail_start:
                    for name, term in terms.items():
                        tail[name] = tail.get(name, 0.0) + term.detach()
            if step % _CHECK_EVERY == 0 or step == steps - 1:
                _require_finite(totals, f"after {step + 1} of {steps} steps", players)
            counted.update(len(rows))
    model.eval()
    means = {
        name: float(f"{value.item() / (steps - tail_start):.6g}") for name, value in tail.items()
    }
    return FitReport(images_seen=budget, steps=steps, terms=means)


def _require_finite(totals: Sequence[Tensor], when: str, players: Sequence[Player]) -> None:
    total = torch.stack(list(totals)).sum()
    if not bool(total.isfinite()):
        rates = " and ".join(dict.fromkeys(f"{player.rate:g}" for player in players))
        raise BenchError(
            f"training has diverged: the loss is {total.item()} {when}; try a lower rate than {rates}"
        )


def noted_batches(model: nn.Module, images: Delivery, *, limit: int = _NOTED) -> Iterator[Tensor]:
    """The first `limit` training images in batches of about 500, on the model's device, for notes."""
    device = next(model.parameters()).device
    rows = np.arange(min(len(images), limit))
    for chunk in np.array_split(rows, max(1, len(rows) // 500)):
        yield images.read(chunk).to(device)
