"""The scores of a board as plain rows, which every export writes in its own form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from bench.errors import BenchError, printable, unknown
from bench.naming.specs import resolve
from bench.report.board import Board, is_control
from bench.report.names import short_name
from bench.report.ranks import Row, task_ranks
from bench.report.sections.left_out import by_reason
from bench.results.record import Record
from bench.statistics.metrics import METRICS
from bench.tasks.cell import OURS
from bench.tasks.families import FAMILIES

UNREADABLE = "unreadable "  # how the board calls files that it cannot tell the encoder of
FROM_COUNTS = "its score is from counts alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """A record that counts. All texts are on one line, without what a terminal would obey.

    value, low, high: the primary score with its 95 % interval, in the metric's own unit (shares of 1, not
    per cent). interval: what it is over beside seeds, test "rows" or "classes". n_test: test rows.
    seeds: trainings of the encoder; replicates: runs of the cell, controls not counted. first_rank,
    last_rank: the range of the rank among the ranked scores of the task; None: `unranked` says why, or
    nobody is ranked. compared: ranked scores that were tested against each other, this one too; 0: it has
    no rank. seconds: run time of the cell. digest: of the record.
    """

    owner: str
    encoder: str
    short_name: str
    group: str
    control: bool
    task: str
    title: str
    family: str
    dataset: str
    protocol: str
    metric: str
    higher_is_better: bool
    chance: float
    value: float
    low: float
    high: float
    interval: str
    n_test: int
    seeds: int
    replicates: int
    first_rank: int | None
    last_rank: int | None
    compared: int
    unranked: str
    trust: str
    labels_seen: str
    seconds: float | None
    parameters: int | None
    features: int | None
    digest: str


COLUMNS = tuple(field.name for field in fields(ScoreRow))


def as_dict(row: ScoreRow) -> dict[str, Any]:
    """Column -> value, in the order of COLUMNS."""
    return {name: getattr(row, name) for name in COLUMNS}


def chosen_tasks(board: Board, globs: Sequence[str], families: Sequence[str]) -> list[str]:
    """Names of the tasks with a score that match one of `globs` (none: all) and are of one of `families`
    (none: all), in the board's order. Raises BenchError for what matches nothing."""
    scored = [name for name in board.tasks if any(name in r for r in board.rows.values())]
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in scored):
            raise unknown("task with a score", glob, scored)
    for family in families:
        if family not in FAMILIES:
            raise unknown("family of tasks", family, FAMILIES)
    return [
        name
        for name in scored
        if (not globs or any(fnmatchcase(name, glob) for glob in globs))
        and (not families or board.tasks[name].family in families)
    ]


def chosen_encoders(board: Board, specs: Sequence[str]) -> list[Row]:
    """Owner and spec of the encoders with a score that one of `specs` names (none: all): a spec, also with
    its defaults, a pattern, or either after "owner/". Raises BenchError for what names none."""
    rows, chosen = sorted(board.rows), set[Row]()
    for text in specs:
        patterns = {text, _canonical(text)}
        found = {
            (owner, spec)
            for owner, spec in rows
            for pattern in patterns
            if fnmatchcase(spec, pattern) or fnmatchcase(f"{owner}/{spec}", pattern)
        }
        if not found:
            names = [spec if owner == OURS else f"{owner}/{spec}" for owner, spec in rows]
            raise unknown("encoder with a score", text, names)
        chosen |= found
    return [row for row in rows if row in chosen] if specs else rows


def _canonical(text: str) -> str:
    """A spec without its defaults; the text where it is none."""
    try:
        return resolve("encoders", text).text
    except BenchError:
        return text


def score_rows(board: Board, tasks: Sequence[str], encoders: Sequence[Row]) -> list[ScoreRow]:
    """A row for each record of `encoders` on `tasks`, by task in their order, then by encoder."""
    return [line for task in tasks for line in _task_rows(board, task, encoders)]


def _task_rows(board: Board, task: str, encoders: Sequence[Row]) -> Iterator[ScoreRow]:
    ranked = [board.rows[row][task] for row in task_ranks(board, task)]
    # Scores from counts alone are ranked among themselves, but where nobody has more.
    apart = not board.tasks[task].keeps_counts
    groups = Counter(apart and board.is_from_counts(record) for record in ranked)
    for row in encoders:
        if record := board.rows[row].get(task):
            group = apart and board.is_from_counts(record)
            yield _score_row(board, row, record, groups[group])


def _score_row(board: Board, row: Row, record: Record, group_size: int) -> ScoreRow:
    owner, encoder = row
    task, score = board.tasks[record.task.id], record.score
    ranks = task_ranks(board, task.name).get(row)
    reason = board.reason_unranked(record)
    if not reason and not ranks and board.is_from_counts(record):
        reason = FROM_COUNTS
    runs = [replicate for replicate in record.replicates if replicate.coords.control is None]
    return plain(
        ScoreRow(
            owner=owner,
            encoder=encoder,
            short_name=short_name(encoder, owner),
            group=record.encoder.group,
            control=is_control(record),
            task=task.name,
            title=task.title,
            family=task.family,
            dataset=task.dataset,
            protocol=record.protocol.id,
            metric=score.metric,
            higher_is_better=METRICS[score.metric].higher_is_better,
            chance=task.chance,
            value=score.value,
            low=score.low,
            high=score.high,
            interval=task.primary.interval,
            n_test=record.data.rows["test"],
            seeds=len({replicate.coords.encoder_seed for replicate in runs}),
            replicates=len(runs),
            first_rank=ranks[0] if ranks else None,
            last_rank=ranks[1] if ranks else None,
            compared=group_size if ranks else 0,
            unranked=reason,
            trust=board.level(record),
            labels_seen=str(record.supervision),
            seconds=record.seconds.get("total"),
            parameters=record.encoder.parameters,
            features=record.encoder.dim,
            digest=board.recall("digest", [record], lambda: record.digest),
        )
    )


def plain(row: ScoreRow) -> ScoreRow:
    """The row with each text on one line, and spaces for what a terminal or a reader would obey."""
    texts: dict[str, Any] = {
        name: printable(text) for name, text in as_dict(row).items() if isinstance(text, str)
    }
    return replace(row, **texts)


def left_out_of(
    board: Board, tasks: Collection[str] | None, encoders: Collection[Row] | None
) -> list[list[str]]:
    """Encoders, where and reason of what does not count, or has no rank, a line for each reason: of these
    tasks and encoders (None: of all), and files that cannot be read."""
    specs = None if encoders is None else {spec for _, spec in encoders}
    kept = [
        (encoder, where, reason)
        for encoder, where, reason in board.left_out
        if encoder.startswith(UNREADABLE)
        or ((specs is None or encoder in specs) and (tasks is None or where in tasks))
    ]
    return [[printable(cell) for cell in line] for line in by_reason(kept)]
