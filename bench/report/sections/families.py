"""The tables of a family of tasks: encoders by tasks, with ranks, and gains over baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.errors import BenchError
from bench.report.board import Board, knows_unseen, name_of, sort_value, transductive
from bench.report.columns import cells, heads
from bench.report.ranks import task_ranks
from bench.report.text import interval_text, scale_of, table
from bench.results.record import Record
from bench.scoring.comparison import paired
from bench.statistics.intervals import Interval
from bench.tasks.task import Task

__all__ = ["family_tables"]

MOST = 10  # tasks in one table
TITLES = {
    "probe": "Frozen: probes and neighbours",
    "shift": "Frozen, shifted test images",
    "finetune": "Fine-tuned",
    "few_labels": "Few labels",
    "multitask": "Multi-task",
    "zeroshot": "Zero-shot",
    "diagnostics": "What features are like",
}


def family_tables(board: Board, family: str) -> list[str]:
    """One table of a family; of many tasks one of those measured by themselves, and one a data set of
    those measured against them."""
    names = [name for name, task in board.tasks.items() if task.family == family]
    names = [name for name in names if any(name in records for records in board.rows.values())]
    if not names:
        return []
    parts = [f"## {TITLES[family]}"]
    for title, columns in _groups(board, names):
        metrics = sorted({board.tasks[name].primary.metric for name in columns})
        parts += [f"### {title}"] if title else []
        by_class = all(board.tasks[name].primary.interval == "classes" for name in columns)
        on = (
            "on the same class splits, each class left out in turn"
            if by_class
            else "on the same images"
        )
        parts += [
            f"Metric: {', '.join(metrics)}. In round brackets the rank, as far as it is certain: all "
            f"pairs of a column tested {on}, Holm's adjustment, 5 %."
            + _gains_told(board, columns, "class splits" if by_class else "test images"),
            _table(board, columns),
        ]
    return parts


def _groups(board: Board, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The tasks of each table, and its title; no title for the first."""
    others = [name for name in names if _other(board, name)]
    if len(names) <= MOST or not others:
        yield "", list(names)
        return
    first = [name for name in names if name not in others]
    if first:
        yield "", first
    for dataset in dict.fromkeys(board.tasks[name].dataset for name in others):
        mine = [name for name in others if board.tasks[name].dataset == dataset]
        yield f"{dataset}: against a task of the same data", mine


def _other(board: Board, name: str) -> str:
    """The task that the gains of `name` are over, if it is another one."""
    return (board.tasks[name].baseline or "").partition("~0")[0]


def _table(board: Board, names: Sequence[str]) -> str:
    lines = []
    ranks = {name: task_ranks(board, name) for name in names}
    for (owner, encoder), records in board.rows.items():
        mine = [name for name in names if name in records]
        if mine:
            scores = [
                _score(board, records, name, ranks[name].get((owner, encoder), ""))
                for name in names
            ]
            best = max(sort_value(records[name]) for name in mine)
            lines.append(
                (
                    -best,
                    [name_of(owner, encoder, records), *scores, *cells([records[n] for n in mine])],
                )
            )
    head = ["encoder", *names, *heads()]
    return table(head, [line for _, line in sorted(lines)])


def _score(board: Board, records: Mapping[str, Record], name: str, rank: str) -> str:
    if name not in records:
        return ""
    record, task = records[name], board.tasks[name]
    primary = record.primary or {}
    scale = scale_of(primary["metric"])
    text = interval_text(Interval(*(scale * primary[key] for key in ("value", "low", "high"))))
    text += f" ({rank})" if rank else ""
    text += ", transductive" if transductive(record, task) else ""
    text += ", knows unseen signatures" if knows_unseen(record) else ""
    gain = _gain(board, records, record, task)
    return f"{text}; gain {gain}" if gain else text


def _gains_told(board: Board, names: Sequence[str], over: str) -> str:
    """What the gains of these tasks are over, paired `over` these; "" where none has a baseline."""
    told = []
    for name in names:
        other, mark, _ = (board.tasks[name].baseline or "").partition("~0")
        if other or mark:
            what = f"the untrained encoder on `{other or name}`" if mark else f"`{other}`"
            told.append(f"of `{name}` over {what}")
    return f" Gains, paired over {over}: {'; '.join(told)}." if told else ""


def _gain(board: Board, records: Mapping[str, Record], record: Record, task: Task) -> str:
    """The primary minus the baseline's, paired; "" where the task has none."""
    if task.baseline is None:
        return ""
    name, mark, _ = task.baseline.partition("~0")
    name = name or record.task["id"]
    other = _untrained(board, record, name) if mark else records.get(name)
    other_task = board.tasks.get(name, task)
    if other is None or other is record:
        return ""
    try:
        difference, _ = paired(board.store, record, other, task, other_task)
    except BenchError as error:  # not asked the same: no gain, and the reason
        board.leave(record.encoder["id"], f"gain on {task.name}", str(error))
        return ""
    return interval_text(
        Interval(*(100 * getattr(difference, k) for k in ("value", "low", "high"))), "+"
    )


def _untrained(board: Board, record: Record, task: str) -> Record | None:
    """The same encoder at ~0 on `task`; where it has no record, one whose untrained trunk is the same
    (`encoder.start`)."""
    same = record.encoder["id"].partition("~")[0] + "~0"
    starts = [
        (encoder != same, encoder, records[task])
        for (owner, encoder), records in board.rows.items()
        if owner == record.owner and encoder.endswith("~0") and task in records
    ]
    for apart, _, other in sorted(starts, key=lambda each: each[:2]):
        start = other.encoder.get("start")
        if not apart or (start is not None and start == record.encoder.get("start")):
            return other
    return None
