"""Are records what they say? Everything that can be computed again is, from files alone.

A finding is a contradiction (`scoring.verification`); a note is what a reader should know.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.data.samples import Array
from bench.digests import arrays_digest
from bench.errors import BenchError
from bench.progress import each
from bench.report.board import display_name, is_control, reason_unranked, sort_value
from bench.results.own_tasks import available_tasks
from bench.results.record import Record
from bench.results.store import Store, is_reserved
from bench.scoring.consistency import from_counts
from bench.scoring.verification import findings
from bench.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Remark:
    """What is said of one place in a file: `field` is empty for the file as a whole."""

    file: str
    field: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.field, self.message) if part)


@dataclass(slots=True)
class Verdict:
    """Of a folder: how many records were read, what contradicts itself, what should be known, and which
    records (by their file) are consistent: "rows", or "counts" where counts alone are stored."""

    records: int = 0
    findings: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    consistent: dict[str, str] = field(default_factory=dict)


def verify(path: Path, *, beside: Path | None = None) -> Verdict:
    """Check a results folder, the folder of an owner in it, or that of an encoder.

    beside: another results folder; notes compare with its records too.

    Raises BenchError for a folder without records.
    """
    store, paths = _records_below(path)
    verdict, tasks = Verdict(), available_tasks(store)
    rows = _Rows(store, None if beside is None else Store(beside), {file.stem for file in paths})
    for file in each(paths, "checking records", len(paths), "records"):
        where = file.relative_to(store.root).as_posix()
        verdict.records += 1
        try:
            record = store.read(file)
            if record.status != "ok":
                continue
            task = _task(record, tasks)
            arrays = store.predictions(record)
            remarks = [Remark(where, *finding) for finding in findings(record, task, arrays)]
        except BenchError as error:
            text = str(error).replace(str(store.root), "").lstrip(os.sep)
            verdict.findings.append(Remark(where, "", text.removeprefix(f"{where}: ")))
            continue
        verdict.findings += remarks
        if not remarks:
            verdict.consistent[where] = "counts" if from_counts(arrays) else "rows"
        verdict.notes += [Remark(where, "", note) for note in rows.notes(record, arrays)]
    return verdict


def _records_below(path: Path) -> tuple[Store, list[Path]]:
    """The results folder, and the records in `path`: such a folder, an owner's, an encoder's."""
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        raise BenchError(
            f"no folder {str(path)!r}; name a results folder, or an owner's or encoder's in it"
        )
    for pattern, root in (
        ("*/*/*.json", path),
        ("*/*.json", path.parent),
        ("*.json", path.parent.parent),
    ):
        files = [file for file in sorted(path.glob(pattern)) if not file.name.startswith(".")]
        owners = [file.relative_to(root).parts[0] for file in files]
        if files and not all(is_reserved(owner) for owner in owners):
            store = Store(root)
            return store, [file for file in store.paths() if file.is_relative_to(path)]
    raise BenchError(f"{str(path)!r} has no records; they lie in OWNER/ENCODER/TASK.json")


def _task(record: Record, tasks: Mapping[str, Task]) -> Task:
    if record.task.id not in tasks:
        raise BenchError(
            f"task {record.task.id!r:.80} is not of this package, and not in the results folder"
        )
    return tasks[record.task.id]


# --- What a reader should know


class _Rows:
    """The records of results folders by task, for what can be said of one beside the others."""

    def __init__(self, store: Store, beside: Store | None, tasks: Collection[str]) -> None:
        self._controls: dict[str, list[Record]] = {}
        self._seen: dict[tuple[str, bytes], str] = {}
        self._beside, self._neighbours = (
            beside or store,
            list[Record](),
        )  # of `beside`, on these tasks
        for record in store.records():
            if isinstance(record, Record):
                self._add(record)
        owned = {path.parent.relative_to(store.root) for path in store.paths()}
        for path in self._beside.paths() if beside is not None else ():
            # An entry that is checked out too is no copy of itself.
            if path.stem in tasks and path.parent.relative_to(self._beside.root) not in owned:
                with suppress(BenchError):
                    self._neighbours.append(self._beside.read(path))
                    self._add(self._neighbours[-1])

    def _add(self, record: Record) -> None:
        if record.status == "ok" and is_control(record):
            self._controls.setdefault(record.task.id, []).append(record)

    def _copied(self, record: Record, content: bytes) -> str:
        """The encoder in the folder beside that has these predictions; "" where there is none."""
        for neighbour in self._neighbours:
            if neighbour.task.id != record.task.id or neighbour.status != "ok":
                continue
            # Of equal predictions the scores are equal but for rounding; only such files are read.
            if abs(neighbour.score.value - record.score.value) < 0.01:
                with suppress(BenchError):
                    if _content(self._beside.predictions(neighbour)) == content:
                        return f"{neighbour.owner}/{neighbour.encoder.id}"
        return ""

    def notes(self, record: Record, arrays: Mapping[str, Array]) -> Iterator[str]:
        name = f"{record.owner}/{record.encoder.id}"
        if reason := reason_unranked(record):
            yield f"not ranked: {reason}"
        if from_counts(arrays):
            yield "from counts: its area under the seen-unseen curve is bounded, not computed again"
        if not is_control(record):
            better = [
                c
                for c in self._controls.get(record.task.id, ())
                if sort_value(c) > sort_value(record)
            ]
            if better:
                control = max(better, key=sort_value)
                yield f"below the control {display_name(control.owner, control.encoder.id, {'': control})}"
        content = _content(arrays)
        copied = self._copied(record, content) if self._neighbours else ""
        first = self._seen.setdefault((record.task.id, content), copied or name)
        if first != name:
            yield f"its predictions are those of {first}"
        if _all_right(arrays):
            yield "all test rows are right"


def _content(arrays: Mapping[str, Array]) -> bytes:
    return arrays_digest({k: v for k, v in arrays.items() if not k.startswith("truth/")}).encode()


def _all_right(arrays: Mapping[str, Array]) -> bool:
    pairs = [
        (array, arrays[f"truth/{name.split('/')[1]}"])
        for name, array in arrays.items()
        if name.endswith("/class")
    ]
    return bool(pairs) and all(np.array_equal(array, truth) for array, truth in pairs)


def summary(verdict: Verdict) -> Iterable[str]:
    """Lines for people: findings first."""
    yield from (f"finding: {finding}" for finding in verdict.findings)
    yield from (f"note: {note}" for note in verdict.notes)
    rows = sum(level == "rows" for level in verdict.consistent.values())
    counts = len(verdict.consistent) - rows
    yield (
        f"{verdict.records} records: {rows} consistent with their predictions, {counts} with counts of "
        f"them, {len(verdict.findings)} findings, {len(verdict.notes)} notes"
    )
