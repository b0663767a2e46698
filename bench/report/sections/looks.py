"""How often the test splits were looked at, from the ledgers of looks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial

from bench.errors import BenchError
from bench.report.board import Board
from bench.report.text import table
from bench.results.ledger import Look, read_ledger, united, why_foreign, without_look
from bench.results.record import Record
from bench.results.store import LEDGER
from bench.tasks.cell import LOCAL, OURS

MOST = 10  # encoders on tasks that are named


def section(board: Board) -> list[str]:
    """Looks by data set and family of encoders, and who has had the most at one task."""
    own, entries = _own(board), _entries(board)
    by_owner = [*own, *(x._replace(owner=r.owner) for r, looks in entries for x in looks)]
    missing = without_look(board.scored, by_owner)
    # The same look may be in an entry and in the ledger of the runs that it was made from.
    looks = [Look.now(r, len(r.replicates)) for r in missing]
    looks += united([own, *(looks for _, looks in entries)])
    if not looks:
        return []
    counts, encoders = Counter[tuple[str, str]](), defaultdict[tuple[str, str], set[str]](set)
    for look in looks:
        counts[look.data, look.group] += 1
        encoders[look.data, look.group].add(f"{look.encoder} {look.encoder_digest}")
    groups = sorted({group for _, group in counts})
    lines = [
        [data, *(_cell(counts[data, g], len(encoders[data, g])) for g in groups)]
        for data in sorted({data for data, _ in counts})
    ]
    text = (
        "How often the predictions of encoders on the test split were scored, by the family of the "
        "encoder; in parentheses how many encoders that were, each setting and revision by itself. One "
        "look is one scoring of all replicates on one task, also where it failed, was stopped, or its "
        "record was replaced or removed."
    )
    by_owner += [Look.now(r, len(r.replicates)) for r in missing]
    return [
        "## Looks at the test splits",
        text,
        table(["data set", *groups], lines),
        *_missing(missing, board.scored),
        *_most(by_owner),
    ]


def _cell(looks: int, encoders: int) -> str:
    return f"{looks} ({encoders})" if looks else ""


def _missing(missing: Sequence[Record], scored: Sequence[Record]) -> list[str]:
    if not missing:
        return ["Each record has its line in the ledger."] if scored else []
    return [
        f"{len(missing)} of {len(scored)} records have no line in the ledger, as they were scored before "
        "it began, and count as one look each."
    ]


def _most(looks: Sequence[Look]) -> list[str]:
    """The encoders that have looked more than once at one task."""
    counts = Counter((look.owner, look.encoder, look.task) for look in looks)
    often = sorted((-n, *cell) for cell, n in counts.items() if n > 1)
    if not often:
        return ["No second look of an encoder at one task is known."]
    lines = [
        [encoder if owner == OURS else f"{owner}/{encoder}", task, str(-n)]
        for n, owner, encoder, task in often[:MOST]
    ]
    more = [f"And {len(often) - MOST} more."] if len(often) > MOST else []
    text = "More than one look of an encoder at a task:"
    return [text, table(["encoder", "task", "looks"], lines), *more]


def _own(board: Board) -> list[Look]:
    """The looks in the results folder's own ledger; what cannot be read is left out by name."""
    try:
        ledger = read_ledger(board.store.root / LEDGER)
    except BenchError as error:
        board.leave_out("unreadable ledger", LEDGER, str(error))
        return []
    if ledger.problems:
        number, problem = ledger.problems[0]
        reason = f"{ledger.faulty} lines are no looks, the first is line {number}: {problem}"
        board.leave_out("unreadable looks", LEDGER, reason)
    return ledger.looks


def _entries(board: Board) -> list[tuple[Record, list[Look]]]:
    """A record of each entry, and the looks that its ledger tells of."""
    records = {(r.owner, r.encoder.id): r for r in board.scored if r.owner not in (OURS, LOCAL)}
    entries = list[tuple[Record, list[Look]]]()
    for (owner, encoder), record in records.items():
        path = board.store.path(owner, encoder, record.task.id).parent / LEDGER
        try:
            why_not = partial(why_foreign, record, board.tasks)
            ledger = read_ledger(path, entered=True, why_not=why_not)
        except BenchError as error:
            board.leave_out(f"{owner}/{encoder}", LEDGER, str(error))
            continue
        if ledger.problems:
            number, problem = ledger.problems[0]
            board.leave_out(f"{owner}/{encoder}", LEDGER, f"line {number}: {problem}")
        entries.append((record, ledger.looks))
    return entries
