"""Which penalty suits the linear probe where labels are too few to choose one?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from bench.data.samples import SPLITS
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.protocols.parts.probe import FEW_LABELS_PENALTY, GRID, Scaler, grid_accuracies
from bench.report.text import table
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.studies.base import Report, Setting
from bench.tasks.files import load
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Replicates, Task

__all__ = ["run"]

REVISION = 1
CONTROLS = ("pixels", "pca", "autoencoder~0")  # what nobody enters to win with
SIZES = (1, 2)  # labels a class


@dataclass(frozen=True, slots=True)
class Found:
    """Mean accuracy (0 to 1) on validation over label subsets, for each penalty of the grid."""

    dataset: str
    control: str
    per_class: int
    accuracies: tuple[float, ...]


def run(*, setting: Setting, datasets: str = "mnist cifar10_jpeg", subsets: int = 10) -> Report:
    """Fit the probe of each control on `subsets` draws of 1 and of 2 labels a class, at every penalty, and
    judge it on validation; the penalty of best mean accuracy over everything is the one to use. The
    test split is not read. Raises BenchError for no subset, and for data sets without a linear task.
    """
    if subsets < 1:
        raise BenchError(f"few_penalty: subsets={subsets}; 1 or more are wanted")
    found = [
        each
        for name in datasets.split()
        for each in _of(load(f"{resolve('datasets', name).text}-linear"), setting, subsets)
    ]
    means = np.mean([each.accuracies for each in found], axis=0)
    best = GRID[int(means.argmax())]
    lines = [
        [e.dataset, f"`{e.control}`", str(e.per_class), *(f"{100 * a:.2f}" for a in e.accuracies)]
        for e in found
    ]
    lines.append(["mean", "", "", *(f"{100 * mean:.2f}" for mean in means)])
    head = ["data set", "control", "labels a class", *(f"{penalty:.2g}" for penalty in GRID)]
    text = "\n\n".join(
        [
            "# The penalty of very few labels",
            f"Mean accuracy in per cent on validation over {subsets} draws of the labels, by penalty. "
            f"Best on average: {best:.3g}. Used below five labels a class: {FEW_LABELS_PENALTY:.3g}.",
            table(head, lines),
        ]
    )
    data = {
        "grid": list(GRID),
        "best": best,
        "used": FEW_LABELS_PENALTY,
        "found": [asdict(e) for e in found],
    }
    return Report(text, data)


def _of(task: Task, setting: Setting, subsets: int) -> Iterator[Found]:
    """The controls on one data set."""
    workspace = Workspace(
        setting.datasets, cache=setting.cache, levels={None}, device=chosen_device(setting.device)
    )
    dataset = workspace.dataset(task.dataset)
    train, val = dataset.split("train"), dataset.split("val")
    targets = task_targets(task, dataset.meta)
    [(name, target)] = targets.items()
    plan = Replicates(seeds=1, per_class=SIZES, subsets=subsets)
    few = task.derive(family="few_labels", validation=False, replicates=plan)
    for control in CONTROLS:
        data = TrainingData.of(dataset, np.arange(len(train)), {})
        fitted = workspace.fitted(resolve("encoders", control), data, seed=0)
        x, other = (
            workspace.features(fitted, dataset, split).levels[fitted.encoder.level]
            for split in SPLITS[:2]
        )
        scaler = Scaler.of(x)
        scores: dict[int, list[list[float]]] = {size: [] for size in SIZES}
        for at in few.coords(seeds=1, seeded=(False, False), per_split=False):
            rows = grant(few, targets, train, val, at).labelled
            found = grid_accuracies(
                x[rows], train.y[name][rows], other, val.y[name], target.size, scaler
            )
            scores[at.per_class or 0].append(found)
        for size in SIZES:
            accuracies = np.mean(scores[size], axis=0)
            yield Found(task.dataset, control, size, tuple(round(float(a), 5) for a in accuracies))
