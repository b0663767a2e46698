"""Which penalty suits the linear probe where labels are too few to choose one?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.protocols.parts.probe import FEW_LABELS_PENALTY, GRID, Scaler, grid_accuracies
from bench.report.text import table
from bench.studies.base import Report, Setting, linear_task, require
from bench.studies.parts.fits import SourceFits
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Replicates, Task

REVISION = 1
CONTROLS = ("pixels", "pca", "autoencoder~0")  # baselines, so that no entry is favoured
SIZES = (1, 2)  # labels a class


@dataclass(frozen=True, slots=True)
class PenaltyCurve:
    """Mean accuracy (0 to 1) on validation over label subsets, for each penalty of the grid."""

    dataset: str
    control: str
    per_class: int
    accuracies: tuple[float, ...]


def run(*, setting: Setting, datasets: str = "mnist cifar10_jpeg", subsets: int = 10) -> Report:
    """Fit the probe of each control on `subsets` draws of 1 and of 2 labels a class, at every penalty, and
    score it on validation; the penalty of best mean accuracy over everything is the one to use. The
    test split is not read. Raises BenchError for no subset, and for data sets without a linear task.
    """
    require("few_penalty", 1, subsets=subsets)
    curves = [c for name in datasets.split() for c in _curves(linear_task(name), setting, subsets)]
    means = np.mean([curve.accuracies for curve in curves], axis=0)
    best = GRID[int(means.argmax())]
    lines = [
        [c.dataset, f"`{c.control}`", str(c.per_class), *(f"{100 * a:.2f}" for a in c.accuracies)]
        for c in curves
    ]
    lines.append(["mean", "", "", *(f"{100 * mean:.2f}" for mean in means)])
    head = ["data set", "control", "labels a class", *(f"{penalty:.2g}" for penalty in GRID)]
    return Report.of(
        "The penalty of very few labels",
        [
            f"Mean accuracy in per cent on validation over {subsets} draws of the labels, by penalty. "
            f"Best on average: {best:.3g}. Used below five labels a class: {FEW_LABELS_PENALTY:.3g}.",
            table(head, lines),
        ],
        {"grid": GRID, "best": best, "used": FEW_LABELS_PENALTY, "curves": curves},
    )


def _curves(task: Task, setting: Setting, subsets: int) -> Iterator[PenaltyCurve]:
    """The controls on one data set."""
    fits = SourceFits.of(setting, task)
    train, val = fits.dataset.split("train"), fits.dataset.split("val")
    targets = task_targets(task, fits.dataset.meta)
    [(name, target)] = targets.items()
    replicates = Replicates(seeds=1, per_class=SIZES, subsets=subsets)
    few = task.derive(family="few_labels", validation=False, replicates=replicates)
    for control in CONTROLS:
        fitted = fits.fitted(control)
        x, z = (fits.features(fitted, split) for split in ("train", "val"))
        y, scaler = train.y[name], Scaler.of(x)
        scores: dict[int, list[list[float]]] = {size: [] for size in SIZES}
        for at in few.coords(seeds=1, seeded=(False, False), per_split=False):
            rows = grant(few, targets, train, val, at).labelled
            accuracies = grid_accuracies(x[rows], y[rows], z, val.y[name], target.size, scaler)
            scores[at.per_class or 0].append(accuracies)
        for size in SIZES:
            means = tuple(round(float(mean), 5) for mean in np.mean(scores[size], axis=0))
            yield PenaltyCurve(task.dataset, control, size, means)
