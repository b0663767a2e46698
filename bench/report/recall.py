"""What a board computes from records and their predictions, computed once for as long as these stay the
same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.digests import digest
from bench.errors import BenchError
from bench.report.cached_store import CachedStore
from bench.report.recomputed import Recomputed, source_digest
from bench.results.record import Record
from bench.statistics.intervals import Interval
from bench.tasks.task import Task


class Recall:
    """Gives what `compute` gives, a JSON value that is not None, perhaps from an earlier time; this one
    always computes.

    The value may follow from `what`, from these records, their predictions and tasks, and from nothing
    else; `what` is JSON that says which value of these records it is, with all else that it depends on.
    """

    def __call__(self, what: object, records: Sequence[Record], compute: Callable[[], Any]) -> Any:
        return compute()

    def save(self) -> None:
        """Keep what was computed for later processes."""


def numbers(interval: Interval) -> list[float]:
    """An interval as JSON; `Interval(*...)` of it is the interval again."""
    return [interval.value, interval.low, interval.high]


class KeptRecall(Recall):
    """A `Recall` by digests of the bytes of records and predictions, of tasks and of the source."""

    def __init__(
        self, recomputed: Recomputed, store: CachedStore, tasks: Mapping[str, Task]
    ) -> None:
        self._recomputed, self._store, self._tasks = recomputed, store, tasks
        self._task_digests: dict[str, str] = {}

    def __call__(self, what: object, records: Sequence[Record], compute: Callable[[], Any]) -> Any:
        """Where a file of a record cannot be read, nothing is kept."""
        try:
            digests = [self._store.bytes_digest(record) for record in records]
        except BenchError:
            return compute()
        of_records = [
            [d, self._task_digest(r.task.id)] for d, r in zip(digests, records, strict=True)
        ]
        key = digest([what, source_digest(), of_records])
        return self._recomputed.get(key, compute)

    def save(self) -> None:
        self._recomputed.save()

    def _task_digest(self, name: str) -> str:
        if name not in self._task_digests:
            self._task_digests[name] = digest([name, self._tasks[name].digest])
        return self._task_digests[name]
