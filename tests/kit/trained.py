"""What tests of trained encoders share: tiny pictures, and the loss that a fit would minimise."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import SourceInfo
from bench.encoders.parts import adversarial
from bench.encoders.parts.autoencoder import reconstruction
from bench.naming.specs import resolve
from bench.running.workspace import fresh

Array = npt.NDArray[Any]
FORM = Input(size=(32, 32), channels=1)


def quadrants(count: int, *, seed: int = 0) -> Delivery:
    """Grey noise with one quadrant more or less bright: little to know, much to draw."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, 1, 32, 32))
    for i in range(count):
        row, column = 16 * (i % 4 // 2), 16 * (i % 2)
        images[i, 0, row : row + 16, column : column + 16] += rng.integers(80, 216)
    return Delivery(ArrayImages(images.astype(np.uint8)), FORM)


class _Caught(Exception):
    """Holds the loss."""


def made(text: str, *, seed: int = 0, side: int = 32, targets: Any = None) -> Any:
    """An untrained encoder of grey images, as the workspace builds it."""
    return fresh(resolve("encoders", text), SourceInfo(1, side, side, targets or {}), seed, {})


def alone(encoder: Any) -> Any:
    """The same encoder, to be trained on squared error and nothing else."""
    encoder.objective, encoder.notes = reconstruction, None
    return encoder


def learnt(
    encoder: Any, *, labels: Mapping[str, Array] | None = None, budget: int = 300, seed: int = 0
) -> dict[str, Tensor]:
    """Its weights after a few steps on tiny pictures."""
    encoder.fit(quadrants(40), labels=labels, budget=budget, seed=seed)
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def apart(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights that differ in any bit; both have the same names."""
    assert list(first) == list(second)
    return [name for name, value in first.items() if not torch.equal(value, second[name])]


def assert_slopes_are_those_of_small_steps(value: Any, parameters: list[Tensor]) -> None:
    """The gradient of `value()` along one random direction; all in float64, its noise held."""
    generator, step = torch.Generator().manual_seed(0), 1e-6
    assert value().item() == value().item()
    slopes = torch.autograd.grad(value(), parameters)
    along = [torch.randn(p.shape, generator=generator).double() for p in parameters]
    size = sum(float(a.square().sum()) for a in along) ** 0.5
    expected = sum(float((s * a).sum()) for s, a in zip(slopes, along, strict=True)) / size
    values = []
    for sign in (1, -2):  # ahead, then as far behind
        with torch.no_grad():
            for p, a in zip(parameters, along, strict=True):
                p.add_(a, alpha=sign * step / size)
        values.append(value().item())
    assert abs(expected) > 1e-3
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=1e-4)


def loss_of(
    module: ModuleType,
    encoder: Any,
    images: Delivery,
    *,
    labels: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> Any:
    """The loss that `encoder`, of this module, would train with: no step is made."""
    return _asked(module, "train", encoder, images, labels, seed)


def players_of(
    encoder: Any,
    images: Delivery,
    *,
    labels: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> Any:
    """The players that `encoder` would let compete: no step is made."""
    return _asked(adversarial, "compete", encoder, images, labels, seed)


def _asked(
    module: ModuleType, loop: str, encoder: Any, images: Delivery, labels: Any, seed: int
) -> Any:
    def caught(model: Any, images: Any, requested: Any, **_: Any) -> None:
        raise _Caught(requested)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, loop, caught)
        with pytest.raises(_Caught) as stopped:
            encoder.fit(images, labels=labels, budget=1, seed=seed)
    return stopped.value.args[0]
