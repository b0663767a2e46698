"""Are records what they say? Everything that can be computed again is, from files alone.

A finding is a contradiction (`scoring.verification`); a note is what a reader should know.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.samples import Array
from bench.entries.declaration import entry_findings, identity_findings
from bench.entries.folder import Listing, encoder_folders, is_entry, listing
from bench.entries.looks import ledger_remarks
from bench.entries.remark import Remark
from bench.errors import BenchError, printable
from bench.files.reading import read_bytes
from bench.progress import each
from bench.report.board import reason_unranked
from bench.report.notes import PIXELS, Beside, all_right
from bench.results.own_tasks import own_tasks
from bench.results.record import Record
from bench.results.store import LEDGER, MOST_JSON, TASKS, Store
from bench.scoring.consistency import from_counts
from bench.scoring.verification import findings
from bench.tasks.cell import LOCAL, OURS
from bench.tasks.files import load, names
from bench.tasks.task import Task


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

    beside: the results folder whose records notes compare with (None: that around `path`).

    Raises BenchError for a folder without records, or with more names than are read.
    """
    found = listing(path)
    store, verdict = Store(found.root), Verdict(findings=list(found.findings))
    own = own_tasks(store)
    if found.depth == 2:
        verdict.findings += [
            Remark(f"{TASKS}/{file}", "", why.removeprefix(f"results/{TASKS}/{file}: "))
            for file, why in own.broken.items()
        ]
    tasks = {name: load(name) for name in names()} | own.tasks
    check = _Check(store, tasks, verdict)
    for file in each(found.records, "checking records", len(found.records), "records"):
        check.record(file)
    check.encoders(found)
    check.ledgers(found)
    others = _beside(check.read, Store(beside) if beside else store, found)
    for where, (record, notes) in check.read.items():
        of_others = _notes_beside(record, others)
        verdict.notes += [Remark(where, "", note) for note in (*notes, *of_others)]
    return verdict


class _Check:
    """Fills a verdict. `read`: the ok records whose predictions could be read, each with what is to be
    known of it alone."""

    def __init__(self, store: Store, tasks: Mapping[str, Task], verdict: Verdict) -> None:
        self._store, self._tasks, self._verdict = store, tasks, verdict
        self.read = dict[str, tuple[Record, list[str]]]()

    def record(self, file: Path) -> None:
        where = file.relative_to(self._store.root).as_posix()
        self._verdict.records += 1
        try:
            if is_entry(file.parent):
                self._task(file.stem)  # before anything of it is read
            record = self._store.read(file)
            if record.status != "ok":
                return
            task = self._task(record.task.id)
            arrays = self._store.predictions(record)
            remarks = [Remark(where, *finding) for finding in findings(record, task, arrays)]
        except BenchError as error:
            text = str(error).replace(str(self._store.root), "").lstrip(os.sep)
            self._verdict.findings.append(Remark(where, "", text.removeprefix(f"{where}: ")))
            return
        self._verdict.findings += remarks
        if not remarks:
            self._verdict.consistent[where] = "counts" if from_counts(arrays) else "rows"
        self.read[where] = record, list(_notes(record, arrays))

    def _task(self, name: str) -> Task:
        if name not in self._tasks:
            raise BenchError(
                f"task {name!r:.80} is not of this package, and not in the results folder"
            )
        return self._tasks[name]

    def encoders(self, found: Listing) -> None:
        """What the folder of an encoder says as a whole."""
        records = defaultdict[Path, dict[str, Record]](dict)
        for where, (record, _) in self.read.items():
            file = self._store.root / where
            records[file.parent][file.name] = record
        for folder, files in found.encoders.items():
            where = folder.relative_to(self._store.root).as_posix()
            remarks = list[Remark]()
            if folder.parent.name != LOCAL:
                remarks += identity_findings(where, records[folder])
            if is_entry(folder):
                remarks += entry_findings(folder, files, records[folder], self._tasks)
            self._verdict.findings += remarks
            for remark in remarks:
                self._verdict.consistent.pop(remark.file, None)

    def ledgers(self, found: Listing) -> None:
        """What the ledgers of entries say, and that of a whole results folder."""
        own, entered = list[Record](), defaultdict[Path, list[Record]](list)
        for where, (record, _) in self.read.items():
            folder = (self._store.root / where).parent
            (entered[folder] if is_entry(folder) else own).append(record)
        remarks = [
            ledger_remarks(
                folder / LEDGER,
                (folder / LEDGER).relative_to(self._store.root).as_posix(),
                entered[folder],
                entry_tasks=self._tasks,
            )
            for folder in filter(is_entry, found.encoders)
        ]
        if found.depth == 2:
            remarks.append(ledger_remarks(self._store.root / LEDGER, LEDGER, own))
        for contradictions, notes in remarks:
            self._verdict.findings += contradictions
            self._verdict.notes += notes


# --- What a reader should know


def _notes(record: Record, arrays: Mapping[str, Array]) -> Iterator[str]:
    """Of one record alone."""
    if reason := reason_unranked(record):
        yield f"not ranked: {reason}"
    if from_counts(arrays):
        yield "from counts: its area under the seen-unseen curve is bounded, not computed again"
    if all_right(arrays):
        yield "all test rows are right"


def _beside(checked: Mapping[str, tuple[Record, object]], store: Store, found: Listing) -> Beside:
    """The records that are checked, and where that is a part of a results folder the others on the same
    tasks."""
    records = [record for record, _ in checked.values()]
    if found.depth < 2 or store.root != found.root:
        records = [*_others(store, records, found), *records]
    return Beside(records)


def _notes_beside(record: Record, beside: Beside) -> Iterator[str]:
    if beside.below_pixels(record):
        yield f"below the control {PIXELS}: worse than no encoder at all"
    if first := beside.equal_to(record):
        yield f"its predictions are those of {first}"


def _others(store: Store, records: Collection[Record], found: Listing) -> Iterator[Record]:
    """Of other encoders on the same tasks the ok records of raw pixels, and those that have the
    predictions of one of `records`."""
    checked = {folder.relative_to(found.root) for folder in found.encoders}
    tasks = {record.task.id for record in records}
    digests = {str(r.predictions.digest).encode() for r in records if r.predictions}
    folders = [f for f in encoder_folders(store.root) if f.relative_to(store.root) not in checked]
    for path in (folder / f"{task}.json" for folder in folders for task in sorted(tasks)):
        place = path.parent.relative_to(store.root)
        with suppress(BenchError):
            content = read_bytes(path, most=MOST_JSON, links=False)
            if place == Path(OURS, PIXELS) or any(digest in content for digest in digests):
                record = store.read(path)
                if record.status == "ok":
                    yield record


def summary(verdict: Verdict) -> Iterable[str]:
    """Lines for people, one a remark, with nothing that a terminal would obey: findings first."""
    yield from (printable(f"finding: {finding}") for finding in verdict.findings)
    yield from (printable(f"note: {note}") for note in verdict.notes)
    rows = sum(level == "rows" for level in verdict.consistent.values())
    counts = len(verdict.consistent) - rows
    yield (
        f"{verdict.records} records: {rows} consistent with their predictions, {counts} with counts of "
        f"them, {len(verdict.findings)} findings, {len(verdict.notes)} notes"
    )
