"""Which layers of a trunk transfer? Probes of every stage, and tuning with the first ones frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import Resolved, resolve
from bench.running.workspace import Workspace
from bench.studies.base import Report, Setting, accuracy_task, measure, require
from bench.studies.depth._report import PANELS, DepthScores, StagePoint, report
from bench.studies.depth._stages import STAGES, Stage
from bench.studies.parts.fits import SourceFits
from bench.tasks.cell import Cell
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Coords, Replicates, Task

REVISION = 1
KNOWN_AS = "studies/depth"  # its key in the revisions of records
ENCODERS = ("autoencoder", "supervised")  # without labels, and with the source's
UNTRAINED = "autoencoder~0"  # the trunk that both have
LABELS = 1000  # a class, for probes and for tuning
SEEDS = 3


def run(
    *,
    setting: Setting,
    source: str = "mnist",
    target: str = "fashion_mnist",
    budget: str = "300k",
    images: int = 50_000,
) -> Report:
    """Train `autoencoder` and `supervised` on `source` at `budget` images, or take what is kept; probe
    the output of each stage linearly on both data sets (Alain and Bengio 2017, arXiv:1610.01644),
    and tune the trunk on `target` at `images` a fit, its first stages frozen (Yosinski et al. 2014,
    arXiv:1411.1792). The untrained trunk too; differences are paired over test rows.

    Raises BenchError for data sets that are equal, unknown or without a linear probe scored by
    accuracy, for fewer than one image, where a cell is not ok, and where charts cannot be drawn.
    """
    load_altair()
    require("depth", 1, images=images)
    tasks = {"source": _probe(source), "target": _probe(target)}
    data = {panel: tasks.get(panel, tasks["target"]).dataset for panel in PANELS}
    if data["source"] == data["target"]:
        raise BenchError(f"depth: source and target are {source!r}; give two data sets")
    names = (*(f"{name}@{data['source']}~{budget}" for name in ENCODERS), UNTRAINED)
    specs = [resolve("encoders", name) for name in names]
    stages = _stages(setting, tasks, specs)
    cells = {
        # Stage 0 depends on no training.
        StagePoint(spec.text, panel, stage): [
            Cell(task, training[stage])
            for training in stages[spec.text, panel][: SEEDS if stage else 1]
        ]
        for panel, task in tasks.items()
        for spec in specs
        for stage in range(STAGES + 1)
    }
    cells |= {
        StagePoint(spec.text, "tuned", frozen): [
            Cell(tuned_task(tasks["target"], frozen, images), spec)
        ]
        for spec in specs
        for frozen in range(STAGES + 1)
    }
    # The images themselves are stage 0 of all encoders, and run once.
    measured = measure((cell for trainings in cells.values() for cell in trainings), setting)
    rows = {
        point: np.concatenate([measured.rows(cell) for cell in trainings])
        for point, trainings in cells.items()
    }
    rates = {
        point: (measured.record(cell).tuning or {}).get("chosen", {}).get("rate")
        for point, (cell, *_) in cells.items()
    }
    return report(
        DepthScores.of(rows),
        data=data,
        dims=[stage.dims["stage"] for stage in stages[specs[0].text, "target"][0]],
        rates=rates,
        parameters={"budget": budget, "images": images, "seeds": SEEDS, "labels": LABELS},
    )


def _probe(name: str) -> Task:
    """The linear probe of a data set on LABELS labels a class; one head, since trainings are cells."""
    task = accuracy_task("depth", name)
    replicates = Replicates(seeds=1, per_class=(LABELS,))
    return task.derive(name=f"{task.name}+few", replicates=replicates)


def tuned_task(probe: Task, frozen: int, images: int) -> Task:
    """The same labels, for tuning with the first stages frozen; with all of them, the probe alone."""
    blocks = STAGES - frozen
    return probe.derive(
        name=f"{probe.dataset}-frozen{frozen}",
        family="finetune",
        input="activations",
        protocol=f"finetune,images={images if blocks else 0},blocks={blocks or 1}",
        replicates=Replicates(seeds=SEEDS, per_class=(LABELS,)),
        baseline=None,
    )


def _stages(
    setting: Setting, tasks: Mapping[str, Task], specs: Sequence[Resolved]
) -> dict[tuple[str, str], list[list[Stage]]]:
    """Encoder and panel -> trainings by stages. Like a cell's, the untrained trunk is made for the images
    that it gets. Raises BenchError for a data set with too few labels, before anything is trained."""
    workspace = setting.workspace()
    for task in tasks.values():
        dataset = workspace.dataset(task.dataset)
        train, val = dataset.split("train"), dataset.split("val")
        try:
            grant(task, task_targets(task, dataset.meta), train, val, Coords(per_class=LABELS))
        except BenchError as error:
            raise BenchError(f"depth: {task.dataset}: {error}") from error
    return {
        (spec.text, panel): _trainings(setting, workspace, spec, spec.source or task.dataset)
        for panel, task in tasks.items()
        for spec in specs
    }


def _trainings(
    setting: Setting, workspace: Workspace, spec: Resolved, dataset: str
) -> list[list[Stage]]:
    """All stages of each training, on all train rows: as in a cell, so that the cache has them."""
    fits, trainings = SourceFits.of(setting, dataset, workspace=workspace), []
    for seed in range(SEEDS):
        fitted, name = fits.fitted(spec, seed), f"{spec.text}-seed{seed}"
        labelled = (spec.source,) if spec.source and fitted.supervised else ()
        trainings.append(
            [Stage(fitted, stage, name, labelled=labelled) for stage in range(STAGES + 1)]
        )
    return trainings
