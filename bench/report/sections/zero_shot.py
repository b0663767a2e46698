"""Zero-shot scores in full: accuracies on seen and unseen classes, spread over splits, the control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bench.errors import BenchError
from bench.report.board import Board, Line, transductive, uses_unseen_signatures
from bench.report.recall import numbers
from bench.report.text import escaped, interval_text, percent_text, scaled, sorted_table
from bench.results.record import Record, Replicate
from bench.scoring.class_splits import RECALLS, recall_intervals
from bench.scoring.comparison import recall_differences
from bench.scoring.scorer import targets_of
from bench.statistics.intervals import Interval
from bench.tasks.task import Task

METRICS = ("zero_shot", "unseen", "seen", "harmonic_mean", "ausuc")
HEAD = [
    "encoder", "splits", "T1", "U", "S", "H", "AUSUC", "T1, signatures shuffled", "coverage", "at an edge",
]  # fmt: skip
GAINS = ("T1 gain", "U gain", "S gain")  # in the order of RECALLS


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """A table for each task, the encoder with the largest area first."""
    parts: list[str] = []
    for task in tasks.values():
        if lines := board.lines(task, partial(_line, board)):
            head = [*HEAD, *(GAINS if task.baseline in board.tasks else ())]
            scores = sorted_table(head, [*lines, _chance(task)])
            parts += [
                f"### {escaped(f'{task.name}: {task.title}')}",
                *([] if parts else [_NOTE]),
                scores,
            ]
    return parts


_NOTE = (
    "Per cent: means over class splits, with 95 % intervals from leaving out each class in turn. T1: "
    "images of unseen classes, classified among unseen classes alone. U and S: images of unseen and of "
    "seen classes, classified among all, at a calibration chosen on seen classes; H: their harmonic "
    "mean. AUSUC: the area under S as a function of U over all calibrations. Signatures shuffled: each "
    "class has another's signature, which leaves chance, 1 / number of unseen classes; ± is the "
    "standard deviation over splits and shuffles, which is no interval. Coverage, 0 to 1: of the "
    "difference between two unseen signatures, as the method prepares them, the share of the squared "
    "length that lies in the span of the seen ones; mean over pairs and splits. At an edge: per cent of "
    "fits in which a chosen setting is the largest or the smallest tried. Transductive: trained on "
    "images of the unseen classes too, without their labels. Trained with unseen signatures: a "
    "classifier learns from features that are drawn from them. Gains over the task's baseline, named "
    "above: paired over splits, with the 95 % interval of leaving out each class in turn. Records of "
    "tasks with a baseline keep counts by class in place of predictions: from these T1, U, S and H can "
    "be computed again, and AUSUC cannot."
)


def _line(board: Board, task: Task, name: str, records: Mapping[str, Record]) -> Line:
    record = records[task.name]
    target = task.primary.target or task.targets[0]
    plain = [r for r in record.replicates if r.coords.control is None]
    control = [r for r in record.replicates if r.coords.control == "shuffled_signatures"]
    splits = {r.coords.split for r in plain}
    if not plain:
        raise BenchError("every replicate is a control")
    intervals, score = _recall_intervals(board, task, record), record.score
    intervals["ausuc"] = Interval(score.value, score.low, score.high)
    means = {metric: float(np.mean(_values(plain, target, metric))) for metric in METRICS}
    reported = [r.report.get("coverage") for r in plain]
    coverage = [value for value in reported if isinstance(value, float)]
    name += " (transductive)" if transductive(record, task) else ""
    name += " (trained with unseen signatures)" if uses_unseen_signatures(record) else ""
    line = [
        name,
        str(len(splits)),
        *(
            interval_text(replace(scaled(intervals[m], 100), value=means[m]), digits=1)
            for m in METRICS
        ),
        _spread(_values(control, target, "zero_shot")) if control else "",
        f"{np.mean(coverage):.2f}" if coverage else "",
        f"{100 * np.mean([bool(r.report.get('at_edge')) for r in plain]):.0f}",
    ]
    line += _gains(board, records, task) if task.baseline in board.tasks else []
    return -means["ausuc"], line


def _chance(task: Task) -> Line:
    """The last line, of random guessing: T1 among the unseen classes, and the area."""
    t1 = [1 / len(unseen) for unseen in task.replicates.splits or (task.removed_classes,) if unseen]
    chance = {"encoder": "chance"}
    chance |= {"AUSUC": f"{100 * task.chance:.1f}"} if task.primary.metric == "ausuc" else {}
    chance |= {"T1": f"{100 * np.mean(t1):.1f}"} if t1 else {}
    return math.inf, [chance.get(name, "") for name in HEAD]


def _gains(board: Board, records: Mapping[str, Record], task: Task) -> list[str]:
    """The differences from the same encoder's record on the task's baseline; empty without one."""
    if task.baseline is None or task.baseline not in records:
        return ["" for _ in GAINS]
    record, baseline = records[task.name], records[task.baseline]
    try:
        differences = _recall_differences(board, record, baseline)
    except BenchError as error:  # the two cannot be compared
        board.leave_out(record.encoder.id, f"gains in details of {task.name}", str(error))
        return ["" for _ in GAINS]
    return [percent_text(differences[metric], "+") for metric in RECALLS]


def _recall_intervals(board: Board, task: Task, record: Record) -> dict[str, Interval]:
    def compute() -> dict[str, list[float]]:
        arrays = board.store.predictions(record)
        found = recall_intervals(task, targets_of(record), record.replicates, arrays)
        return {metric: numbers(interval) for metric, interval in found.items()}

    found = board.recall("intervals over classes", [record], compute)
    return {metric: Interval(*interval) for metric, interval in found.items()}


def _recall_differences(board: Board, a: Record, b: Record) -> dict[str, Interval]:
    def compute() -> dict[str, list[float]]:
        tasks = board.tasks[a.task.id], board.tasks[b.task.id]
        found = recall_differences(board.store, a, b, *tasks)
        return {metric: numbers(interval) for metric, interval in found.items()}

    found = board.recall("differences over classes", [a, b], compute)
    return {metric: Interval(*interval) for metric, interval in found.items()}


def _values(replicates: Sequence[Replicate], target: str, metric: str) -> list[float]:
    return [100 * replicate.score(metric, target) for replicate in replicates]


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"
