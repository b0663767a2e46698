"""The test images that an encoder's protocol has got wrong, by the names of their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, unknown
from bench.files.paths import folder_path
from bench.results.own_names import recorded_as
from bench.results.own_tasks import own_tasks
from bench.results.predictions import decode, parts_of
from bench.results.record import Record
from bench.results.store import Store
from bench.tasks.cell import OURS

if TYPE_CHECKING:
    import pandas as pd


def wrong_images(results: str | Path, encoder: str, task: str) -> pd.DataFrame:
    """The wrongly classified test images of one encoder (its spec) on a task of a user's own images.

    Columns: replicate (its number), file (relative to the user's folder), truth and predicted (names of
    classes). Replicates with a control are left out. Raises BenchError where there is no such record, or
    where its rows are not files, and for an encoder that has changed since.
    """
    import pandas as pd

    root = folder_path(results, "results")
    if not root.is_dir():
        raise BenchError(f"no folder {str(root)!r}; name a results folder")
    store = Store(root)
    stored = own_tasks(store).by_name
    if task not in stored:
        raise unknown("task of a user's own in the results", task, stored)
    files, (target, classes) = (
        stored[task].files,
        next(iter(stored[task].classes.items()), ("", ())),
    )
    record = _record(store, encoder, task)
    if files is None or record.data.digest != stored[task].data.digest:
        raise BenchError(f"{record.name}: the names of its files are not known; run it again")
    size = (record.predictions and record.predictions.kinds.get(target, ("", 0))[1]) or 0
    if (len(classes), len(files)) != (size, record.data.rows["test"]):
        raise BenchError(
            f"{record.name}: its task has names of other classes or files; run it again"
        )
    arrays, rows = store.predictions(record), list[dict[str, Any]]()
    for number, replicate in enumerate(record.replicates):
        if replicate.coords.control is not None:
            continue
        parts = parts_of(arrays, number, target, "class")
        decoded = decode("classes", parts, parts["truth"])
        wrong = (decoded["class"] != decoded["truth"]) & (decoded["truth"] >= 0)
        for row in wrong.nonzero()[0]:
            truth, predicted = (classes[decoded[key][row]] for key in ("truth", "class"))
            rows.append(
                {"replicate": number, "file": files[row], "truth": truth, "predicted": predicted}
            )
    return pd.DataFrame(rows, columns=["replicate", "file", "truth", "predicted"])


def _record(store: Store, encoder: str, task: str) -> Record:
    """The ok record of an encoder on a task. Raises BenchError where there is none."""
    records = [r for r in store.readable() if r.task.id == task and r.status == "ok"]
    records.sort(key=lambda record: record.owner in (OURS, "local"))  # they replace a stranger's
    scored = {record.encoder.id: record for record in records}
    name, current = recorded_as(encoder, store, scored)
    if current not in (None, scored[name].encoder.digest):
        raise BenchError(f"{encoder} has changed since it was scored; run it again")
    return scored[name]
