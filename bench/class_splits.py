"""Scores over class splits: what every calibration tells, what is stored, and intervals over classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data import Target
from bench.errors import BenchError
from bench.metrics import score as plain_score
from bench.record import counted, encode_stacked
from bench.solvers.stacking import harmonic, sweep
from bench.task import Task

__all__ = ["counts", "kept_of_classes", "primary_classes", "score", "without_each"]

Array = npt.NDArray[Any]


def score(
    kind: str,
    truth: Array,
    prediction: Array,
    *,
    unseen: frozenset[int] = frozenset(),
    **given: Any,
) -> dict[str, float]:
    """`metrics.score`, and where classes are unseen what needs every calibration: `ausuc`, the area under
    the seen-unseen curve (Chao et al. 2016, arXiv:1605.04253), and `oracle_harmonic_mean`, the best that
    somebody with the test labels could choose."""
    found = plain_score(kind, truth, prediction, unseen=unseen, **given)
    if unseen and kind == "classes":
        known = truth >= 0
        curve = sweep(prediction[known], truth[known], unseen)
        found["ausuc"] = curve.area
        found["oracle_harmonic_mean"] = float(harmonic(curve.seen, curve.unseen).max())
    return found


def kept_of_classes(
    task: Task, unseen: frozenset[int], scores: Array, truth: Array
) -> dict[str, Array]:
    """What is stored of scores (n, C) where classes are unseen: for a headline task the rivals of each row
    and their margin, else how many of each class are right; where the interval is over classes also the
    primary metric without the rows of each seen one."""
    kept = encode_stacked(scores, sorted(unseen))
    if task.baseline is not None or task.transductive:
        kept = counted(kept, truth, scores.shape[1])
    if task.primary.interval == "classes":
        without = np.full(scores.shape[1], np.nan, np.float32)
        seen = sorted(set(np.unique(truth[truth >= 0]).tolist()) - unseen)
        for c in seen if len(seen) > 1 else []:
            found = score(
                "classes", truth[truth != c], scores[truth != c], probabilistic=False, unseen=unseen
            )
            without[c] = found[task.primary.metric]
        kept["without"] = without
    return kept


def counts(task: Task, coords: Mapping[str, Any]) -> bool:
    """Is this replicate part of the primary score?"""
    shifted = coords["shift"] is not None
    return coords["control"] is None and shifted == (task.family == "shift")


def primary_classes(
    task: Task,
    targets: Mapping[str, Target],
    replicates: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, Array],
) -> tuple[Array, Array]:
    """The primary metric of each class split (s,), and without the rows of each class (s, C): NaN where
    the class is unseen. Replicates of one split are averaged."""
    name = task.primary.target or next(iter(targets))
    values: dict[int, list[float]] = {}
    without: dict[int, list[Array]] = {}
    for number, replicate in enumerate(replicates):
        coords = replicate["coords"]
        if replicate["status"] == "ok" and counts(task, coords):
            values.setdefault(coords["split"], []).append(
                float(replicate["scores"][name][task.primary.metric])
            )
            without.setdefault(coords["split"], []).append(arrays[f"{number}/{name}/without"])
    if not values:
        raise BenchError("no replicate is ok")
    order = sorted(values)
    return (
        np.array([np.mean(values[split]) for split in order]),
        np.stack([np.mean(without[split], axis=0, dtype=np.float64) for split in order]),
    )


def without_each(without: Array) -> Array:
    """(k,) of (s, C): the mean without each class, over the splits that see it."""
    seen = ~np.isnan(without)
    some = seen.any(axis=0)
    found: Array = np.where(seen, without, 0)[:, some].sum(axis=0) / seen[:, some].sum(axis=0)
    return found
