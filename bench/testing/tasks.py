"""The checks of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

import numpy as np

from bench.data.samples import Meta, Target
from bench.data.semantics import tasks_dir
from bench.errors import BenchError
from bench.naming import registry
from bench.protocols.base import TransferProtocol
from bench.running.workspace import Workspace
from bench.scoring.class_splits import score
from bench.statistics.metrics import METRICS, row_metrics
from bench.tasks import files as taskfiles
from bench.tasks.families import FAMILIES
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Task
from bench.testing._finding import Check, Finding, require
from bench.testing._protocol_case import identity_trunk

Case = tuple[Task, Workspace]


def _targets(case: Case) -> dict[str, Target]:
    task, workspace = case
    try:
        return task_targets(task, workspace.dataset(task.dataset).meta)
    except BenchError as error:
        raise Finding(str(error)) from error


def _protocol(task: Task, targets: Mapping[str, Target]) -> TransferProtocol:
    spec = task.resolved_protocol
    protocol: TransferProtocol = registry.load(spec.entry).build(
        meta=Meta(targets), trunk=identity_trunk, seed=0, **spec.arguments
    )
    return protocol


def check_task_title(case: Case) -> None:
    """It has a title of one line."""
    title = case[0].title
    require(
        bool(title.strip()) and title.isprintable(), f"title = {title!r}; expected one line of text"
    )


def check_task_lock(case: Case) -> None:
    """A task of the package has its version and digest in tasks/LOCK; others have other names."""
    task, path = case[0], tasks_dir() / "LOCK"
    lines = dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    if task.name not in taskfiles.names():
        return
    current = f"{task.version} {task.digest}"
    require(task.name in lines, f"tasks/LOCK has no line for it; add: {task.name} {current}")
    require(
        lines[task.name] == current,
        f"tasks/LOCK has {lines[task.name]!r} for {task.name}, not {current!r}; raise version and "
        "update the line, or rename the file",
    )


def check_task_fits(case: Case) -> None:
    """Its targets exist, its protocol accepts them, and its diagnostics and baseline exist."""
    task, targets = case[0], _targets(case)
    accepts = _protocol(task, targets).accepts
    for name, target in targets.items():
        require(
            target.kind in accepts,
            f"{task.protocol} cannot predict {target.kind} targets ({name!r})",
        )
    for diagnostic in task.diagnostics:
        try:
            registry.find("diagnostics", diagnostic)
        except BenchError as error:
            raise Finding(str(error)) from error
    baseline = None if task.baseline is None else task.baseline.removesuffix("~0")
    exists = baseline in (None, "", *taskfiles.names()) and baseline != task.name
    require(exists, f"baseline = {task.baseline!r} is not another task; name one, or '~0'")


def check_task_primary(case: Case) -> None:
    """Its primary metric fits the kind of its target, and its interval fits the metric."""
    task, targets = case[0], _targets(case)
    primary = task.primary
    require(
        primary.target is None or primary.target in targets,
        f"primary.target = {primary.target!r} is not one of its targets ({', '.join(targets)})",
    )
    unseen = frozenset(task.removed_classes).union(*task.replicates.splits[:1])
    probabilistic = _protocol(task, targets).output == "log_probability"
    for name in targets if primary.target is None else [primary.target]:
        kind = targets[name].kind
        unseen_of_target = unseen if name == next(iter(targets)) else frozenset[int]()
        allowed = _metrics(targets[name], unseen_of_target, probabilistic=probabilistic)
        require(
            primary.metric in allowed,
            f"primary.metric = {primary.metric!r}: {name!r} ({kind}) has {', '.join(sorted(allowed))}",
        )
        require(
            primary.interval != "rows" or primary.metric in row_metrics(kind),
            f"{primary.metric!r} is not a mean over test rows; write interval = 'replicates'",
        )


def _metrics(target: Target, unseen: frozenset[int], *, probabilistic: bool) -> set[str]:
    """The metrics of such a target, from scoring two invented rows per class."""
    if target.kind == "number":
        truth = np.array([[0.0], [1.0]], dtype=np.float32).repeat(target.size, axis=1)
        return set(score("number", truth, truth, probabilistic=False))
    if target.kind == "binary":
        marks = np.array([[0], [1]]).repeat(target.size, axis=1)
        return set(score("binary", marks, -1.0 - marks, probabilistic=probabilistic))
    labels = np.arange(2 * target.size) % target.size
    uniform = np.full((len(labels), target.size), -np.log(target.size))
    valid = frozenset(c for c in unseen if 0 <= c < target.size)
    if len(valid) == target.size:
        return set()
    scores = score(
        "classes", labels, uniform, probabilistic=probabilistic, temperature=1.0, unseen=valid
    )
    return set(scores)


def check_task_chance(case: Case) -> None:
    """0 <= chance < ceiling <= 1, unless a lower metric is better; for accuracy, chance is exactly the
    share of the largest class among the test rows."""
    task, workspace = case
    require(
        not METRICS[task.primary.metric].higher_is_better or 0 <= task.chance < task.ceiling <= 1,
        f"chance = {task.chance}, ceiling = {task.ceiling}; expected 0 <= chance < ceiling <= 1",
    )
    if task.primary.metric != "accuracy" or task.primary.target is None:
        return
    dataset = workspace.dataset(task.dataset)
    if dataset.meta.targets[task.primary.target].kind != "classes" or task.replicates.splits:
        return
    labels = dataset.split("test").y[task.primary.target]
    prior = float(np.bincount(labels[labels >= 0]).max() / (labels >= 0).sum())
    require(
        abs(task.chance - prior) < 1e-9,
        f"chance = {task.chance}; the share of the largest class is {prior!r}",
    )


def check_task_classes(case: Case) -> None:
    """Removed and unseen classes exist, are named once each, and leave two or more to learn from."""
    task, targets = case[0], _targets(case)
    first, target = next(iter(targets.items()))
    for key, classes in [
        ("removed_classes", task.removed_classes),
        *((f"replicates.splits[{i}]", split) for i, split in enumerate(task.replicates.splits)),
    ]:
        if key == "removed_classes" and not classes:
            continue
        require(target.kind == "classes", f"{key}: {first!r} is a target without classes")
        require(bool(classes), f"{key} is empty; name the unseen classes")
        invalid = sorted(set(classes) - set(range(target.size)))
        require(
            not invalid, f"{key}: {invalid} are not among the {target.size} classes of {first!r}"
        )
        require(len(set(classes)) == len(classes), f"{key} names a class twice")
        remaining = target.size - len(set(classes) | set(task.removed_classes))
        require(remaining >= 2, f"{key} leaves {remaining} classes to learn; expected 2 or more")
        removed = sorted(set(classes) & set(task.removed_classes))
        require(
            key == "removed_classes" or not removed,
            f"{key}: {removed} are in removed_classes already; name other classes",
        )


def check_task_replicates(case: Case) -> None:
    """Its replicates differ, have the axis of its family, and each has labelled training rows."""
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
        f"encoder_seeds = {plan.encoder_seeds} of {plan.seeds} seeds; expected at most as many",
    )
    require(
        (bool(plan.shifts) or not plan.strengths) and all(0 < s <= 1 for s in plan.strengths),
        "strengths must lie in (0, 1], and need shifts",
    )
    require(
        plan.subsets == 1 or any(plan.per_class), "subsets need per_class, the labels per class"
    )
    family = FAMILIES[task.family]
    require(
        not family.needs or any(attrgetter(key)(task) for key in family.needs),
        f"family = {task.family!r} needs {' or '.join(family.needs)}",
    )
    require(
        not family.few_labels or not task.validation,
        "few labels, but the whole validation split; write validation = false, so that settings are "
        "chosen by the granted labels alone",
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
    """For a task and its data, the most basic check first."""
    return [
        check_task_title,
        check_task_fits,
        check_task_classes,
        check_task_primary,
        check_task_chance,
        check_task_replicates,
        check_task_lock,
    ]
