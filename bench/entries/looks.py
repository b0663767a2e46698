"""Ledgers of looks at test splits: is each line one, and has each record a line?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.entries.remark import Remark
from bench.errors import BenchError
from bench.results.ledger import Ledger, read_ledger, why_foreign, without_look
from bench.results.record import Record
from bench.tasks.task import Task


def ledger_remarks(
    path: Path,
    where: str,
    records: Sequence[Record],
    *,
    entry_tasks: Mapping[str, Task] | None = None,
) -> tuple[list[Remark], list[Remark]]:
    """Findings and notes of a ledger, which they call `where`; there may be none.

    records: the ok ones of which it should tell. entry_tasks: the tasks that an entry may have, where it
    is an entry's. A record has no time: one without a line was scored before the ledger began, or its
    line was left out, and nothing can tell which; so that is a note.
    """
    entered = entry_tasks is not None
    ledger, findings, notes = Ledger(), list[Remark](), list[Remark]()
    try:
        if entry_tasks is None or not records:
            ledger = read_ledger(path, entered=entered)
        else:
            why_not = partial(why_foreign, records[0], entry_tasks)
            ledger = read_ledger(path, entered=True, why_not=why_not)
    except BenchError as error:
        findings.append(Remark(where, "", str(error).replace(str(path), path.name)))
    findings += [Remark(where, f"line {number}", problem) for number, problem in ledger.problems]
    if further := ledger.faulty - len(ledger.problems):
        findings.append(Remark(where, "", f"{further} further lines are no looks of it"))
    looks = ledger.looks
    if entered and records:  # by then it is another owner's
        looks = [look._replace(owner=records[0].owner) for look in looks]
    if missing := without_look(records, looks):
        message = (
            f"{len(missing)} of {len(records)} records have no line: scored before the ledger began, or "
            "elsewhere; each counts as one look"
        )
        notes.append(Remark(where, "", message))
    return findings, notes
