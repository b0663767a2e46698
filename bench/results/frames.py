"""Records with their predictions in memory, and as data frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from bench.errors import BenchError
from bench.files.paths import folder_path
from bench.results.record import Record
from bench.results.store import Store
from bench.tasks.task import Coords, Task

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]


class Predictions(Protocol):
    """A source of stored predictions."""

    def predictions(self, record: Record) -> dict[str, Array]: ...


class Results:
    """Records in memory, their predictions, and as data frames.

    predictions: the store that has them, or arrays by the name of the record's task, where the records
    are of one encoder; None: there are none. tasks: definitions by name of those that were run.
    """

    def __init__(
        self,
        records: list[Record],
        *,
        predictions: Store | Mapping[str, Mapping[str, Array]] | None = None,
        tasks: Mapping[str, Task] | None = None,
    ) -> None:
        self.records, self._predictions, self.tasks = records, predictions, dict(tasks or {})

    def predictions(self, record: Record) -> dict[str, Array]:
        """What is kept of the predictions of one of the records. Raises BenchError where nothing is."""
        if isinstance(self._predictions, Store):
            return self._predictions.predictions(record)
        if self._predictions is None or not self._predictions.get(record.task.id):
            raise BenchError(f"{record.name} has no predictions")
        return dict(self._predictions[record.task.id])

    def __len__(self) -> int:
        return len(self.records)

    def frame(self, *, long: bool = False) -> pd.DataFrame:
        """One row a record, or with `long` one row a replicate, target and metric.

        Columns: owner, encoder, task, protocol, family, status, supervision, metric, score, low,
        high, n_test, replicates, seconds; long: the replicate's coordinates, target, metric, score.
        """
        import pandas as pd

        rows = [row for r in self.records for row in (_long(r) if long else [_row(r)])]
        return pd.DataFrame(rows, columns=_LONG if long else _WIDE)

    def __repr__(self) -> str:
        return f"Results({len(self.records)} records)"


_HEAD = ["owner", "encoder", "task"]
_WIDE = [*_HEAD, "protocol", "family", "status", "supervision", "metric", "score", "low", "high"]
_WIDE += ["n_test", "replicates", "seconds"]
_LONG = [*_HEAD, *(f.name for f in fields(Coords)), "target", "metric", "score"]


def _row(record: Record) -> dict[str, Any]:
    primary = record.primary
    return {
        "owner": record.owner,
        "encoder": record.encoder.id,
        "task": record.task.id,
        "protocol": record.protocol.id,
        "family": record.task.family,
        "status": record.status,
        "supervision": record.supervision,
        "metric": primary and primary.metric,
        "score": primary and primary.value,
        "low": primary and primary.low,
        "high": primary and primary.high,
        "n_test": record.data.rows.get("test"),
        "replicates": len(record.replicates),
        "seconds": record.seconds.get("total"),
    }


def _long(record: Record) -> Iterator[dict[str, Any]]:
    head = {"owner": record.owner, "encoder": record.encoder.id, "task": record.task.id}
    for replicate in record.replicates:
        for target, metrics in replicate.scores.items():
            for metric, value in metrics.items():
                yield {
                    **head,
                    **asdict(replicate.coords),
                    "target": target,
                    "metric": metric,
                    "score": value,
                }


def load_results(path: str | Path) -> Results:
    """All records of a results folder but broken ones, which are named in the log. Raises BenchError where
    there is no such folder."""
    root = folder_path(path, "path")
    if not root.is_dir():
        raise BenchError(f"no folder {str(root)!r}; name a results folder")
    store = Store(root)
    return Results(store.readable(), predictions=store)
