"""What every task keeps to."""

from __future__ import annotations

import numpy as np
from torch import nn

from bench import registry
from bench.data import Meta
from bench.grants import task_targets
from bench.lab import Lab
from bench.task import Task
from bench.testing._finding import Check, require

__all__ = ["task_checks"]


def _identity(state: str, *, seed: int, blocks: int | None = None) -> nn.Module:
    return nn.Identity()


def check_task_fits(case: tuple[Task, Lab]) -> None:
    """Its targets exist, its protocol accepts them, its diagnostics and baseline are there."""
    task, lab = case
    targets = task_targets(task, lab.dataset(task.dataset).meta)
    spec = task.resolved_protocol
    protocol = registry.load(spec.entry).build(
        meta=Meta(targets), trunk=_identity, seed=0, **spec.arguments
    )
    for name, target in targets.items():
        require(target.kind in protocol.accepts, f"{spec.text} predicts no {target.kind} ({name})")
    for diagnostic in task.diagnostics:
        registry.find("diagnostics", diagnostic)


def check_task_chance(case: tuple[Task, Lab]) -> None:
    """Chance is exact: for accuracy the share of the largest class among the test rows."""
    task, lab = case
    if task.primary.metric != "accuracy" or task.primary.target is None:
        return
    dataset = lab.dataset(task.dataset)
    if dataset.meta.targets[task.primary.target].kind != "classes" or task.replicates.splits:
        return
    labels = dataset.split("test").y[task.primary.target]
    prior = float(np.bincount(labels[labels >= 0]).max() / (labels >= 0).sum())
    require(
        abs(task.chance - prior) < 1e-9, f"chance = {task.chance}; the largest class has {prior!r}"
    )


def task_checks() -> list[Check[tuple[Task, Lab]]]:
    """For a task and the data that it needs."""
    return [check_task_fits, check_task_chance]
