"""Gains of sharing: each multi-task arm against its baseline, by target, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.report.board import Board, Line
from bench.report.text import escaped, interval_text, percent_text, scaled, sorted_table
from bench.results.record import Record
from bench.statistics.intervals import Interval, student_interval
from bench.tasks.task import Task

CONTROL = "shuffled_auxiliary"
Seeds = tuple[int, int]  # of the encoder, of the heads
Scores = Mapping[Seeds, Mapping[str, float]]  # -> target -> score


@dataclass(frozen=True, slots=True)
class Gains:
    """An arm minus its baseline over equal seeds.

    points, ratio: by target, in accuracy, and log(error of the baseline / error of the arm)
    worst: the target with the smallest gain
    negative: the share of targets and seeds with a loss; the number of targets whose interval is below 0
    delta: mean relative change in per cent (Maninis et al. 2019, arXiv:1904.08918)
    control: accuracy of the first target where the labels of all others are shuffled
    """

    points: Mapping[str, Interval]
    ratio: Mapping[str, Interval]
    worst: str
    negative: tuple[float, int]
    delta: Interval
    control: Interval | None


def gains(arm: Record, base: Record, targets: Sequence[str]) -> Gains | None:
    """The gains in accuracy (0 to 1) on `targets`, of which the control shuffles all but the first. None
    for fewer than two common seeds."""
    ours, theirs = seed_scores(arm, targets), seed_scores(base, targets)
    common = [seeds for seeds in ours if seeds in theirs]
    if len(common) < 2:
        return None

    def over(value: Callable[[float, float], float], name: str) -> Interval:
        return student_interval([value(ours[s][name], theirs[s][name]) for s in common])

    points = {name: over(lambda a, b: a - b, name) for name in targets}
    floor = 0.5 / max(1, arm.data.rows["test"])  # half an error: no test row shows a smaller rate
    lost = [ours[s][name] < theirs[s][name] for s in common for name in targets]
    changes = [
        sum((ours[s][n] - theirs[s][n]) / theirs[s][n] for n in targets) / len(targets)
        for s in common
        if all(theirs[s][n] > 0 for n in targets)
    ]
    control = seed_scores(arm, targets, CONTROL)
    controlled = [s for s in control if s in theirs]
    first = targets[0]
    return Gains(
        points=points,
        ratio={
            name: over(lambda a, b: math.log(max(1 - b, floor) / max(1 - a, floor)), name)
            for name in targets
        },
        worst=min(points, key=lambda name: points[name].value),
        negative=(sum(lost) / len(lost), sum(p.high < 0 for p in points.values())),
        delta=scaled(student_interval(changes), 100.0),
        control=student_interval([control[s][first] - theirs[s][first] for s in controlled])
        if len(controlled) > 1
        else None,
    )


def seed_scores(record: Record, targets: Sequence[str], control: str | None = None) -> Scores:
    """Accuracies (0 to 1) of the replicates with this control, by seeds and target. Raises
    BenchError where one has none."""
    scores: dict[Seeds, dict[str, float]] = {}
    for replicate in record.replicates:
        at = replicate.coords
        if at.control == control:
            scores[at.encoder_seed, at.head_seed] = {
                name: replicate.score("accuracy", name) for name in targets
            }
    return scores


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """A table for each arm with a baseline, the encoder with the largest mean gain first."""
    parts: list[str] = []
    for task in tasks.values():
        if _comparable(board, task) and (lines := board.lines(task, _line)):
            units = ("points", "log error ratio")
            head = ["encoder", *(f"{name}: {unit}" for name in task.targets for unit in units)]
            head += ["smallest gain", "losses", "delta-m, %", f"{task.targets[0]}, others shuffled"]
            title = f"### {escaped(f'{task.name} minus {task.baseline}')}"
            parts += [title, *([] if parts else [_NOTE]), sorted_table(head, lines)]
    return parts


_NOTE = (
    "Over equal seeds, with Student's 95 % interval. By target: points of accuracy, and the logarithm "
    "of the baseline's error over the arm's. Smallest gain: the target that gains least. Losses: the "
    "share of targets and seeds that lose, and in parentheses the number of targets whose interval lies "
    "below 0. Delta-m: the mean relative change. Last, points of the first target where the labels of "
    "all others are shuffled: a gain there is not transfer."
)


def _comparable(board: Board, task: Task) -> bool:
    return task.baseline in board.tasks and task.primary.metric == "accuracy" and bool(task.targets)


def _line(task: Task, name: str, records: Mapping[str, Record]) -> Line | None:
    baseline = records.get(str(task.baseline))
    gain = gains(records[task.name], baseline, task.targets) if baseline else None
    if gain is None:
        return None
    cells = [name]
    for target, points in gain.points.items():
        cells += [percent_text(points, "+"), interval_text(gain.ratio[target], "+")]
    share, significant = gain.negative
    cells += [gain.worst, f"{100 * share:.0f} % ({significant})", interval_text(gain.delta, "+")]
    cells.append("" if gain.control is None else percent_text(gain.control, "+"))
    return -sum(points.value for points in gain.points.values()), cells
