"""Who sees what in a replicate: rows, classes and labels, for the encoder and for the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Meta, Samples, Target, missing
from bench.data.semantics import read_semantics
from bench.errors import BenchError
from bench.seeding import generator
from bench.tasks.task import Coords, Task

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """Row numbers of the data set's train and val splits, and the labels of these rows.

    `encoder_rows` are the train rows whose images a bare encoder is trained on.
    """

    meta: Meta
    train: Array
    train_labels: Mapping[str, Array]
    val: Array | None
    val_labels: Mapping[str, Array]
    encoder_rows: Array
    encoder_labels: Mapping[str, Array]

    @property
    def labelled(self) -> Array:
        """Which of the train rows have a granted label of any target: bool (n,)."""
        has_label = [
            (~missing(self.meta.targets[name], y)).reshape(len(y), -1).any(axis=1)
            for name, y in self.train_labels.items()
        ]
        labelled: Array = np.any(has_label, axis=0)
        return labelled

    @property
    def n_train(self) -> int:
        """How many training rows have a granted label."""
        return int(self.labelled.sum())


def task_targets(task: Task, meta: Meta) -> dict[str, Target]:
    """The task's targets, in its order; the first has the signatures of the task's table, where it names
    one. Raises BenchError for a target that the data set lacks, and a class that the table lacks."""
    names = task.targets or tuple(meta.targets)
    for name in names:
        if name not in meta.targets:
            raise BenchError(
                f"task {task.name!r}: {task.dataset} has no target {name!r} "
                f"(targets: {', '.join(meta.targets)})"
            )
    targets = {name: meta.targets[name] for name in names}
    if task.semantics is not None:
        first = targets[names[0]]
        if first.kind != "classes":
            raise BenchError(
                f"task {task.name!r}: semantics needs a target of classes; {names[0]!r} is not one"
            )
        targets[names[0]] = replace(first, semantics=read_semantics(task.semantics).of(first.names))
    return targets


def grant(
    task: Task, targets: Mapping[str, Target], train: Samples, val: Samples, at: Coords
) -> Grant:
    """What replicate `at` may see. Deterministic: drawn from the task's and the replicate's numbers.

    Few labels: one permutation a subset seed, so that smaller sets lie within larger ones. Protocols
    that tune get the labelled training rows alone, while the encoder is trained on all images.
    """
    first = next(iter(targets))
    unseen = frozenset(task.removed_classes)
    if at.split is not None:
        unseen |= frozenset(task.replicates.splits[at.split])
    if unseen and targets[first].kind != "classes":
        raise BenchError(
            f"task {task.name!r}: removed classes need a target of classes; {first!r} is not one"
        )
    base = _limited(task, train.y[first])
    allowed = base[~np.isin(train.y[first][base], sorted(unseen))] if unseen else base
    meta = Meta({**targets, first: replace(targets[first], unseen=unseen)})
    labels = {name: train.y[name] for name in targets}
    if at.per_class is not None:
        if targets[first].kind != "classes":
            raise BenchError(
                f"task {task.name!r}: per_class needs a target of classes; {first!r} is not one"
            )
        chosen = _few(train.y[first], allowed, at.per_class, at.subset or 0)
        labels = {name: _only(targets[name], y, chosen) for name, y in labels.items()}
    if unseen:
        labels = {name: _only(targets[name], y, allowed) for name, y in labels.items()}
    val_rows = (
        np.flatnonzero(~np.isin(val.y[first], sorted(unseen))) if unseen else np.arange(len(val))
    )
    val_labels = {name: val.y[name][val_rows] for name in targets}
    train_labels = {name: y[allowed] for name, y in labels.items()}
    if at.control in ("shuffled_labels", "shuffled_auxiliary"):
        spared = {first} if at.control == "shuffled_auxiliary" else set()
        train_labels = _shuffled(train_labels, spared, at, "train")
        val_labels = _shuffled(val_labels, spared, at, "val")
    if at.control == "shuffled_signatures":
        meta = Meta({name: _shuffled_signatures(t, at) for name, t in meta.targets.items()})
    encoder_rows = base if task.transductive else allowed
    return Grant(
        meta=meta,
        train=allowed,
        train_labels=train_labels,
        val=val_rows if task.validation else None,
        val_labels=val_labels,
        encoder_rows=encoder_rows,
        encoder_labels={name: y[encoder_rows] for name, y in labels.items()},
    )


def _limited(task: Task, labels: Array) -> Array:
    """The task's train rows: all, or `train_limit` of them, each class by its share."""
    rows = np.arange(len(labels))
    if task.train_limit is None or task.train_limit >= len(labels):
        return rows
    order = generator(0, "train_limit").permutation(rows)
    if labels.ndim > 1 or labels.dtype.kind == "f":
        return np.sort(order[: task.train_limit])
    # Rows take turns by their place within their class, scaled by its size: every prefix of the
    # order is stratified, and a smaller limit lies within a larger one.
    place = np.empty(len(rows))
    for c in np.unique(labels):
        class_rows = order[labels[order] == c]
        place[class_rows] = (np.arange(len(class_rows)) + 0.5) / len(class_rows)
    return np.sort(order[np.argsort(place[order], kind="stable")][: task.train_limit])


def _few(labels: Array, allowed: Array, per_class: int, subset: int) -> Array:
    """`per_class` rows of each class among the allowed ones, nested over sizes."""
    drawn = []
    for c in np.unique(labels[allowed]):
        if c >= 0:
            class_rows = allowed[labels[allowed] == c]
            if len(class_rows) < per_class:
                raise BenchError(
                    f"class {c} has {len(class_rows)} training rows; per_class = {per_class} needs more"
                )
            drawn.append(generator(subset, f"few:{c}").permutation(class_rows)[:per_class])
    if not drawn:
        raise BenchError("no training row has a label of a class that is not removed")
    return np.sort(np.concatenate(drawn))


def _only(target: Target, labels: Array, rows: Array) -> Array:
    """Labels at `rows`, missing elsewhere."""
    granted = np.full_like(labels, np.nan if target.kind == "number" else -1)
    granted[rows] = labels[rows]
    return granted


def _shuffled(
    labels: Mapping[str, Array], spared: set[str], at: Coords, split: str
) -> dict[str, Array]:
    """One permutation of the rows for all targets but the spared ones."""
    count = len(next(iter(labels.values())))
    order = generator(at.head_seed, f"{at.control}:{split}").permutation(count)
    return {name: y if name in spared else y[order] for name, y in labels.items()}


def _shuffled_signatures(target: Target, at: Coords) -> Target:
    if target.semantics is None:
        return target
    rng = generator(at.head_seed, f"shuffled_signatures:{at.split}")
    order = rng.permutation(target.size)
    while (order == np.arange(target.size)).any():  # a derangement: no class keeps its signature
        order = rng.permutation(target.size)
    return replace(target, semantics=target.semantics[order])
