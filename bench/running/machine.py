"""The machine of a run: device, memory, threads, versions; never the name of a host or user."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import BenchError

PACKAGES = ["reptransfer", "numpy", "onnxruntime", "pillow", "scikit-learn", "scipy", "timm"]
PACKAGES += ["torch", "torchvision"]


def chosen_device(name: str | None) -> str:
    """PyTorch's name of the device to work on: `name`, else a GPU where there is one.

    Raises BenchError for a device that is not there.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise BenchError(f"no device {name!r} ({why}); give cpu, cuda or cuda:1") from error
    return name


def measured() -> dict[str, Any]:
    """Threads, processor and versions of this run."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "machine": {"processor": _processor(), "system": platform.system()},
        "versions": {"python": platform.python_version(), **_versions()},
    }


@cache
def _versions() -> Mapping[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def reset_peak_memory() -> None:
    """Count the peak from now on, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int | None:
    """The process's peak resident memory in MB since the last reset; None where it is unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kib = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return round(kib[0] * 1024 / 1e6) if kib else None
