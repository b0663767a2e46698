"""Zero-shot rows in full: accuracies of both kinds of class, their spread over splits, the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.board import Board, knows_unseen, name_of, transductive
from bench.report.text import percent_text, table
from bench.results.record import Record
from bench.scoring.class_splits import RECALLS
from bench.scoring.comparison import recall_differences
from bench.tasks.task import Task

__all__ = ["section"]

METRICS = ("zero_shot", "unseen", "seen", "harmonic_mean", "ausuc")
HEAD = [
    "encoder", "splits", "T1", "U", "S", "H", "AUSUC", "T1, signatures shuffled", "coverage", "at an edge",
]  # fmt: skip
GAINS = ("T1 gain", "U gain", "S gain")  # in the order of RECALLS


def section(board: Board) -> list[str]:
    """One table a task: the encoders that have a row, the largest area first."""
    parts: list[str] = []
    for task in board.tasks.values():
        if task.family != "zeroshot":
            continue
        lines: list[tuple[float, list[str]]] = []
        for (owner, encoder), records in board.rows.items():
            if task.name not in records:
                continue
            try:
                area, line = _line(records[task.name], task)
                mark = " (transductive)" if transductive(records[task.name], task) else ""
                mark += " (knows unseen signatures)" if knows_unseen(records[task.name]) else ""
            except Exception as error:  # a stranger's record can lack or hold anything
                board.leave(encoder, f"details of {task.name}", f"{type(error).__name__}: {error}")
                continue
            line += _gains(board, records, task) if task.baseline in board.tasks else []
            lines.append((-area, [name_of(owner, encoder, records) + mark, *line]))
        if lines:
            head = [*HEAD, *(GAINS if task.baseline in board.tasks else ())]
            parts += [
                f"### {task.name}: {task.title}",
                *([] if parts else [_TOLD]),
                table(head, [*(line for _, line in sorted(lines)), _chance(task, len(head))]),
            ]
    return parts


_TOLD = (
    "Per cent, means over class splits and, after the sign, the standard deviation over them. T1: images "
    "of unseen classes among the unseen alone. U and S: images of unseen and of seen classes among all, "
    "at a calibration that seen classes chose; H: their harmonic mean. AUSUC: the area under S as a "
    "function of U over all calibrations. Shuffled: every class has another's signature, which leaves "
    "chance, one over the number of unseen classes. Coverage: how much of what tells the unseen classes "
    "apart the signatures of the seen ones span, as the method prepares them. At an edge: the share of "
    "splits in which a setting that was chosen is the largest or the smallest tried. Splits share "
    "classes: their spread is no interval of a mean. Transductive: trained on images of the unseen "
    "classes too, without their labels. Knows unseen signatures: features of the unseen classes are drawn "
    "from their signatures, and a classifier learns from these. Gains, over "
    "the task that the table above names: paired over splits, with the 95 % interval of leaving each "
    "class out."
)


def _line(record: Record, task: Task) -> tuple[float, list[str]]:
    name = task.primary.target or task.targets[0]
    own = [r for r in record.replicates if r["coords"]["control"] is None]
    control = [r for r in record.replicates if r["coords"]["control"] == "shuffled_signatures"]
    splits = {r["coords"]["split"] for r in own}
    found = {metric: _values(own, name, metric) for metric in METRICS}
    covered = [r["report"].get("coverage") for r in own]
    coverage = [float(value) for value in covered if value is not None]
    line = [
        str(len(splits)),
        *(_spread(values) for values in found.values()),
        _spread(_values(control, name, "zero_shot")) if control else "",
        f"{np.mean(coverage):.2f}" if coverage else "",
        f"{100 * np.mean([bool(r['report'].get('at_edge')) for r in own]):.0f}",
    ]
    return float(np.mean(found["ausuc"])), line


def _chance(task: Task, cells: int) -> list[str]:
    """The line of somebody who guesses: T1 among the unseen classes, and the area."""
    t1 = [1 / len(unseen) for unseen in task.replicates.splits or (task.removed_classes,) if unseen]
    told = {"encoder": "chance"}
    told |= {"AUSUC": f"{100 * task.chance:.1f}"} if task.primary.metric == "ausuc" else {}
    told |= {"T1": f"{100 * np.mean(t1):.1f}"} if t1 else {}
    return [*(told.get(name, "") for name in HEAD), *[""] * (cells - len(HEAD))]


def _gains(board: Board, records: Mapping[str, Record], task: Task) -> list[str]:
    """The differences of a record from that of its encoder on the task's baseline, where there is one."""
    if task.baseline is None or task.baseline not in records:
        return ["" for _ in GAINS]
    record, other = records[task.name], records[task.baseline]
    try:
        found = recall_differences(board.store, record, other, task, board.tasks[task.baseline])
    except (
        Exception
    ) as error:  # not asked the same, or a stranger's record: no gain, and the reason
        what = f"gains in details of {task.name}"
        board.leave(record.encoder["id"], what, f"{type(error).__name__}: {error}")
        return ["" for _ in GAINS]
    return [percent_text(found[metric], "+") for metric in RECALLS]


def _values(replicates: Sequence[Mapping[str, Any]], name: str, metric: str) -> list[float]:
    return [100 * float(r["scores"][name][metric]) for r in replicates]


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"
