"""Does a record agree with itself? All scores are computed again from what it stores of its predictions.

What is stored is rounded (`results.predictions.encode`), so that a score has a range: of width 0 for
classes and yes/no labels, 1/16 nat for a log-probability, the steps of fp16 for numbers and margins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bench.data.samples import Array, Target, missing
from bench.errors import BenchError
from bench.results.predictions import decode, parts_of
from bench.results.record import Record
from bench.scoring.class_splits import counts, left_out
from bench.scoring.scorer import rescored, targets_of
from bench.solvers.stacking import Candidates, harmonic_mean
from bench.statistics.metrics import METRICS
from bench.tasks.task import Coords, Task

ROUNDING = 1e-9  # of sums in another order
MANY = 300  # rows, of which margins of three bits move the area under the curve by AREA / sqrt(n) at most
AREA = 0.05
BEST = 0.5  # the same for the best harmonic mean, of any number of rows
TIES = 5e-3  # what rows whose margin is 0 in fp16 are of S and U at most, where counts are stored
FEW_ROWS, FEW_WRONG = 200, 30  # test rows, and wrong ones, on which two seeds may well agree
INTERVAL = 1e-4  # by how much resampling may differ between releases of NumPy


class Range(NamedTuple):
    """Least and largest value that a score can have had; of several scores (...)."""

    low: Any
    high: Any

    def holds(self, value: float) -> bool:
        return bool(self.low - ROUNDING <= value <= self.high + ROUNDING)


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
                    parts = parts_of(arrays, number, name, *_MARGINS)
                yield from _counted(f"predictions {number}/{name}/counts", parts)
                ranges = score_ranges(targets[name], parts, unseen)
                yield from _compared(f"{where}[{column!r}]", scores, ranges)


_MARGINS = ("best_seen", "best_unseen", "margin")  # of rows, where some classes are unseen


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
        return _unseen_ranges(target, parts, unseen)
    stored = decode(target.kind, parts, parts["truth"])
    stored["labelled"] = ~missing(target, stored["truth"])
    ranges: dict[str, Range] = {}
    for metric, definition in METRICS.items():
        formula = definition.formula(target.kind)
        if formula.rows is None or not set(formula.stored) <= set(parts):
            continue
        error = _ROUNDED[metric](stored) if metric in _ROUNDED else Range(0.0, 0.0)
        value = float(formula.rows(stored).mean())
        ranges[metric] = Range(value + error.low, value + error.high)
    if "top" in parts:
        ranges["ece"] = _ece_range(parts, stored)
    return ranges


def _nll_error(stored: Mapping[str, Array]) -> Range:
    """A stored log-probability is rounded to 1/16 nat; the lowest stands for all below."""
    lowest = (stored["true"] <= -255 / 16)[stored["labelled"]].mean()
    return Range(-1 / 32, 1 / 32 + 1e4 * float(lowest))


def _number_error(stored: Mapping[str, Array]) -> Range:
    """Truth and value in fp16: relative steps of 2**-11."""
    truth, value = np.nan_to_num(stored["truth"]), stored["value"]
    step = 2.0**-10 * (np.abs(truth) + np.abs(value)) + 2.0**-23
    width = float((2 * np.abs(truth - value) * step + step**2).mean() * 2)
    return Range(-width, width)


def _r2_error(stored: Mapping[str, Array]) -> Range:
    variance = np.nanvar(stored["truth"], axis=0)
    varies = variance > 0
    error = _number_error({name: stored[name][:, varies] for name in ("truth", "value")})
    width = error.high / float(variance[varies].min())
    return Range(-width, width)


_ROUNDED: Mapping[str, Callable[[Mapping[str, Array]], Range]] = {
    "nll": _nll_error,
    "mse": _number_error,
    "r2": _r2_error,
}


def _ece_range(parts: Mapping[str, Array], stored: Mapping[str, Array]) -> Range:
    """The confidence is stored in steps of 1/255: rows at the edge of one of the 15 bins may lie in the
    next one, where they move two gaps by at most 1 each."""
    labelled = stored["labelled"]
    top = parts["top"][labelled].astype(np.float64)
    right = (stored["class"] == stored["truth"])[labelled]
    low, high = ((top + half).clip(0, 255) / 255 * 15 for half in (-0.5, 0.5))
    first, last = np.minimum(low.astype(int), 14), np.minimum(high.astype(int), 14)
    gaps = np.bincount(first, weights=top / 255 - right, minlength=15)
    value = float(np.abs(gaps).sum() / len(top))
    width = 1 / 510 + 2 * float((first != last).mean())
    return Range(max(0.0, value - width), value + width)


def _unseen_ranges(
    target: Target, parts: Mapping[str, Array], unseen: frozenset[int]
) -> dict[str, Range]:
    if "counts" in parts:
        return _ranges_of_counts(parts["counts"], unseen)
    candidates = _candidates(target, parts, unseen)
    as_seen, as_unseen = (
        _recalls(_counts_at(candidates, ties_seen), unseen) for ties_seen in (True, False)
    )
    curve = candidates.curve()
    best = float(harmonic_mean(curve.seen, curve.unseen).max())
    width = BEST / math.sqrt(len(candidates.truth))
    return {
        "zero_shot": Range(as_seen.zero_shot, as_seen.zero_shot),
        "seen": Range(as_unseen.seen, as_seen.seen),
        "unseen": Range(as_seen.unseen, as_unseen.unseen),
        "ausuc": _area_range(candidates, curve.area),
        "oracle_harmonic_mean": Range(best - width, best + width),
    }


def _candidates(target: Target, parts: Mapping[str, Array], unseen: frozenset[int]) -> Candidates:
    labelled = parts["truth"] >= 0
    stored = [parts[part][labelled] for part in ("truth", *_MARGINS)]
    truth, best_seen, best_unseen = (array.astype(np.int64) for array in stored[:3])
    is_unseen = np.isin(np.arange(target.size), sorted(unseen))
    return Candidates(truth, is_unseen, best_seen, best_unseen, stored[3].astype(np.float64))


def _area_range(candidates: Candidates, area: float) -> Range:
    """Rounding keeps the order of margins, but for those that it makes equal: their rows may have turned
    in any order. Of many rows only a small part of that range is met."""
    c, weights = candidates, candidates.weights
    steps, place = np.unique(c.margin, return_inverse=True)
    won = np.bincount(place.ravel(), weights * (c.best_unseen == c.truth), minlength=len(steps))
    lost = np.bincount(place.ravel(), weights * (c.best_seen == c.truth), minlength=len(steps))
    after = lost.sum() - np.cumsum(lost)
    low, high = float(won @ after), float(won @ (after + lost))
    if len(c.truth) < MANY:
        return Range(low, high)
    width = AREA / math.sqrt(len(c.truth))
    return Range(max(low, area - width), min(high, area + width))


class _Recalls(NamedTuple):
    """T1, U and S, and S among the seen classes alone; of several sets of rows (k,)."""

    zero_shot: Any
    unseen: Any
    seen: Any
    seen_alone: Any


def _counts_at(candidates: Candidates, ties_seen: bool) -> Array:
    """(3, C) as `counted` gives them, rows without a margin as of the one side or the other."""
    c = candidates
    as_seen = c.margin >= 0 if ties_seen else c.margin > 0
    right = np.where(as_seen, c.best_seen, c.best_unseen) == c.truth
    right_on_side = (c.best_seen == c.truth) | (c.best_unseen == c.truth)
    hits = np.ones(len(c.truth)), right, right_on_side
    size = len(c.is_unseen)
    return np.stack([np.bincount(c.truth, weights=hit, minlength=size) for hit in hits])


def _recalls(
    counts: Array, unseen: frozenset[int], without: Sequence[int] | None = None
) -> _Recalls:
    """Of counts (3, C); `without`: of the rows without each of these k classes in turn, (k,)."""
    rows, right, right_on_side = counts.astype(np.float64)
    is_unseen = np.zeros(len(rows), dtype=bool)
    is_unseen[[c for c in unseen if 0 <= c < len(rows)]] = True

    def mean(hits: Array, side: Array) -> Any:
        scored = side & (rows > 0)
        shares = np.where(scored, hits / np.where(scored, rows, 1.0), 0.0)
        lost, fewer = (0.0, 0) if without is None else (shares[without], scored[without])
        return (shares.sum() - lost) / np.maximum(scored.sum() - fewer, 1)

    return _Recalls(
        mean(right_on_side, is_unseen),
        mean(right, is_unseen),
        mean(right, ~is_unseen),
        mean(right_on_side, ~is_unseen),
    )


def _ranges_of_counts(
    counts: Array, unseen: frozenset[int], without: Sequence[int] | None = None
) -> dict[str, Range]:
    """S falls as U rises, from (0, S among seen classes alone) through (U, S) to (T1, 0)."""
    r = _recalls(counts, unseen, without)
    highest = r.unseen * r.seen_alone + (r.zero_shot - r.unseen) * r.seen
    best = harmonic_mean(r.seen_alone, r.zero_shot)
    return {
        "zero_shot": Range(r.zero_shot, r.zero_shot),
        "seen": Range(r.seen - TIES, r.seen + TIES),
        "unseen": Range(r.unseen - TIES, r.unseen + TIES),
        "ausuc": Range(0 * highest, highest + TIES),
        "oracle_harmonic_mean": Range(0 * best, best),
    }


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
        allowed = _ranges_without(targets[name], parts, unseen, expected, task.primary.metric)
        for c, (low, high) in allowed.items():
            value = float(parts["without"][c])
            if not low - 1e-6 <= value <= high + 1e-6:
                text = f"{low:.6g} to {high:.6g}"
                yield Contradiction(f"{where}[{c}]", f"{value:.6g}, but {text} by its predictions")


def _ranges_without(
    target: Target,
    parts: Mapping[str, Array],
    unseen: frozenset[int],
    classes: Sequence[int],
    metric: str,
) -> dict[int, Range]:
    """The range of a metric without the rows of each of these classes in turn; empty for one that has
    none."""
    ranges = dict[int, Range]()
    if "counts" in parts:  # all at once: there are hundreds a record
        several = _ranges_of_counts(parts["counts"], unseen, classes).get(metric)
        if several is not None:
            ends = zip(several.low, several.high, strict=True)
            ranges = {c: Range(*pair) for c, pair in zip(classes, ends, strict=True)}
        return ranges
    for c in classes:
        others = parts["truth"] != c
        stored = {part: parts[part][others] for part in ("truth", *_MARGINS)}
        if metric == "ausuc":  # the others cost as much again
            candidates = _candidates(target, stored, unseen)
            ranges[c] = _area_range(candidates, candidates.curve().area)
        elif (allowed := _unseen_ranges(target, stored, unseen).get(metric)) is not None:
            ranges[c] = allowed
    return ranges
