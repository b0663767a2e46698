"""What sharing is worth: each multi-task arm against towers of their own, task by task, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.report.board import Board, name_of
from bench.report.text import interval_text, table
from bench.results.record import Record
from bench.statistics.intervals import Interval, student_interval
from bench.tasks.task import Task

__all__ = ["CONTROL", "Gains", "gains", "section", "seed_scores"]

CONTROL = "shuffled_auxiliary"
Seeds = tuple[int, int]  # of the encoder, of the heads
Scores = Mapping[Seeds, Mapping[str, float]]  # -> target -> score


@dataclass(frozen=True, slots=True)
class Gains:
    """An arm minus its baseline over equal seeds. `points` and `ratio` (the logarithm of the baseline's
    error over the arm's) by target; `worst`: the target that gains least; `negative`: the share of
    targets and seeds that lose, and how many targets lose beyond doubt; `delta`: the mean relative
    change in per cent (Maninis et al. 2019, arXiv:1904.08918), above 0 where sharing gains; `control`:
    points of the first target where the labels of all others are shuffled."""

    points: Mapping[str, Interval]
    ratio: Mapping[str, Interval]
    worst: str
    negative: tuple[float, int]
    delta: Interval
    control: Interval | None


def gains(arm: Record, base: Record, targets: Sequence[str]) -> Gains | None:
    """Of accuracies (0 to 1) of the targets, the first of which the control spares; None where fewer
    than two seeds are in both."""
    ours, theirs = seed_scores(arm, targets), seed_scores(base, targets)
    shared = [seeds for seeds in ours if seeds in theirs]
    if len(shared) < 2:
        return None

    def over(value: Callable[[float, float], float], name: str) -> Interval:
        return student_interval([value(ours[s][name], theirs[s][name]) for s in shared])

    points = {name: over(lambda a, b: a - b, name) for name in targets}
    least = 0.5 / _rows(arm)  # of an error rate that no row shows
    lost = [ours[s][name] < theirs[s][name] for s in shared for name in targets]
    changes = [
        sum((ours[s][n] - theirs[s][n]) / theirs[s][n] for n in targets) / len(targets)
        for s in shared
        if all(theirs[s][n] > 0 for n in targets)
    ]
    control = seed_scores(arm, targets, CONTROL)
    alike = [s for s in control if s in theirs]
    first = targets[0]
    return Gains(
        points=points,
        ratio={
            name: over(lambda a, b: math.log(max(1 - b, least) / max(1 - a, least)), name)
            for name in targets
        },
        worst=min(points, key=lambda name: points[name].value),
        negative=(sum(lost) / len(lost), sum(each.high < 0 for each in points.values())),
        delta=_scaled(student_interval(changes), 100.0),
        control=student_interval([control[s][first] - theirs[s][first] for s in alike])
        if len(alike) > 1
        else None,
    )


def seed_scores(record: Record, targets: Sequence[str], control: str | None = None) -> Scores:
    """Accuracies of the replicates with this control."""
    found: dict[Seeds, dict[str, float]] = {}
    for replicate in record.replicates:
        at = replicate["coords"]
        if at["control"] == control:
            found[int(at["encoder_seed"]), int(at["head_seed"])] = {
                name: float(replicate["scores"][name]["accuracy"]) for name in targets
            }
    return found


def _rows(record: Record) -> int:
    return int(record.data["rows"]["test"])


def _scaled(interval: Interval, by: float) -> Interval:
    return Interval(by * interval.value, by * interval.low, by * interval.high)


def section(board: Board) -> list[str]:
    """Each arm that names a baseline, by encoders, the largest mean gain first."""
    parts: list[str] = []
    for task in board.tasks.values():
        if task.family != "multitask" or not _comparable(board, task):
            continue
        lines: list[tuple[float, list[str]]] = []
        for (owner, encoder), records in board.rows.items():
            if task.name not in records or task.baseline not in records:
                continue
            try:
                found = gains(records[task.name], records[task.baseline], task.targets)
            except Exception as error:  # a stranger's record can lack or hold anything
                board.leave(encoder, f"gains on {task.name}", f"{type(error).__name__}: {error}")
                continue
            if found is not None:
                mean = sum(each.value for each in found.points.values())
                lines.append((-mean, [name_of(owner, encoder, records), *_line(found)]))
        if lines:
            head = [
                "encoder",
                *(f"{n}: {what}" for n in task.targets for what in ("points", "log error ratio")),
                "worst",
                "negative",
                "delta-m, %",
                f"{task.targets[0]}, others shuffled",
            ]
            parts += [
                f"### {task.name} minus {task.baseline}",
                *([] if parts else [_TOLD]),
                table(head, [line for _, line in sorted(lines)]),
            ]
    return parts


_TOLD = (
    "Over equal seeds, with Student's 95 % interval. Points of accuracy, and the logarithm of the "
    "baseline's error over the arm's, target by target; the target that gains least; the share of "
    "targets and seeds that lose, and in brackets how many targets lose beyond doubt; the mean relative "
    "change. Last, points of the first target where the labels of all others are shuffled: what is "
    "gained there too is no transfer."
)


def _comparable(board: Board, task: Task) -> bool:
    return task.baseline in board.tasks and task.primary.metric == "accuracy" and bool(task.targets)


def _line(found: Gains) -> list[str]:
    cells = []
    for name, points in found.points.items():
        cells += [
            interval_text(_scaled(points, 100.0), "+"),
            interval_text(found.ratio[name], "+"),
        ]
    share, sure = found.negative
    control = "" if found.control is None else interval_text(_scaled(found.control, 100.0), "+")
    return [
        *cells,
        found.worst,
        f"{100 * share:.0f} % ({sure})",
        interval_text(found.delta, "+"),
        control,
    ]
