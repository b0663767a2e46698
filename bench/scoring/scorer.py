"""The scorer: the one place that holds test labels, and makes scores and intervals of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Meta, Target, missing
from bench.errors import BenchError
from bench.results.predictions import decode, encode, encode_truth, parts_of
from bench.results.record import PrimaryScore, Record, Replicate
from bench.scoring.class_splits import (
    class_split_parts,
    counts,
    primary_classes,
    score,
    without_each,
)
from bench.statistics.intervals import (
    Interval,
    bootstrap_mean,
    jackknife,
    log_area_weights,
    student_interval,
)
from bench.statistics.metrics import METRICS, row_metrics
from bench.tasks.families import FAMILIES
from bench.tasks.task import Coords, Task

Array = npt.NDArray[Any]


class Scorer:
    """Takes a replicate's predictions, gives scores, keeps what is stored of the predictions."""

    def __init__(
        self, task: Task, targets: Mapping[str, Target], labels: Mapping[str, Array]
    ) -> None:
        self.task, self.targets, self._labels = task, targets, labels
        self._scored: set[int] = set()
        self.arrays: dict[str, Array] = {
            f"truth/{name}": encode_truth(target.kind, labels[name])
            for name, target in targets.items()
        }

    def score(
        self,
        number: int,
        meta: Meta,
        output: str,
        predictions: Mapping[str, Array],
        report: Mapping[str, Any],
        *,
        control: bool = False,
    ) -> dict[str, dict[str, float]]:
        """Scores by target, and by "target:variant", of replicate `number`.

        Raises BenchError for targets that are missing or not asked for, wrong shapes, and a replicate
        that was scored before.
        """
        if number in self._scored:
            raise BenchError(f"replicate {number} has its scores: test labels are read once")
        self._scored.add(number)
        plain = {name for name in predictions if ":" not in name}
        if plain != set(self.targets):
            raise BenchError(
                f"predictions are of {sorted(plain)}; {sorted(self.targets)} are wanted"
            )
        scores: dict[str, dict[str, float]] = {}
        for column, prediction in predictions.items():
            name = column.partition(":")[0]
            if name not in self.targets:
                raise BenchError(f"no target for {column!r}; {sorted(self.targets)} are wanted")
            target, truth = self.targets[name], self._labels[name]
            if prediction.shape != (len(truth), target.size):
                raise BenchError(
                    f"predictions of {column!r} are {prediction.shape}; "
                    f"{(len(truth), target.size)} is wanted"
                )
            probabilistic, unseen = output == "log_probability", meta.targets[name].unseen
            scores[column] = score(
                target.kind,
                truth,
                prediction,
                probabilistic=probabilistic,
                temperature=report.get("temperature", {}).get(column),
                unseen=unseen,
            )
            if column != name or (unseen and control):  # controls with unseen classes are many
                continue
            if unseen:
                parts = class_split_parts(self.task, unseen, prediction, truth)
            else:
                parts = encode(target.kind, prediction, truth, probabilistic=probabilistic)
                if FAMILIES[self.task.family].class_alone:
                    parts = {part: parts[part] for part in parts if part not in ("top", "true")}
            self.arrays |= {f"{number}/{name}/{part}": array for part, array in parts.items()}
        return scores

    def primary(self, replicates: Sequence[Replicate]) -> PrimaryScore:
        """The cell's own score with its 95 % interval, as the task names it."""
        return _primary(self.task, self.targets, replicates, self.arrays)


def _primary(
    task: Task,
    targets: Mapping[str, Target],
    replicates: Sequence[Replicate],
    arrays: Mapping[str, Array],
) -> PrimaryScore:
    chosen = task.primary
    if chosen.interval == "rows":
        rows = _reduced(task, targets, replicates, arrays)
        interval = bootstrap_mean(np.stack(list(rows.values())), list(rows))
    elif chosen.interval == "classes":
        values, without = primary_classes(task, targets, replicates, arrays)
        plain, _ = jackknife(float(np.mean(values)), without_each(without))
        interval = Interval(plain.value, max(plain.low, 0.0), min(plain.high, 1.0))
    else:
        interval = student_interval(_values(task, replicates))
    return PrimaryScore(
        metric=chosen.metric,
        target=chosen.target,
        reduction=chosen.reduction,
        value=interval.value,
        low=interval.low,
        high=interval.high,
    )


def rescored(record: Record, task: Task, arrays: Mapping[str, Array]) -> PrimaryScore:
    """The primary of an ok record by today's statistics, from its stored predictions."""
    return _primary(task, targets_of(record), record.replicates, arrays)


def primary_rows(
    record: Record, task: Task, arrays: Mapping[str, Array]
) -> dict[tuple[Any, ...], Array]:
    """Replicate -> (n,) row scores whose mean is its primary metric, from stored predictions.

    Raises BenchError where the metric is not a mean over rows.
    """
    return _reduced(task, targets_of(record), record.replicates, arrays)


def targets_of(record: Record) -> dict[str, Target]:
    """The targets that its predictions are of, without names."""
    kinds = record.predictions.kinds if record.predictions else {}
    return {name: Target(kind, size, ()) for name, (kind, size) in kinds.items()}


def _reduced(
    task: Task,
    targets: Mapping[str, Target],
    replicates: Sequence[Replicate],
    arrays: Mapping[str, Array],
) -> dict[tuple[Any, ...], Array]:
    """Row scores (n,) of each replicate, its sizes (and shifts) already reduced to one."""
    groups: dict[tuple[Any, ...], list[tuple[float, Array]]] = {}
    for number, replicate in enumerate(replicates):
        coords = replicate.coords
        if replicate.status != "ok" or not counts(task, coords):
            continue
        names = targets if task.primary.target is None else [task.primary.target]
        scores = []
        for name in names:
            parts = parts_of(arrays, number, name)  # so that the target is one of these
            scores.append(_row_scores(task.primary.metric, targets[name], parts))
        groups.setdefault(_key(coords), []).append(
            (float(replicate.n_train), np.mean(scores, axis=0))
        )
    return _joined(task, groups)


def _key(coords: Coords) -> tuple[Any, ...]:
    return coords.encoder_seed, coords.head_seed, coords.split, coords.subset


def _joined(
    task: Task, groups: dict[tuple[Any, ...], list[tuple[float, Array]]]
) -> dict[tuple[Any, ...], Array]:
    """One score a group: sizes and shifts reduced as the task says."""
    if task.primary.reduction == "log_area":  # the fit on all labels ends the curve of every subset
        for key in [key for key in groups if key[3] is None and len(groups) > 1]:
            full = groups.pop(key)
            for curve in (curve for curve in groups if curve[:3] == key[:3]):
                groups[curve] += full
    if not groups:
        raise BenchError("no replicate is ok")
    return {key: _weighted(task, members) for key, members in groups.items()}


def _weighted(task: Task, members: Sequence[tuple[float, Array]]) -> Array:
    """One row score a row: the mean, or the area over log2 of the training set's size."""
    if task.primary.reduction == "mean":
        weights = np.full(len(members), 1 / len(members))
    else:
        weights = log_area_weights([n for n, _ in members])
    result: Array = weights @ np.stack([rows for _, rows in members])
    return result


def _row_scores(metric: str, target: Target, parts: Mapping[str, Array]) -> Array:
    """(n,) whose mean over all rows is the metric; rows without a label count 0.

    Raises BenchError where the metric is not a mean over rows.
    """
    formula = METRICS[metric].formula(target.kind)
    if formula is None or formula.rows is None:
        raise BenchError(
            f"{metric} of a {target.kind} target is not a mean over test rows "
            f"({', '.join(row_metrics(target.kind))} are); use interval = 'replicates'"
        )
    stored = decode(target.kind, parts, parts["truth"])
    if missing_parts := set(formula.stored) - set(stored):
        raise BenchError(f"{metric} needs {sorted(missing_parts)} of the predictions; not stored")
    stored["labelled"] = ~missing(target, stored["truth"])
    if target.kind != "classes":  # a column without labels has no score
        has_labels = stored["labelled"].any(axis=0)
        stored = {name: array[:, has_labels] for name, array in stored.items()}
    return formula.rows(stored)


def _values(task: Task, replicates: Sequence[Replicate]) -> list[float]:
    """The primary metric of each replicate that counts."""
    groups: dict[tuple[Any, ...], list[tuple[float, Array]]] = {}
    for replicate in replicates:
        coords = replicate.coords
        if replicate.status == "ok" and counts(task, coords):
            score = replicate.score(task.primary.metric, task.primary.target)
            groups.setdefault(_key(coords), []).append(
                (float(replicate.n_train), np.array([score]))
            )
    return [float(value[0]) for value in _joined(task, groups).values()]
