"""Scores over class splits: metrics over all calibrations, what is stored, intervals over classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.data.samples import Array, Target
from bench.errors import BenchError
from bench.results.predictions import counted, encode_stacked, parts_of
from bench.results.record import Replicate
from bench.solvers.stacking import harmonic_mean, seen_unseen_curve
from bench.statistics.intervals import Interval, jackknife
from bench.statistics.metrics import score as plain_score
from bench.statistics.variance import SHARE
from bench.tasks.families import FAMILIES
from bench.tasks.task import Coords, Task

RECALLS = ("zero_shot", "unseen", "seen")  # metrics that are means over classes


def score(
    kind: str,
    truth: Array,
    prediction: Array,
    *,
    unseen: frozenset[int] = frozenset(),
    **arguments: Any,
) -> dict[str, float]:
    """`metrics.score`, and where classes are unseen what needs every calibration: `ausuc`, the area under
    the seen-unseen curve (Chao et al. 2016, arXiv:1605.04253), and `oracle_harmonic_mean`, the best that
    somebody with the test labels could choose."""
    scores = plain_score(kind, truth, prediction, unseen=unseen, **arguments)
    if unseen and kind == "classes":
        labelled = truth >= 0
        curve = seen_unseen_curve(prediction[labelled], truth[labelled], unseen)
        scores["ausuc"] = curve.area
        scores["oracle_harmonic_mean"] = float(harmonic_mean(curve.seen, curve.unseen).max())
    return scores


def class_split_parts(
    task: Task, unseen: frozenset[int], scores: Array, truth: Array
) -> dict[str, Array]:
    """What is stored of scores (n, C) where classes are unseen: for a headline task the best seen and
    unseen class of each row and their margin, else how many of each class are right; where the
    interval is over classes also the primary metric without the rows of each seen one."""
    parts = encode_stacked(scores, sorted(unseen))
    if task.keeps_counts:
        parts = counted(parts, truth, scores.shape[1])
    if task.primary.interval == "classes":
        without = np.full(scores.shape[1], np.nan, np.float32)
        for c in left_out(task, unseen, np.bincount(truth[truth >= 0], minlength=len(without))):
            metrics = score(
                "classes", truth[truth != c], scores[truth != c], probabilistic=False, unseen=unseen
            )
            without[c] = metrics[task.primary.metric]
        parts["without"] = without
    return parts


def left_out(task: Task, unseen: frozenset[int], rows: Array) -> list[int]:
    """Classes whose rows are left out of a split in turn: the seen ones, and, since there is no split
    without them, those that every split has as unseen; of either kind two or more must have rows (C,)."""
    never = frozenset.intersection(*map(frozenset, task.replicates.splits))
    present = set(np.flatnonzero(rows).tolist())
    sides = [present - unseen, present & unseen & never]
    return [c for side in sides if len(side) > 1 for c in sorted(side)]


def counts(task: Task, coords: Coords) -> bool:
    """Is this replicate part of the primary score?"""
    shifted = coords.shift is not None
    return coords.control is None and shifted == FAMILIES[task.family].shifted


def primary_classes(
    task: Task,
    targets: Mapping[str, Target],
    replicates: Sequence[Replicate],
    arrays: Mapping[str, Array],
) -> tuple[Array, Array]:
    """The primary metric of each class split (s,), and without the rows of each class (s, C): NaN where
    the class is unseen, unless it is so in every split. Replicates of one split are averaged."""
    name, metric = task.primary.target or next(iter(targets)), task.primary.metric
    return _by_split(
        (split, replicate.score(metric, name), parts_of(arrays, number, name, "without")["without"])
        for number, split, replicate in _counting(task, replicates)
    )


def recalls(
    task: Task,
    targets: Mapping[str, Target],
    replicates: Sequence[Replicate],
    arrays: Mapping[str, Array],
) -> dict[str, tuple[Array, Array]]:
    """Each of RECALLS, and "harmonic_mean" of the last two, as `primary_classes` gives the primary, from
    what is stored of the predictions."""
    name = task.primary.target or next(iter(targets))
    values: dict[str, list[tuple[int, float, Array]]] = {
        metric: [] for metric in (*RECALLS, "harmonic_mean")
    }
    for number, split, replicate in _counting(task, replicates):
        parts = parts_of(arrays, number, name)
        if "counts" not in parts:
            parts = parts_of(arrays, number, name, "best_seen", "best_unseen", "margin")
            parts |= counted(parts, parts["truth"].astype(np.int64), targets[name].size)
        rows, right, right_on_side = parts["counts"].astype(np.float64)
        unseen = frozenset(task.replicates.splits[split])
        is_unseen = np.isin(np.arange(len(rows)), sorted(unseen))
        sides = is_unseen, is_unseen, ~is_unseen
        for metric, hits, side in zip(RECALLS, (right_on_side, right, right), sides, strict=True):
            scored = side & (rows > 0)
            share = np.divide(hits, rows, out=np.zeros_like(hits), where=scored)
            value = replicate.score(metric, name)
            without = np.full(len(rows), np.nan)
            for c in left_out(task, unseen, rows):
                without[c] = (share.sum() - share[c]) / (scored.sum() - 1) if scored[c] else value
            values[metric].append((split, value, without))
        both = harmonic_mean(values["seen"][-1][2], values["unseen"][-1][2])
        values["harmonic_mean"].append((split, replicate.score("harmonic_mean", name), both))
    return {metric: _by_split(by_replicate) for metric, by_replicate in values.items()}


def recall_intervals(
    task: Task,
    targets: Mapping[str, Target],
    replicates: Sequence[Replicate],
    arrays: Mapping[str, Array],
) -> dict[str, Interval]:
    """What `recalls` gives, as means over class splits with the interval of leaving each class out, within
    [0, 1]."""
    n = len(arrays[f"truth/{task.primary.target or next(iter(targets))}"])
    return {
        metric: jackknife(float(np.mean(values)), without_each(without), bounds=SHARE, n=n)[0]
        for metric, (values, without) in recalls(task, targets, replicates, arrays).items()
    }


def _counting(task: Task, replicates: Sequence[Replicate]) -> Iterator[tuple[int, int, Replicate]]:
    """Number and class split of the replicates that count, and these."""
    for number, replicate in enumerate(replicates):
        if replicate.status == "ok" and counts(task, replicate.coords):
            split = replicate.coords.split
            if split is None or not 0 <= split < len(task.replicates.splits):
                raise BenchError(f"replicate {number}: the task has no class split {split}")
            yield number, split, replicate


def _by_split(values: Iterable[tuple[int, float, Array]]) -> tuple[Array, Array]:
    """Means by class split (s,), and without each class (s, C), of (split, value, values (C,))."""
    whole: dict[int, list[float]] = {}
    without: dict[int, list[Array]] = {}
    for split, value, parts in values:
        whole.setdefault(split, []).append(value)
        without.setdefault(split, []).append(parts)
    if not whole:
        raise BenchError("no replicate is ok")
    order = sorted(whole)
    return (
        np.array([np.mean(whole[split]) for split in order]),
        np.stack([np.mean(without[split], axis=0, dtype=np.float64) for split in order]),
    )


def without_each(without: Array) -> Array:
    """(k,) of (s, C): the mean without each class, over the splits that have it without that class."""
    is_number = ~np.isnan(without)
    classes = is_number.any(axis=0)
    sums, splits = np.where(is_number, without, 0)[:, classes].sum(axis=0), is_number[:, classes]
    means: Array = sums / splits.sum(axis=0)
    return means
