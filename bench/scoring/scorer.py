"""The scorer: the one place that holds test labels, and makes scores and intervals of predictions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.data.samples import Array, Meta, Target, missing
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
    jackknife,
    log_area_weights,
    mean_interval,
    student_interval,
)
from bench.statistics.metrics import METRICS, row_metrics
from bench.tasks.families import FAMILIES
from bench.tasks.task import Coords, Task

Run = tuple[Any, ...]  # seeds of encoder and head, class split, label subset


class Scorer:
    """Takes a replicate's predictions, gives scores, keeps what is stored of the predictions.

    before: called once, before the first of the `labels` of test rows (n, ...) is used: it writes the look
    down. What it raises is raised by `score`, and nothing is scored.
    """

    def __init__(
        self,
        task: Task,
        targets: Mapping[str, Target],
        labels: Mapping[str, Array],
        *,
        before: Callable[[], None],
    ) -> None:
        self.task, self.targets, self._labels, self._before = task, targets, labels, before
        self._scored: set[int] = set()
        self.arrays: dict[str, Array] = {}  # none before the first score

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
        """Scores by target, and by "target:variant", of replicate `number`, which has one chance.

        meta: the targets with their unseen classes; output: the protocol's kind of predictions, which are
        (n, k) by target and variant; report: of the fit, with temperatures; control: of shuffled labels.
        Raises BenchError for missing and unknown targets, wrong shapes, and a second call.
        """
        if number in self._scored:
            raise BenchError(f"replicate {number} has its scores: test labels are read once")
        if not self.arrays:
            self._before()
            self.arrays = {
                f"truth/{name}": encode_truth(target.kind, self._labels[name])
                for name, target in self.targets.items()
            }
        self._scored.add(number)
        plain = {name for name in predictions if ":" not in name}
        if plain != set(self.targets):
            raise BenchError(f"predictions of {sorted(plain)}; expected {sorted(self.targets)}")
        scores: dict[str, dict[str, float]] = {}
        for column, prediction in predictions.items():
            name = column.partition(":")[0]
            if name not in self.targets:
                raise BenchError(f"no target for {column!r}; expected {sorted(self.targets)}")
            target, truth = self.targets[name], self._labels[name]
            if prediction.shape != (len(truth), target.size):
                expected = f"expected {(len(truth), target.size)}"
                raise BenchError(f"predictions of {column!r} are {prediction.shape}; {expected}")
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
    primary, bounds = task.primary, METRICS[task.primary.metric].bounds
    n = max(len(array) for name, array in arrays.items() if name.startswith("truth/"))
    if primary.interval == "rows":
        rows = _rows(task, targets, replicates, arrays)
        interval = mean_interval(np.stack(list(rows.values())), list(rows), bounds)
    elif primary.interval == "classes":
        by_split, without = primary_classes(task, targets, replicates, arrays)
        mean = float(np.mean(by_split))
        interval, _ = jackknife(mean, without_each(without), bounds=bounds, n=n)
    else:
        scores = _by_run(
            task, replicates, lambda _, r: np.array([r.score(primary.metric, primary.target)])
        )
        values = [float(score[0]) for score in scores.values()]
        interval = student_interval(values, bounds=bounds, n=n)
    return PrimaryScore(
        metric=primary.metric,
        target=primary.target,
        reduction=primary.reduction,
        value=interval.value,
        low=interval.low,
        high=interval.high,
    )


def rescored(record: Record, task: Task, arrays: Mapping[str, Array]) -> PrimaryScore:
    """The primary of an ok record by today's statistics, from its stored predictions."""
    return _primary(task, targets_of(record), record.replicates, arrays)


def primary_rows(record: Record, task: Task, arrays: Mapping[str, Array]) -> dict[Run, Array]:
    """Replicate -> (n,) row scores whose mean is its primary metric, from stored predictions.

    Raises BenchError where the metric is not a mean over rows.
    """
    return _rows(task, targets_of(record), record.replicates, arrays)


def targets_of(record: Record) -> dict[str, Target]:
    """The targets that its predictions are of, without names."""
    kinds = record.predictions.kinds if record.predictions else {}
    return {name: Target(kind, size, ()) for name, (kind, size) in kinds.items()}


def _rows(
    task: Task,
    targets: Mapping[str, Target],
    replicates: Sequence[Replicate],
    arrays: Mapping[str, Array],
) -> dict[Run, Array]:
    """Row scores (n,) of each run, its sizes (and shifts) already reduced to one."""
    return _by_run(task, replicates, lambda number, _: _rows_of(task, targets, arrays, number))


def _rows_of(
    task: Task, targets: Mapping[str, Target], arrays: Mapping[str, Array], number: int
) -> Array:
    """Row scores (n,) of one replicate, the mean over targets where the primary metric is."""
    names = targets if task.primary.target is None else [task.primary.target]
    scores = []
    for name in names:
        parts = parts_of(arrays, number, name)  # raises unless the target is one of these
        scores.append(_row_scores(task.primary.metric, targets[name], parts))
    mean: Array = np.mean(scores, axis=0)
    return mean


def part_interval(
    record: Record, task: Task, arrays: Mapping[str, Array], part: Collection[Coords]
) -> Interval:
    """The primary metric of the replicates with coordinates in `part`, such as those of one shift: the
    mean of their scores, and the interval of `mean_interval` over test rows and replicates from their
    stored predictions.

    Raises BenchError where no replicate belongs to it, and where the metric is not a mean over rows.
    """
    primary, scores, rows = task.primary, list[float](), dict[Run, Array]()
    for number, replicate in enumerate(record.replicates):
        at = replicate.coords
        if replicate.status == "ok" and at in part:
            scores.append(replicate.score(primary.metric, primary.target))
            run = at.encoder_seed, at.head_seed, at.split, at.subset
            rows[run] = _rows_of(task, targets_of(record), arrays, number)
    if not rows:
        raise BenchError("no replicate is ok")
    bounds = METRICS[primary.metric].bounds
    interval = mean_interval(np.stack(list(rows.values())), list(rows), bounds)
    return replace(interval, value=float(np.mean(scores)))


def _by_run(
    task: Task, replicates: Sequence[Replicate], read: Callable[[int, Replicate], Array]
) -> dict[Run, Array]:
    """What `read` gives of the replicates that count, sizes and shifts reduced as the task says."""
    groups: dict[Run, list[tuple[float, Array]]] = {}
    for number, replicate in enumerate(replicates):
        at = replicate.coords
        if replicate.status == "ok" and counts(task, at):
            scores = float(replicate.n_train), read(number, replicate)
            run = at.encoder_seed, at.head_seed, at.split, at.subset
            groups.setdefault(run, []).append(scores)
    if task.primary.reduction == "log_area":  # the fit on all labels ends the curve of every subset
        for run in [run for run in groups if run[3] is None and len(groups) > 1]:
            full = groups.pop(run)
            for curve in (curve for curve in groups if curve[:3] == run[:3]):
                groups[curve] += full
    if not groups:
        raise BenchError("no replicate is ok")
    return {run: _weighted(task, members) for run, members in groups.items()}


def _weighted(task: Task, members: Sequence[tuple[float, Array]]) -> Array:
    """One row score a row: the mean, or the area over log2 of the training set's size."""
    if task.primary.reduction == "mean":
        weights = np.full(len(members), 1 / len(members))
    else:
        weights = log_area_weights([n for n, _ in members])
    weighted: Array = weights @ np.stack([rows for _, rows in members])
    return weighted


def _row_scores(metric: str, target: Target, parts: Mapping[str, Array]) -> Array:
    """(n,) whose mean over all rows is the metric; rows without a label count 0.

    Raises BenchError where the metric is not a mean over rows.
    """
    formula = METRICS[metric].formula(target.kind)
    if formula.rows is None:
        raise BenchError(
            f"{metric} of a {target.kind} target is not a mean over test rows "
            f"({', '.join(row_metrics(target.kind))} are); use interval = 'replicates'"
        )
    if absent := set(formula.stored) - set(parts):
        raise BenchError(f"{metric} needs {sorted(absent)} of the predictions, which is not stored")
    stored = decode(target.kind, parts, parts["truth"])
    stored["labelled"] = ~missing(target, stored["truth"])
    if target.kind != "classes":  # a column without labels has no score
        has_labels = stored["labelled"].any(axis=0)
        stored = {name: array[:, has_labels] for name, array in stored.items()}
    return formula.rows(stored)
