"""The check kit on tasks with planted faults, each caught by its own check, and by no other first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.datasets.base import DataSets
from bench.running.workspace import Workspace
from bench.tasks import files as taskfiles
from bench.tasks.task import Primary, Replicates, Task
from bench.testing import run_checks, task_checks
from tests.kit import TOYS

DIGITS = taskfiles.load("digits-knn")
MINE = Task(
    name="mine",
    family="probe",
    dataset=f"{TOYS / 'quadrants'}.py",
    targets=("label",),
    protocol=f"{TOYS / 'means'}.py",
    chance=0.25,
    primary=Primary(target="label"),
    title="A task",
)


def digits(**changes: Any) -> Task:
    return replace(DIGITS, **changes)


def mine(metric: str = "accuracy", target: str = "label", **changes: Any) -> Task:
    chosen = Primary(metric=metric, target=target)
    return replace(MINE, primary=changes.pop("primary", chosen), **changes)


def split(*classes: tuple[int, ...], **changes: Any) -> Task:
    """Of zero-shot: classes are held unseen, one tuple a split."""
    seen = Primary(metric="seen", target="label", interval="replicates")
    plan = Replicates(splits=classes)
    return mine(primary=seen, family="zeroshot", chance=0.0, replicates=plan, **changes)


def few(*per_class: int, subsets: int = 1, **changes: Any) -> Task:
    plan = Replicates(per_class=per_class, subsets=subsets)
    return mine(family="few_labels", replicates=plan, **{"validation": False, **changes})


def shifted(*strengths: float) -> Task:
    return mine(family="shift", replicates=Replicates(shifts=("noise",), strengths=strengths))


UNSEEN = Primary(metric="unseen", target="label", interval="replicates")

# Name of the fault -> (its check, a word of the finding, the task).
TASKS: dict[str, tuple[str, str, Task]] = {
    "no title": ("title", "one line", mine(title="")),
    "a title of two lines": ("title", "one line", mine(title="A\ntask")),
    "a target that is not there": ("fits", "no target 'lable'", mine(targets=("lable",))),
    "a target that the protocol cannot take": (
        "fits", "cannot predict binary", mine(target="tag", targets=("tag",), protocol="knn"),
    ),
    "a diagnostic that is not there": ("fits", "no diagnostic", mine(diagnostics=("rank",))),
    "a baseline that is not there": ("fits", "baseline", mine(baseline="digits-kn")),
    "itself as its baseline": ("fits", "baseline", digits(baseline="digits-knn")),
    "removes a class that is not there": ("classes", "[4] are not among", mine(removed_classes=(1, 4))),
    "removes a class twice": ("classes", "twice", mine(removed_classes=(1, 1))),
    "a split of all but one class": ("classes", "leaves 1", split((0, 1, 2))),
    "a split of nothing": ("classes", "is empty", split((0, 1), ())),
    "a split of removed classes": (
        "classes", "in removed_classes already", split((0,), (1,), removed_classes=(1,)),
    ),
    "removes classes of numbers": (
        "classes", "without classes", mine("r2", "size", targets=("size",), removed_classes=(1,)),
    ),
    "accuracy of a number": ("primary", "has mse, r2", mine(target="size", targets=("size",))),
    "likelihood of scores": ("primary", "has accuracy, balanced", mine("nll")),
    "top five of ten classes": (
        "primary", "has accuracy", digits(primary=Primary(metric="top5", target="label")),
    ),
    "unseen classes without any": ("primary", "has accuracy", mine(primary=UNSEEN)),
    "a primary of another target": ("primary", "not one of its targets", mine(target="tag")),
    "rows of what is no mean over rows": (
        "primary", "'replicates'", digits(primary=Primary(metric="ece", target="label")),
    ),
    "chance of equal classes": ("chance", "the largest class", digits(chance=0.1)),
    "a ceiling in per cent": ("chance", "ceiling <= 1", mine(ceiling=100.0)),
    "a size twice": ("replicates", "repeats", few(2, 2)),
    "more encoder seeds than seeds": (
        "replicates", "at most", mine(replicates=Replicates(seeds=2, encoder_seeds=3)),
    ),
    "subsets of all labels": ("replicates", "per_class", mine(replicates=Replicates(subsets=3))),
    "a strength of nothing": ("replicates", "(0, 1]", shifted(0.0, 1.0)),
    "a family without its axis": ("replicates", "family = 'shift'", mine(family="shift")),
    "few labels and all of validation": (
        "replicates", "validation = false", few(2, validation=True),
    ),
    "more labels than there are": ("replicates", "per_class = 41 needs more", few(1, 41)),
    "asks something else under the old version": (
        "lock", "raise version", digits(protocol="knn,k=5"),
    ),
    "takes the name of a shipped one": ("lock", "rename the file", mine(name="digits-knn")),
}  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(DataSets(tmp_path_factory.mktemp("data")))


def broken(task: Task, workspace: Workspace) -> list[tuple[str, str]]:
    outcomes = [
        (outcome["check"], outcome["finding"])
        for outcome in run_checks(task_checks(), (task, workspace))
    ]
    return [(check, finding) for check, finding in outcomes if finding]


@pytest.mark.parametrize("fault", TASKS)
def test_a_fault_of_a_task_is_caught_by_its_own_check_first(
    fault: str, workspace: Workspace
) -> None:
    check, word, task = TASKS[fault]
    broken_rules = broken(task, workspace)
    assert broken_rules, "nothing was found"
    assert broken_rules[0][0] == f"task_{check}", broken_rules[0][1]
    assert word in broken_rules[0][1] and "\n" not in broken_rules[0][1]


def test_the_line_that_the_lock_lacks_is_given(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.testing.tasks.tasks_dir", lambda: tmp_path)
    (tmp_path / "LOCK").touch()
    line = f"{DIGITS.name} {DIGITS.version} {DIGITS.digest}"
    finding = f"tasks/LOCK has no line for it; add: {line}"
    assert broken(DIGITS, workspace) == [("task_lock", finding)]


RIGHT = {
    "a shipped one": DIGITS,
    "one of a user's own": MINE,
    "unseen classes": split((0, 1), (2, 3)),
    "shifts": shifted(0.2, 1.0),
    "few labels": few(1, 0, subsets=2),
    "numbers": mine("r2", "size", targets=("size",), chance=0.0),
    "yes and no, against the untrained": mine(target="tag", targets=("tag",), baseline="~0"),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_task_passes_every_check(kind: str, workspace: Workspace) -> None:
    assert broken(RIGHT[kind], workspace) == []


def test_every_check_of_the_kit_has_a_fault() -> None:
    names = {check.__name__.removeprefix("check_task_") for check in task_checks()}
    assert {check for check, _, _ in TASKS.values()} == names
    assert all(check.__doc__ for check in task_checks())
