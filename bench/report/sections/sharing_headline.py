"""Hard sharing (one tower for all tasks) and the best soft arm, against a separate tower for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bench.errors import BenchError
from bench.report.board import Board, Line
from bench.report.ranks import Row
from bench.report.sections.families import paired_difference
from bench.report.sections.sharing import CONTROL, seed_scores
from bench.report.text import escaped, interval_text, scaled, sorted_table
from bench.results.record import Record
from bench.statistics.intervals import Interval, student_interval
from bench.tasks.task import Task

SOFT = ("soft_sharing", "cross_stitch", "gated_experts")  # protocols with soft sharing
_NOTE = (
    "Mean over tasks in points of accuracy, paired over test images and seeds. Hard: one tower with as "
    "many parameters as the separate towers of its baseline. Soft: the arm whose best trial has the "
    "highest mean accuracy on validation. True minus shuffled: the gain of the first task from true "
    "labels of the other tasks over shuffled ones, over equal seeds. Transfer needs both differences "
    "above 0."
)


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """A table for each hard arm with a baseline, the encoder with the largest gain first."""
    parts: list[str] = []
    arms = [task for task in tasks.values() if _is_soft(task)]
    for hard in tasks.values():
        if not _has_headline(board, hard):
            continue
        if lines := board.lines(hard, partial(_line, board, arms)):
            beyond = f"{hard.targets[0]}: true minus shuffled"
            head = ["encoder", "separate towers", "hard minus separate", beyond]
            head += ["best soft", "soft minus separate", f"{beyond} "]
            title = f"### Hard and soft sharing against {escaped(str(hard.baseline))}"
            parts += [title, *([] if parts else [_NOTE]), sorted_table(head, lines)]
    return parts


def best_on_validation(records: Sequence[Record]) -> Record:
    """The arm whose best trial has the highest mean score on validation, the first of equal ones; a single
    arm needs no trials. Raises BenchError where one of several has none."""
    if len(records) == 1:
        return records[0]

    def best(record: Record) -> float:
        try:
            return max(float(trial[-1]) for trial in (record.tuning or {})["trials"])
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise BenchError(f"{record.name} has no trials with scores") from error

    return max(records, key=best)


def gains(board: Board, hard: Task) -> tuple[dict[Row, Interval], dict[Row, Interval]]:
    """By owner and encoder the gains of a hard arm, and of the best soft arm, over the hard one's
    baseline, in points; empty where the task is no hard arm with a baseline."""
    by_hard, by_soft = dict[Row, Interval](), dict[Row, Interval]()
    if not _has_headline(board, hard):
        return by_hard, by_soft
    arms = [task for task in board.tasks.values() if _is_soft(task)]
    for row, records in board.computed().items():
        base = records.get(str(hard.baseline))
        if hard.name not in records or base is None:
            continue
        try:
            by_hard[row] = _gain(board, records[hard.name], base)
            present = _soft_arms(arms, hard, records)
            if present:
                by_soft[row] = _gain(board, best_on_validation(present), base)
        except BenchError:  # the table of this arm names it
            continue
    return by_hard, by_soft


def _has_headline(board: Board, task: Task) -> bool:
    return _is_hard(task) and task.baseline in board.tasks


def _soft_arms(soft: Sequence[Task], hard: Task, records: Mapping[str, Record]) -> list[Record]:
    """An encoder's records on the soft arms that share the hard one's baseline."""
    arms = [task.name for task in soft if task.baseline == hard.baseline]
    return [records[arm] for arm in arms if arm in records]


def _is_hard(task: Task) -> bool:
    """Is it one tower for all tasks, with the baseline's number of parameters and equal loss weights?"""
    if task.baseline is None:
        return False
    spec = task.resolved_protocol
    if spec.entry.name == "tuned_sharing":
        return spec.arguments.get("coupling") == "inf"
    settings = spec.arguments.get("slim"), spec.arguments.get("weighting")
    return spec.entry.name == "hard_sharing" and settings == (False, "equal")


def _is_soft(task: Task) -> bool:
    spec = task.resolved_protocol
    if spec.entry.name == "tuned_sharing":
        return spec.arguments.get("coupling") not in ("0", "inf")
    return spec.entry.name in SOFT


def _line(
    board: Board, soft: Sequence[Task], hard: Task, name: str, records: Mapping[str, Record]
) -> Line | None:
    """`soft`: the tasks whose arms are soft, also those of other baselines."""
    if (base := records.get(str(hard.baseline))) is None:
        return None
    separate = scaled(Interval(base.score.value, base.score.low, base.score.high), 100)
    gain = _gain(board, records[hard.name], base)
    line = [name, interval_text(separate), interval_text(gain, "+")]
    line.append(_beyond_control(records[hard.name], hard))
    if present := _soft_arms(soft, hard, records):
        best = best_on_validation(present)
        task = board.tasks[best.task.id]
        protocol = task.resolved_protocol.entry.name
        line += [protocol, interval_text(_gain(board, best, base), "+")]
        line.append(_beyond_control(best, task))
    return -gain.value, line + [""] * (7 - len(line))


def _gain(board: Board, arm: Record, base: Record) -> Interval:
    """In points, paired over test rows and seeds."""
    tasks = board.tasks
    difference = paired_difference(board, arm, base, tasks[arm.task.id], tasks[base.task.id])
    return scaled(difference, 100)


def _beyond_control(record: Record, task: Task) -> str:
    """Points of the first target with true labels of the others, minus those with shuffled ones."""
    first = task.targets[0]
    true, shuffled = seed_scores(record, [first]), seed_scores(record, [first], CONTROL)
    gaps = [100 * (true[s][first] - shuffled[s][first]) for s in true if s in shuffled]
    return interval_text(student_interval(gaps), "+") if len(gaps) > 1 else ""
