"""reptransfer: how good is this representation, and for what?

Importing this imports no PyTorch: names are fetched when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import evaluate
    from bench.data.images import Input
    from bench.encoders.base import Encoder, FitReport
    from bench.errors import BenchError
    from bench.results.record import Record
    from bench.results.store import Results, load_results
    from bench.scoring.comparison import compare
    from bench.tasks.task import Task

__all__ = [
    "BenchError",
    "Encoder",
    "FitReport",
    "Input",
    "Record",
    "Results",
    "Task",
    "compare",
    "evaluate",
    "load_results",
]

_HOMES = {
    "BenchError": "errors",
    "Encoder": "encoders.base",
    "FitReport": "encoders.base",
    "Input": "data.images",
    "Record": "results.record",
    "Results": "results.store",
    "Task": "tasks.task",
    "compare": "scoring.comparison",
    "evaluate": "api",
    "load_results": "results.store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bench.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
