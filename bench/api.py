"""From Python: score an encoder, given by its spec or as an object."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.datasets.base import data_root
from bench.encoders.base import Encoder
from bench.encoders.parts.given import Given, eval_mode
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.store import Results
from bench.running.cache import Cache, cache_root
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.files import select
from bench.tasks.task import Task


def evaluate(
    encoder: object,
    tasks: str | Iterable[str | Task] = "digits-*",
    *,
    data: str | Path | None = None,
    seeds: int | None = None,
) -> Results:
    """Score an encoder on tasks (names or patterns such as "mnist-*"; Task objects).

    encoder: a spec; an `Encoder`; or a module (called, so that its hooks run), or any object with
    `forward(images) -> (n, dim)`, which gets images (n, c, h, w) in [0, 1] as its attribute `input`
    says, by default 32 px RGB, in float32 or the floating type of its weights. An object is left as
    it was, and nothing of it is kept on disk. `data` is the data root.

    Raises BenchError for unknown names and objects that cannot encode; a cell that breaks is a
    record with status "failed".
    """
    chosen = select([tasks] if isinstance(tasks, str) else tasks)
    if isinstance(encoder, str):
        cells = [Cell(task, resolve("encoders", encoder)) for task in chosen]
        cache = Cache(cache_root())
        return Results(run_cells(cells, root=data_root(data), seeds=seeds, cache=cache).records)
    with eval_mode(encoder):
        if isinstance(encoder, Encoder):
            _require_no_hooks(encoder)
        wrapped = encoder if isinstance(encoder, Encoder) else Given(encoder)
        cells = [Cell(task, wrapped) for task in chosen]
        return Results(run_cells(cells, root=data_root(data), seeds=seeds).records)


def _require_no_hooks(encoder: Encoder) -> None:
    """Raise BenchError for hooks on an Encoder itself, of which `taps` is called and not the module."""
    if encoder._forward_hooks or encoder._forward_pre_hooks:
        raise BenchError(
            f"{type(encoder).__name__} has hooks of its own, which `taps` would pass by; register them "
            "on a module within it, or give an nn.Module that is no Encoder"
        )
