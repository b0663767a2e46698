"""What a run cost and where: seconds, memory, threads, versions; no host's or user's name."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from bench.errors import BenchError

__all__ = ["chosen_device", "measured", "peak_memory", "reset_peak_memory"]

PACKAGES = (
    "reptransfer",
    "numpy",
    "onnxruntime",
    "pillow",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)


def chosen_device(given: str | None) -> str:
    """PyTorch's name of the device to work on: the given one, else a GPU where there is one.

    Raises BenchError for a device that is not there.
    """
    import torch

    if given is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=given).cpu()
    except (RuntimeError, AssertionError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise BenchError(f"no device {given!r} ({why}); give cpu, cuda or cuda:1") from error
    return given


def measured() -> dict[str, Any]:
    """Threads, processor and versions of this run."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "machine": {"processor": _processor(), "system": platform.system()},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def reset_peak_memory() -> None:
    """Let the peak be counted from now on, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int | None:
    """The process's peak resident memory in MB since the last reset; None where it is not told."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kib = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return round(kib[0] * 1024 / 1e6) if kib else None
