"""Accuracy of the task's head on noisy, incomplete and adversarially changed images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.data.images import Delivery
from bench.diagnostics.base import Context
from bench.seeding import generator

REVISION = 1
IMAGES, BATCH = 1_000, 250
NOISE = 0.1  # standard deviation, of values in [0, 1]
MISSING = 0.3  # share of pixels, all channels together
ATTACK = {1: 0.1, 3: 8 / 255}  # largest change of a value, by channels
Change = Callable[[Tensor], Tensor]


def diagnose(context: Context) -> Mapping[str, float | None]:
    """Accuracies in [0, 1] on the first 1,000 validation images that have a label of the first target of
    kind classes: clean, with Gaussian noise, with pixels set to 0, and after one step of the fast gradient
    sign method (Goodfellow et al. 2015, arXiv:1412.6572) away from the clean prediction. None where there
    is no head, or, for the attack, no gradient.
    """
    names = ("clean", "noise", "missing", "fgsm")
    readout, images = class_logits(context), context.validation.x
    if readout is None or not isinstance(images, Delivery):  # features: there is no image to change
        return dict.fromkeys(names)
    target, logits = readout
    labels = np.asarray(context.validation.y[target])
    rows = np.flatnonzero(labels >= 0)[:IMAGES]
    changes: dict[str, Change] = {
        "clean": lambda x: x,
        "noise": noisy(generator(context.seed, "robustness:noise")),
        "missing": incomplete(generator(context.seed, "robustness:missing")),
    }
    if context.encoder.differentiable:
        epsilon = ATTACK[context.encoder.input.channels]
        changes["fgsm"] = lambda x: attacked(logits, x, epsilon)
    accuracies: dict[str, float | None] = dict.fromkeys(names)
    for name, change in changes.items():
        right = 0
        for batch in np.array_split(rows, max(1, -(-len(rows) // BATCH))):
            with torch.no_grad():
                predicted = logits(change(images.read(batch))).argmax(dim=1)
            right += int((predicted.cpu().numpy() == labels[batch]).sum())
        accuracies[name] = right / len(rows) if len(rows) else None
    return accuracies


def class_logits(context: Context) -> tuple[str, Change] | None:
    """The first target of kind classes, and images (n, c, h, w) -> its logits (n, k) by the task's head,
    on the device of the encoder. None without such a target or a head."""
    target = next((n for n, t in context.meta.targets.items() if t.kind == "classes"), None)
    if context.head is None or target is None:
        return None
    head = context.head.to(context.device)

    def logits_of(images: Tensor) -> Tensor:
        features = context.encoder.taps(images.to(context.device))[context.level]
        logits: Tensor = head(features)[target]
        return logits

    return target, logits_of


def noisy(rng: np.random.Generator) -> Change:
    """Gaussian noise added, values kept in [0, 1]."""

    def change(x: Tensor) -> Tensor:
        noise = rng.standard_normal(tuple(x.shape), dtype=np.float32)
        return (x + NOISE * torch.from_numpy(noise)).clamp(0, 1)

    return change


def incomplete(rng: np.random.Generator) -> Change:
    """A share of the pixels set to 0."""

    def change(x: Tensor) -> Tensor:
        present = rng.random((len(x), 1, *x.shape[2:])) >= MISSING
        return x * torch.from_numpy(present)

    return change


def attacked(logits: Change, x: Tensor, epsilon: float) -> Tensor:
    """Images moved by `epsilon` along the sign of the gradient of the clean prediction's cross-entropy,
    values kept in [0, 1]."""
    with torch.enable_grad():
        moved = x.detach().clone().requires_grad_()
        clean = logits(moved)
        functional.cross_entropy(clean, clean.detach().argmax(dim=1), reduction="sum").backward()  # type: ignore[no-untyped-call]
    assert moved.grad is not None
    return (x + epsilon * moved.grad.sign()).clamp(0, 1)
