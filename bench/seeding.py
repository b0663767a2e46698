"""Seeds are arguments: named streams, and the one place that touches global state of the process."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    """A PyTorch generator of its own for one named use of `seed`: `torch.randn(3, generator=...)`."""
    import torch

    return torch.Generator(device).manual_seed(stream(seed, name))


def minibatches(count: int, budget: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers, `batch` at a time, `budget` in all: whole epochs, each in an order of its own.

    count: of rows, 1 or more; each array holds int64 in [0, count), the last one what is left of `budget`
    seed: alone decides the orders. Raises ValueError where there are no rows, or a batch has none.
    """
    if count < 1 or batch < 1:
        raise ValueError(f"minibatches of {batch} of {count} rows: give 1 or more of both")
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


@contextmanager
def standard_settings() -> Iterator[None]:
    """Settings of the process that numbers depend on as PyTorch and NumPy start with them, whatever the
    caller has set: default type and device, precision of products, gradients, autocast, NumPy's errors.
    They, the number of threads, the deterministic mode and the working folder are then given back.

    Raises RuntimeError where code within has set the default type or device, which it may rely on.
    """
    import torch

    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    deterministic = torch.get_deterministic_debug_mode()
    folder, cpu, changed = _working_folder(), torch.device("cpu"), ""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        if device != cpu:
            torch.set_default_device(None)
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
            raise
        finally:
            if torch.get_default_dtype() != torch.float32:
                changed = f"default type is set to {torch.get_default_dtype()}"
            elif torch.get_default_device() != cpu:
                changed = f"default device is set to {torch.get_default_device()}"
            if torch.get_default_device() != device:
                torch.set_default_device(None if device == cpu else device)
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(precision)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            if torch.get_deterministic_debug_mode() != deterministic:  # it imports a compiler
                torch.use_deterministic_algorithms(deterministic > 0, warn_only=deterministic == 1)
            if folder and folder != _working_folder():
                os.chdir(folder)
            if changed:
                raise RuntimeError(
                    f"PyTorch's {changed} for the whole process, which would move the numbers of other "
                    "encoders; give dtype= or device= where a tensor is made"
                ) from error


def _working_folder() -> str:
    """ "" where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""
