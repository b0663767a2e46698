"""What a diagnostic is given: an encoder, its features and validation images, never test data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from torch import nn

from bench.data import Meta, Samples
from bench.encoders.base import Encoder

__all__ = ["Context"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """For `diagnose(context) -> {name: value or None}`; what it needs and lacks is None."""

    encoder: Encoder
    meta: Meta
    features: Mapping[str, Array]  # level -> (n, d), of the validation samples
    validation: Samples  # x: Delivery
    head: nn.Module | None  # of the cell's protocol, fitted on train alone
    seed: int
