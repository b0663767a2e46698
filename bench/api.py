"""From Python: score an encoder, given by its spec or as an object; write features for others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.images import Input
from bench.datasets.base import DataSets, data_root
from bench.encoders.base import Encoder
from bench.encoders.parts.given import as_encoder, eval_mode
from bench.encoders.parts.stored_features import write_features as write_file
from bench.errors import BenchError
from bench.files.paths import folder_path
from bench.naming.specs import Resolved, resolve
from bench.progress import Reporter, to_stderr
from bench.results.frames import Results
from bench.results.own_names import OwnNames
from bench.results.store import Store
from bench.running.cache import Cache, cache_root
from bench.running.executor import run_cells
from bench.tasks.cell import Cell
from bench.tasks.files import select
from bench.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


def evaluate(
    encoder: object,
    tasks: str | Task | Iterable[str | Task] = "digits-*",
    *,
    data: str | Path | None = None,
    seeds: int | None = None,
    results: str | Path | None = None,
    name: str | None = None,
    progress: Callable[[str], None] | None = to_stderr,
) -> Results:
    """Score an encoder on tasks (names or patterns such as "mnist-*"; Task objects).

    encoder: a spec; an `Encoder`; or a module (called, so that its hooks run), or any object with
        `forward(images) -> (n, dim)`, which gets images (n, c, h, w) in [0, 1] as its attribute `input`
        says, by default 32 px RGB, in float32 or the floating type of its weights. An object is left as
        it was. Its records have the name in its attribute `name`, else that of its class.
    data: the data root
    seeds: number of runs of everything that draws random numbers (None: as the tasks say)
    results: a folder that keeps records with their predictions. Records in it that still answer are not
        computed again; those of an object that has changed are. None: nothing of the scores is kept.
    name: of a spec's encoder in its records; needed for the second of two files of one name
    progress: called with a line when a cell is done, and every ten seconds with what is being done, how
        far it is and how long it still takes; prints on standard error unless None

    Raises BenchError for unknown names, those of something else in `results`, values of a wrong type, and
    objects that cannot encode; a cell that breaks is a record with status "failed".
    """
    if seeds is not None and (isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1):
        raise BenchError(f"seeds={seeds!r}: must be a whole number of 1 or more, or None")
    if progress is not None and not callable(progress):
        raise BenchError(f"progress={progress!r}: must be a function of one line of text, or None")
    if name is not None and not (isinstance(name, str) and isinstance(encoder, (str, os.PathLike))):
        raise BenchError(f"name={name!r}: must be text, and names a spec; an object has its `name`")
    root = data_root(None if data is None else folder_path(data, "data"))
    store = None if results is None else Store(folder_path(results, "results"))
    names = OwnNames(store, root)
    choices: list[Any] = [tasks]
    if isinstance(tasks, Iterable) and not isinstance(tasks, str):
        choices = list(tasks)
    chosen = names.tasks(choices, select(choices, own=names.own.tasks))
    tell = progress if progress is not None else lambda line: None
    with ExitStack() as stack:
        cache: Cache | None = None  # an object has no recipe that would find its weights again
        if isinstance(encoder, (str, os.PathLike)):
            scored: Resolved | Encoder = names.encoder(os.fsdecode(encoder), name)
            cache = Cache(cache_root())
        else:
            stack.enter_context(eval_mode(encoder))
            scored = as_encoder(encoder)
        stack.enter_context(Reporter(tell))
        cells = [Cell(task, scored) for task in chosen]
        names.keep(cells)
        outcome = run_cells(cells, names.datasets, store=store, cache=cache, seeds=seeds, tell=tell)
    predictions = {cell.task.name: arrays for cell, arrays in outcome.predictions.items()}
    by_name = {task.name: task for task in chosen}
    return Results(outcome.records, predictions=store or predictions, tasks=by_name)


def write_features(
    encode: Callable[[Tensor], object],
    datasets: str | Iterable[str],
    folder: str | Path,
    *,
    input: Input,
    data: str | Path | None = None,
    batch: int = 256,
) -> list[Path]:
    """Write NAME.safetensors with the features of each data set (train, val, test) into a folder, for the
    encoder `features,path=FOLDER`: heads are fitted on what a closed model gives.

    encode: float32 images (n, c, h, w) in [0, 1], at most `batch` of them, to numbers (n, d)
    datasets: names or specs
    input: the size and channels that images are converted to
    data: the data root

    Raises BenchError where the numbers have another shape or are not finite, for unknown names, values of
    a wrong type, and a folder that cannot be made.
    """
    if not isinstance(input, Input):
        raise BenchError(
            f"input={input!r}: give bench.Input(size=(height, width), channels=1 or 3)"
        )
    if not isinstance(batch, int) or batch < 1:
        raise BenchError(f"batch={batch!r}: give a whole number of 1 or more")
    place, read = folder_path(folder, "folder"), DataSets(data_root(data))
    specs = [datasets] if isinstance(datasets, str) else list(datasets)
    names = {spec: resolve("datasets", spec).text for spec in specs}  # raises before any is read
    if not specs:
        raise BenchError("datasets is empty: name one or more")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot write {place}: {error.strerror}; name another folder") from error
    return [
        write_file(encode, read(spec), place / f"{name}.safetensors", input, batch)
        for spec, name in names.items()
    ]
