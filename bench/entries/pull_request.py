"""What an entry would be among the rows of a results folder, and what to say of it in a pull request."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.entries.assembly import Place
from bench.entries.entry import Entry
from bench.errors import BenchError
from bench.progress import progress
from bench.report.board import Board, collect
from bench.report.cached_store import CachedStore
from bench.report.ranks import overall_ranks, range_text, task_ranks
from bench.report.sections.overall import complete_rows, mean_score
from bench.report.text import escaped, interval_text, table
from bench.results.own_tasks import available_tasks
from bench.results.record import Record
from bench.statistics.intervals import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A row of an entry beside the others: its score, the range of its rank, of how many; or why it has
    none."""

    task: str
    metric: str
    value: float
    low: float
    high: float
    rank: str = ""
    ranked: int = 0
    reason: str = ""

    @property
    def score_text(self) -> str:
        percent = self.metric != "overall" and 0 <= self.value <= 1
        digits, scale = (2, 100) if percent or self.metric == "overall" else (4, 1)
        scale = 1 if self.metric == "overall" else scale
        return interval_text(Interval(self.value, self.low, self.high), digits=digits, scale=scale)

    @property
    def rank_text(self) -> str:
        return f"{self.rank} of {self.ranked}" if self.rank else self.reason


class _StoreOfTasks(CachedStore):
    """A results folder as far as it is of these tasks: others take as long again."""

    def __init__(self, root: Path, tasks: Collection[str]) -> None:
        super().__init__(root)
        self._tasks = tasks

    def records(self) -> Iterator[Record | BenchError]:
        for path in self.paths():
            if path.stem in self._tasks:
                try:
                    yield self.read(path)
                except BenchError as error:
                    yield error


@dataclass(slots=True)
class Standings:
    """Of an entry: overall, where it is complete, and by task."""

    overall: Standing | None = None
    tasks: list[Standing] = field(default_factory=list)
    incomplete: str = ""  # why there is no overall rank

    @property
    def rows(self) -> list[Standing]:
        return [*([self.overall] if self.overall else []), *self.tasks]


def standings(place: Place, overall: Sequence[str]) -> Standings:
    """Where the entry's rows stand among all of its results folder; `overall`: the tasks of that rank."""
    present = {record.task.id for record in place.records()}
    store = _StoreOfTasks(place.store.root, present | set(overall))
    with progress("comparing with the rows of the results folder"):
        board = collect(store, available_tasks(store), overall=overall)
        row = (place.owner, place.encoder)
        records = board.rows.get(row, {})
        found = Standings()
        if overall:
            found.overall, found.incomplete = _overall(board, row, records)
        for name, record in sorted(records.items()):
            ranks = task_ranks(board, name)
            reason = board.reason_unranked(record) or "the only row"
            found.tasks.append(
                Standing(
                    task=name,
                    metric=record.score.metric,
                    value=record.score.value,
                    low=record.score.low,
                    high=record.score.high,
                    rank=range_text(*ranks[row]) if row in ranks else "",
                    ranked=len(ranks),
                    reason="" if row in ranks else reason,
                )
            )
    return found


def _overall(
    board: Board, key: tuple[str, str], records: Mapping[str, Record]
) -> tuple[Standing | None, str]:
    """The overall rank, or why there is none."""
    if missing := [name for name in board.overall if name not in records]:
        return None, f"no row on {', '.join(missing)}"
    complete = complete_rows(board)
    keys = [row for row, _ in complete]
    if key not in keys:
        reasons = (board.reason_unranked(records[name]) for name in board.overall)
        return None, next(filter(None, reasons), "")
    ranks, _ = overall_ranks(board, complete)
    number = keys.index(key)
    mean = mean_score(board, complete[number][1])
    return Standing(
        task="overall",
        metric="overall",
        value=mean.value,
        low=mean.low,
        high=mean.high,
        rank=range_text(*ranks[number]),
        ranked=len(complete),
    ), ""


def title(place: Place) -> str:
    return f"Entry: {place.owner}/{place.encoder}"


def steps(place: Place) -> list[str]:
    """The commands that come next, for a shell."""
    folder = shlex.quote(str(place.folder.parent))
    return [
        f"git switch -c entry-{place.owner}",
        f"git add {folder}",
        f"git commit -m {shlex.quote(title(place))}",
    ]


def text(place: Place, entry: Entry, found: Standings) -> str:
    """The pull request in Markdown: what is entered, its scores and ranks."""
    rows = [
        [row.task, row.metric, row.score_text, row.rank_text or "not ranked"] for row in found.rows
    ]
    parts = [
        f"Title: {title(place)}",
        table(["task", "metric", "score [95 % interval]", "rank"], rows),
    ]
    if found.incomplete:
        parts.append(f"No overall rank: {found.incomplete}.")
    facts = {
        "title": entry.title,
        "authors": ", ".join(entry.authors),
        "contact": entry.contact,
        "licence": entry.licence,
        "paper": entry.paper or "",
        "code": entry.code or "",
        "trained with labels of": ", ".join(entry.trained_with_labels) or "nothing",
        "trained without labels on": ", ".join(entry.trained_without_labels) or "nothing",
        "hardware": entry.hardware,
        **{
            f"weights {part.name}": f"{part.bytes} bytes, SHA-256 {part.sha256}, "
            + ("in the entry" if part.url is None else part.url or "(no address yet)")
            for part in entry.weights
        },
    }
    parts.append("\n".join(f"- {key}: {escaped(value)}" for key, value in facts.items() if value))
    return "\n\n".join(parts) + "\n"
