"""Side effects of code: files written, network connections, changes of global state."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.testing._places import running_line

_CHANGES = {
    f"os.{c}" for c in ("mkdir", "remove", "rename", "rmdir", "symlink", "link", "truncate")
}
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}


@dataclass(slots=True)
class Watch:
    """Paths that were written, and network connections that were tried, while it was active, each with
    the line of `path` that did so."""

    path: Path
    written: dict[str, int | None] = field(default_factory=dict)
    connections: dict[str, int | None] = field(default_factory=dict)


_active: list[Watch] = []
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active:
        return
    if event == "open" and len(arguments) == 3:
        path, mode, flags = arguments
        writes = any(c in str(mode or "") for c in "wax+")
        writes = writes or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and isinstance(path, str | bytes | os.PathLike):
            _note(os.fsdecode(path))
    elif event in _CHANGES:
        _note(str(arguments[0]))
    elif event in _NETWORK:
        connection = f"{event}: {arguments[1:] or arguments}"[:200]
        _active[-1].connections.setdefault(connection, running_line(_active[-1].path))
        raise OSError("there is no network while an encoder is checked")


def _note(path: str) -> None:
    # Python and PyTorch write caches of their own.
    libraries = ("__pycache__", ".pyc", "torchinductor", os.devnull)
    if not any(name in path for name in libraries):
        _active[-1].written.setdefault(path, running_line(_active[-1].path))


@contextmanager
def watched(path: Path) -> Iterator[Watch]:
    """Records what is written, with the line of `path` that writes, and refuses every connection, until
    the block ends.

    It is an audit hook (PEP 578), so it sees everything that goes through Python's own calls.
    """
    global _hooked
    if not _hooked:  # there is one, which cannot be removed and does nothing while none is active
        sys.addaudithook(_hook)
        _hooked = True
    watch = Watch(path)
    _active.append(watch)
    try:
        yield watch
    finally:
        _active.remove(watch)


def global_state() -> dict[str, Any]:
    """What a component must leave unchanged: random states, PyTorch's settings, the working folder."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    return {
        "the random state of PyTorch": torch.get_rng_state().numpy().tobytes(),
        "the random state of NumPy": (numpy_state[1].tobytes(), numpy_state[2]),
        "the random state of `random`": random.getstate(),
        "PyTorch's default dtype": torch.get_default_dtype(),
        "PyTorch's number of threads": torch.get_num_threads(),
        "PyTorch's gradient mode": torch.is_grad_enabled(),
        "PyTorch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "the working folder": os.getcwd(),
    }
