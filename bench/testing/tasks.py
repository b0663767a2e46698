"""What every task keeps to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from torch import nn

from bench.data.samples import Meta, Target
from bench.errors import BenchError
from bench.naming import registry
from bench.protocols.base import TransferProtocol
from bench.running.workspace import Workspace
from bench.scoring.class_splits import score
from bench.scoring.scorer import ROW_METRICS
from bench.statistics.metrics import HIGHER_IS_BETTER
from bench.tasks import files as taskfiles
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Task
from bench.testing._finding import Check, Finding, require

__all__ = ["task_checks"]

Case = tuple[Task, Workspace]


def _identity(
    state: Literal["trained", "untrained"], *, seed: int, blocks: int | None = None
) -> nn.Module:
    return nn.Identity()


def _targets(case: Case) -> dict[str, Target]:
    task, workspace = case
    try:
        return task_targets(task, workspace.dataset(task.dataset).meta)
    except BenchError as error:
        raise Finding(str(error)) from error


def _protocol(task: Task, targets: Mapping[str, Target]) -> TransferProtocol:
    spec = task.resolved_protocol
    found: TransferProtocol = registry.load(spec.entry).build(
        meta=Meta(targets), trunk=_identity, seed=0, **spec.arguments
    )
    return found


def check_task_title(case: Case) -> None:
    """Its title says in one line what is asked."""
    title = case[0].title
    require(bool(title.strip()) and title.isprintable(), f"title = {title!r}; one line is wanted")


def check_task_lock(case: Case) -> None:
    """tasks/LOCK has its version and digest, where its name is one of the shipped tasks'."""
    task, path = case[0], taskfiles.tasks_dir() / "LOCK"
    lines = dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    if task.name not in taskfiles.names():
        return
    now = f"{task.version} {task.digest}"
    require(
        lines.get(task.name) == now,
        f"tasks/LOCK has {lines.get(task.name)!r} for {task.name}, not {now!r}; raise version and write "
        "the line, or name the file otherwise",
    )


def check_task_fits(case: Case) -> None:
    """Its targets exist, its protocol accepts them, its diagnostics and baseline are there."""
    task, targets = case[0], _targets(case)
    accepts = _protocol(task, targets).accepts
    for name, target in targets.items():
        require(
            target.kind in accepts, f"{task.protocol} predicts no {target.kind} target ({name!r})"
        )
    for diagnostic in task.diagnostics:
        try:
            registry.find("diagnostics", diagnostic)
        except BenchError as error:
            raise Finding(str(error)) from error
    other = None if task.baseline is None else task.baseline.removesuffix("~0")
    there = other in (None, "", *taskfiles.names()) and other != task.name
    require(there, f"baseline = {task.baseline!r} is no other task; name one, or '~0'")


def check_task_primary(case: Case) -> None:
    """Its primary metric is one of its target's kind, and its interval one that this metric can have."""
    task, targets = case[0], _targets(case)
    chosen = task.primary
    require(
        chosen.target is None or chosen.target in targets,
        f"primary.target = {chosen.target!r} is none of its targets ({', '.join(targets)})",
    )
    unseen = frozenset(task.removed_classes).union(*task.replicates.splits[:1])
    probabilistic = _protocol(task, targets).output == "log_probability"
    for name in targets if chosen.target is None else [chosen.target]:
        kind = targets[name].kind
        own = unseen if name == next(iter(targets)) else frozenset[int]()
        allowed = _metrics(targets[name], own, probabilistic=probabilistic)
        require(
            chosen.metric in allowed,
            f"primary.metric = {chosen.metric!r}: {name!r} ({kind}) has {', '.join(sorted(allowed))}",
        )
        require(
            chosen.interval != "rows" or chosen.metric in ROW_METRICS[kind],
            f"{chosen.metric!r} is no mean over test rows; write interval = 'replicates'",
        )


def _metrics(target: Target, unseen: frozenset[int], *, probabilistic: bool) -> set[str]:
    """What is measured of such a target, by measuring it on two made-up rows a class."""
    if target.kind == "number":
        truth = np.array([[0.0], [1.0]], dtype=np.float32).repeat(target.size, axis=1)
        return set(score("number", truth, truth, probabilistic=False))
    if target.kind == "binary":
        marks = np.array([[0], [1]]).repeat(target.size, axis=1)
        return set(score("binary", marks, -1.0 - marks, probabilistic=probabilistic))
    labels = np.arange(2 * target.size) % target.size
    even = np.full((len(labels), target.size), -np.log(target.size))
    known = frozenset(c for c in unseen if 0 <= c < target.size)
    if len(known) == target.size:
        return set()
    found = score(
        "classes", labels, even, probabilistic=probabilistic, temperature=1.0, unseen=known
    )
    return set(found)


def check_task_chance(case: Case) -> None:
    """Chance is exact: for accuracy the share of the largest class among the test rows. It lies in
    [0, 1], below the ceiling, where the metric does."""
    task, workspace = case
    require(
        not HIGHER_IS_BETTER[task.primary.metric] or 0 <= task.chance < task.ceiling <= 1,
        f"chance = {task.chance}, ceiling = {task.ceiling}; they lie in [0, 1], chance below",
    )
    if task.primary.metric != "accuracy" or task.primary.target is None:
        return
    dataset = workspace.dataset(task.dataset)
    if dataset.meta.targets[task.primary.target].kind != "classes" or task.replicates.splits:
        return
    labels = dataset.split("test").y[task.primary.target]
    prior = float(np.bincount(labels[labels >= 0]).max() / (labels >= 0).sum())
    require(
        abs(task.chance - prior) < 1e-9, f"chance = {task.chance}; the largest class has {prior!r}"
    )


def check_task_classes(case: Case) -> None:
    """Classes that it removes, or holds unseen, are there, each once, and leave two to learn from."""
    task, targets = case[0], _targets(case)
    first, target = next(iter(targets.items()))
    for what, classes in [
        ("removed_classes", task.removed_classes),
        *((f"replicates.splits[{i}]", split) for i, split in enumerate(task.replicates.splits)),
    ]:
        if what == "removed_classes" and not classes:
            continue
        require(target.kind == "classes", f"{what}: {first!r} has no classes to leave out")
        require(bool(classes), f"{what} is empty; name the unseen classes")
        odd = sorted(set(classes) - set(range(target.size)))
        require(not odd, f"{what}: {odd} are none of the {target.size} classes of {first!r}")
        require(len(set(classes)) == len(classes), f"{what} names a class twice")
        gone = set(classes) | set(task.removed_classes)
        require(
            target.size - len(gone) >= 2,
            f"{what} leaves {target.size - len(gone)} classes to learn",
        )
        twice = sorted(set(classes) & set(task.removed_classes))
        require(
            what == "removed_classes" or not twice,
            f"{what}: {twice} are removed already; keep them apart",
        )


def check_task_replicates(case: Case) -> None:
    """Its replicates differ, suit its family, and can each be granted rows and labels."""
    task, workspace = case
    plan = task.replicates
    axes = {
        "per_class": plan.per_class, "splits": [frozenset(s) for s in plan.splits],
        "shifts": plan.shifts, "strengths": plan.strengths, "controls": plan.controls,
    }  # fmt: skip
    for name, values in axes.items():
        require(len(set(values)) == len(values), f"replicates.{name} repeats a value")
    require(
        plan.encoder_seeds is None or plan.encoder_seeds <= plan.seeds,
        f"encoder_seeds = {plan.encoder_seeds} of {plan.seeds} seeds; at most as many are wanted",
    )
    good = bool(plan.shifts) or not plan.strengths
    require(good and all(0 < s <= 1 for s in plan.strengths), "strengths lie in (0, 1], of shifts")
    require(
        plan.subsets == 1 or any(plan.per_class), "subsets are drawn of few labels: give per_class"
    )
    wanted = {
        "few_labels": ("replicates.per_class", bool(plan.per_class)),
        "shift": ("replicates.shifts", bool(plan.shifts)),
        "zeroshot": (
            "replicates.splits or removed_classes",
            bool(plan.splits or task.removed_classes),
        ),
    }
    what, there = wanted.get(task.family, ("", True))
    require(there, f"family = {task.family!r} without {what}")
    require(
        task.family != "few_labels" or not task.validation,
        "few labels with the whole validation split; write validation = false, so that only granted "
        "labels choose",
    )
    dataset = workspace.dataset(task.dataset)
    train, val, targets = dataset.split("train"), dataset.split("val"), _targets(case)
    for at in task.coords(seeds=1, seeded=(False, False), per_split=False):
        try:
            granted = grant(task, targets, train, val, at)
        except BenchError as error:
            raise Finding(f"a replicate cannot be granted its labels: {error}") from error
        require(granted.n_train > 0, f"a replicate ({at}) has no labelled training row")


def task_checks() -> list[Check[Case]]:
    """For a task and the data that it needs; what is basic comes first."""
    return [
        check_task_title,
        check_task_fits,
        check_task_classes,
        check_task_primary,
        check_task_chance,
        check_task_replicates,
        check_task_lock,
    ]
