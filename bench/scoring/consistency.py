"""Does a record agree with itself? All scores are computed again from what it stores of its predictions.

What is stored is rounded (`results.predictions.encode`), so that a score has a range (`scoring.ranges`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bench.data.samples import Array, Target
from bench.errors import BenchError
from bench.results.predictions import parts_of
from bench.results.record import Record
from bench.scoring.class_splits import counts, left_out
from bench.scoring.ranges import ROUNDING, Range, row_ranges
from bench.scoring.scorer import rescored, targets_of
from bench.scoring.unseen_ranges import MARGINS, ranges_without, unseen_ranges
from bench.solvers.stacking import harmonic_mean
from bench.statistics.metrics import METRICS
from bench.tasks.task import Coords, Task

FEW_ROWS, FEW_WRONG = 200, 30  # test rows, and wrong ones, on which two seeds may well agree
INTERVAL = 1e-6  # by how much quantiles may differ between releases of SciPy


class Contradiction(NamedTuple):
    """A field of a record that contradicts the rest of it, and how."""

    field: str
    message: str


def contradictions(record: Record, task: Task, arrays: Mapping[str, Array]) -> list[Contradiction]:
    """All that contradicts the stored predictions of an ok record of `task`, in the record's order.

    Raises BenchError where a part of the predictions that the task's records have is missing.
    """
    return [
        *_replicates(record, task),
        *_scores(record, task, arrays),
        *_repeats(record, arrays),
        *_primary(record, task, arrays),
    ]


def from_counts(arrays: Mapping[str, Array]) -> bool:
    """Are counts alone stored, of which the primary score cannot be computed again, but for bounds?"""
    return any(name.endswith("/counts") for name in arrays)


# --- Which replicates


def _replicates(record: Record, task: Task) -> Iterator[Contradiction]:
    """Those that the task asks for, each once, with as many seeds as the record says that it has."""
    coords = [replicate.coords for replicate in record.replicates]
    runs = record.measured.get("seeds")
    runs = runs if isinstance(runs, int) and 1 <= runs <= len(coords) else None
    encoder_seeded = bool(record.encoder.seeded)
    expected = [
        list(task.coords(seeds=runs, seeded=(encoder_seeded, head), per_split=per_split))
        for head in (True, False)
        for per_split in (True, False)
    ]
    if coords not in expected:
        best = min(expected, key=lambda plan: _distance(plan, coords))
        absent = [at for at in best if at not in coords]
        extra = [at for at in coords if at not in best]
        words = f"{len(coords)} replicates, where the task asks for {len(best)}"
        if absent:
            words += f"; missing: {_at(absent[0])}"
        elif extra:
            words += f"; not asked for: {_at(extra[0])}"
        else:
            words += ", in another order"
        yield Contradiction("replicates", words)


def _distance(plan: Sequence[Coords], coords: Sequence[Coords]) -> int:
    return len(set(plan) ^ set(coords))


def _at(coords: Coords) -> str:
    default = Coords()
    parts = {name: getattr(coords, name) for name in Coords.__dataclass_fields__}
    changed = [f"{k} {v}" for k, v in parts.items() if v != getattr(default, k)]
    return ", ".join(changed) or "seed 0"


# --- Scores


def _scores(record: Record, task: Task, arrays: Mapping[str, Array]) -> Iterator[Contradiction]:
    targets = targets_of(record)
    for number, replicate in enumerate(record.replicates):
        unseen = _unseen(task, replicate.coords)
        where = f"replicates[{number}].scores"
        plain = {name for name in replicate.scores if ":" not in name}
        if plain != set(targets):
            yield Contradiction(
                where, f"of {sorted(plain)}; its predictions are of {sorted(targets)}"
            )
            continue
        for column, scores in replicate.scores.items():
            name = column.partition(":")[0]
            if name not in targets:
                yield Contradiction(where, f"{column!r:.80} is of no target of its predictions")
                continue
            kind = "unseen" if unseen and targets[name].kind == "classes" else targets[name].kind
            yield from _bounded(f"{where}[{column!r}]", scores, kind)
            is_stored = column == name and not (unseen and replicate.coords.control)
            if is_stored:
                parts = parts_of(arrays, number, name)
                if kind == "unseen" and "counts" not in parts:
                    parts = parts_of(arrays, number, name, *MARGINS)
                yield from _counted(f"predictions {number}/{name}/counts", parts)
                ranges = score_ranges(targets[name], parts, unseen)
                yield from _compared(f"{where}[{column!r}]", scores, ranges)


def _unseen(task: Task, coords: Coords) -> frozenset[int]:
    if coords.split is None:
        return frozenset(task.removed_classes) if task.semantics else frozenset()
    if not 0 <= coords.split < len(task.replicates.splits):
        return frozenset()
    return frozenset(task.replicates.splits[coords.split])


_LARGEST = {"nll": 1e4, "calibrated_nll": 1e4, "mse": np.inf}


def _bounded(where: str, scores: Mapping[str, float], kind: str) -> Iterator[Contradiction]:
    """Metrics of this kind of target, in their ranges, and consistent with each other."""
    for metric, value in scores.items():
        if metric not in METRICS or getattr(METRICS[metric], kind) is None:
            yield Contradiction(f"{where}.{metric:.80}", f"no metric of a {kind} target")
        elif value > _LARGEST.get(metric, 1.0) + ROUNDING or (value < -ROUNDING and metric != "r2"):
            yield Contradiction(f"{where}.{metric}", f"{value:g} is not a value of this metric")
    seen, unseen, mean = (scores.get(name) for name in ("seen", "unseen", "harmonic_mean"))
    if seen is not None and unseen is not None and mean is not None:
        expected = float(harmonic_mean(seen, unseen))
        if abs(expected - mean) > ROUNDING:
            yield Contradiction(f"{where}.harmonic_mean", f"{mean:g}, but {expected:g} by S and U")
    top1, top5 = scores.get("accuracy"), scores.get("top5")
    if top1 is not None and top5 is not None and top5 < top1 - ROUNDING:
        yield Contradiction(f"{where}.top5", f"{top5:g} is below the accuracy, {top1:g}")


def _counted(where: str, parts: Mapping[str, Array]) -> Iterator[Contradiction]:
    """Counts by class are of the stored labels, and no more are right than there are."""
    if "counts" not in parts:
        return
    rows, right, right_on_side = parts["counts"]
    labels = parts["truth"][parts["truth"] >= 0]
    if not np.array_equal(rows, np.bincount(labels, minlength=len(rows))):
        yield Contradiction(where, "its rows are not those of the stored labels")
    if not ((right <= right_on_side) & (right_on_side <= rows)).all():
        yield Contradiction(where, "more rows are right than there are")


def _compared(
    where: str, scores: Mapping[str, float], ranges: Mapping[str, Range]
) -> Iterator[Contradiction]:
    for metric, allowed in ranges.items():
        value = scores.get(metric)
        if value is None:
            yield Contradiction(f"{where}.{metric}", "missing")
        elif not allowed.holds(value):
            text = f"{allowed.low:.6g}"
            if allowed.high - allowed.low > 2 * ROUNDING:
                text += f" to {allowed.high:.6g}"
            yield Contradiction(f"{where}.{metric}", f"{value:.6g}, but {text} by its predictions")


def score_ranges(
    target: Target, parts: Mapping[str, Array], unseen: frozenset[int]
) -> dict[str, Range]:
    """Metric -> its range, of one replicate's stored predictions of one target.

    parts: as `parts_of` gives them. unseen: the classes without training images, if there are any.
    """
    if unseen and target.kind == "classes":
        return unseen_ranges(target, parts, unseen)
    return row_ranges(target, parts)


# --- Seeds that are one


def _repeats(record: Record, arrays: Mapping[str, Array]) -> Iterator[Contradiction]:
    """Replicates with other seeds and the same predictions, where chance does not make them equal."""
    by_plan: dict[Coords, dict[bytes, int]] = {}
    for number, replicate in enumerate(record.replicates):
        names = sorted(
            k for k in arrays if k.startswith(f"{number}/") and not k.endswith("/without")
        )
        if not names:
            continue
        content = b"".join(arrays[name].tobytes() for name in names)
        plan = replace(replicate.coords, encoder_seed=0, head_seed=0)
        first = by_plan.setdefault(plan, {}).setdefault(content, number)
        if first != number and not _may_coincide(arrays, names):
            yield Contradiction(
                f"replicates[{number}]", f"its predictions are those of replicate {first}"
            )


def _may_coincide(arrays: Mapping[str, Array], names: Sequence[str]) -> bool:
    """May two trainings honestly have these predictions? Of few rows, of classes of which few are wrong,
    and of one class for all rows, as where a training has collapsed."""
    for name in names:
        truth, predicted = arrays.get(f"truth/{name.split('/')[1]}"), arrays[name]
        if truth is None or len(truth) < FEW_ROWS or predicted.min() == predicted.max():
            continue
        if not name.endswith("/class") or np.count_nonzero(predicted != truth) >= FEW_WRONG:
            return False
    return True


# --- The primary score


def _primary(record: Record, task: Task, arrays: Mapping[str, Array]) -> Iterator[Contradiction]:
    yield from _without(record, task, arrays)
    if record.primary is None:
        yield Contradiction("primary", "missing")
        return
    try:
        expected = rescored(record, task, arrays)
    except BenchError as error:
        yield Contradiction("primary", str(error))
        return
    for name in ("metric", "target", "reduction"):
        value, of_task = getattr(record.primary, name), getattr(expected, name)
        if value != of_task:
            yield Contradiction(f"primary.{name}", f"{value!r:.80}, where the task has {of_task!r}")
    # A run makes it of what is stored, too: nothing is rounded in between.
    tolerances = {"value": ROUNDING, "low": INTERVAL, "high": INTERVAL}
    for name, tolerance in tolerances.items():
        value, computed = getattr(record.primary, name), getattr(expected, name)
        if abs(value - computed) > tolerance:
            yield Contradiction(
                f"primary.{name}", f"{value:.6g}, but {computed:.6g} by its predictions"
            )


def _without(record: Record, task: Task, arrays: Mapping[str, Array]) -> Iterator[Contradiction]:
    """What is stored of the primary metric without each class, of which its interval is made."""
    if task.primary.interval != "classes":
        return
    targets = targets_of(record)
    name = task.primary.target or next(iter(targets))
    for number, replicate in enumerate(record.replicates):
        if not counts(task, replicate.coords):
            continue
        unseen = _unseen(task, replicate.coords)
        parts = parts_of(arrays, number, name, "without")
        where = f"predictions {number}/{name}/without"
        rows = np.bincount(parts["truth"][parts["truth"] >= 0], minlength=targets[name].size)
        expected = left_out(task, unseen, rows)
        if np.flatnonzero(~np.isnan(parts["without"])).tolist() != sorted(expected):
            yield Contradiction(where, f"of other classes than {sorted(expected)}")
            continue
        allowed = ranges_without(targets[name], parts, unseen, expected, task.primary.metric)
        for c, (low, high) in allowed.items():
            value = float(parts["without"][c])
            if not low - 1e-6 <= value <= high + 1e-6:
                text = f"{low:.6g} to {high:.6g}"
                yield Contradiction(f"{where}[{c}]", f"{value:.6g}, but {text} by its predictions")
