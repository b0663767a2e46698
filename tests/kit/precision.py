"""Trainings in float64, where machines agree.

Adam's first steps divide a gradient by its own size: a weight whose gradient is nothing but rounding takes
a full step, either way. In float32 two machines ended 3 % apart after three steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from bench.data.images import Delivery


@contextmanager
def double() -> Iterator[None]:
    """What is built, drawn and delivered within is float64."""
    read = Delivery.read
    before = torch.get_default_dtype()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        patch.setattr(Delivery, "read", lambda self, indices: read(self, indices).double())
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
