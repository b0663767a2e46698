"""Seeds are arguments: named streams, and the one place that touches global random state."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def stream(seed: int, name: str) -> int:
    """The sub-seed in [0, 2**63) of one use of `seed`: adding a use moves no other.

    >>> stream(0, "trunk") == stream(0, "trunk"), stream(0, "trunk") == stream(0, "batches")
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str) -> np.random.Generator:
    """A NumPy generator of its own for one named use of `seed`."""
    return np.random.default_rng(stream(seed, name))


def torch_generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A PyTorch generator of its own for one named use of `seed`."""
    import torch

    return torch.Generator(device).manual_seed(stream(seed, name))


def minibatches(count: int, budget: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers, `batch` at a time, `budget` in all: whole epochs, each in an order of its own."""
    rng = generator(seed, "batches")
    waiting = np.empty(0, dtype=np.int64)
    while budget > 0:
        size = min(batch, budget)
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:size]
        waiting, budget = waiting[size:], budget - size


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global state of `random`, NumPy and PyTorch (all devices) set to `seed`, then given back."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
