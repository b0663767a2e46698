"""What tests of trained encoders share: tiny pictures, and the loss that a fit would minimise."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.images import ArrayImages, Delivery, Input

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


def loss_of(module: ModuleType, encoder: Any, images: Delivery, *, seed: int = 0) -> Any:
    """The loss that `encoder`, of this module, would train with: no step is made."""

    def caught(model: Any, images: Any, loss: Any, **_: Any) -> None:
        raise _Caught(loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "train", caught)
        with pytest.raises(_Caught) as found:
            encoder.fit(images, labels=None, budget=1, seed=seed)
    return found.value.args[0]
