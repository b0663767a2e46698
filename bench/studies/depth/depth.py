"""Which layers of a trunk transfer? Probes of every stage, and tuning with the first ones frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import DataSet
from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import Resolved, resolve
from bench.results.record import Record
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.scoring.scorer import primary_rows
from bench.studies.base import Report, Setting, measured
from bench.studies.depth._report import PANELS, Found, Place, report
from bench.studies.depth._stages import STAGES, Stage
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Coords, Replicates, Task

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/depth"  # its key in the revisions of records
ENCODERS = ("autoencoder", "supervised")  # without labels, and with the source's
UNTRAINED = "autoencoder~0"  # the trunk that both have
LABELS = 1000  # a class, for probes and for tuning
SEEDS = 3

Array = npt.NDArray[Any]


def run(
    *,
    setting: Setting,
    source: str = "mnist",
    target: str = "fashion_mnist",
    budget: str = "300k",
    images: int = 50_000,
) -> Report:
    """Train `autoencoder` and `supervised` on `source` at `budget` images, or take what is kept; probe
    what comes out of each stage linearly on both data sets (Alain and Bengio 2017, arXiv:1610.01644),
    and tune the trunk on `target` at `images` a fit, its first stages frozen (Yosinski et al. 2014,
    arXiv:1411.1792). The untrained trunk too; differences are paired over test rows.

    Raises BenchError for data sets that are equal, not known or without a linear probe scored by
    accuracy, for fewer than one image, where a cell is not ok, and where charts cannot be drawn.
    """
    load_altair()
    if images < 1:
        raise BenchError(f"depth: images={images}; 1 or more are wanted")
    tasks = {"source": _probe(source), "target": _probe(target)}
    data = {panel: tasks.get(panel, tasks["target"]).dataset for panel in PANELS}
    if data["source"] == data["target"]:
        raise BenchError(f"depth: source and target are {source!r}; two data sets are wanted")
    tuned = [_tuned(tasks["target"], frozen, images) for frozen in range(STAGES + 1)]
    names = (*(f"{name}@{data['source']}~{budget}" for name in ENCODERS), UNTRAINED)
    specs = [resolve("encoders", name) for name in names]
    stages = _stages(setting, tasks, specs)
    cells = {
        # Stage 0 hangs on no training.
        Place(spec.text, panel, stage): [
            Cell(task, training[stage])
            for training in stages[spec.text, panel][: SEEDS if stage else 1]
        ]
        for panel, task in tasks.items()
        for spec in specs
        for stage in range(STAGES + 1)
    }
    cells |= {
        Place(spec.text, "tuned", frozen): [Cell(task, spec)]
        for spec in specs
        for frozen, task in enumerate(tuned)
    }
    # The images themselves are stage 0 of all encoders, and run once.
    unique = {(cell.name, cell.task.name): cell for some in cells.values() for cell in some}
    store, done = measured(list(unique.values()), setting)
    records = dict(zip(unique, done, strict=True))

    def found(cell: Cell) -> Record:
        return records[cell.name, cell.task.name]

    def scores(cell: Cell) -> list[Array]:
        predictions = store.predictions(found(cell))
        return list(primary_rows(found(cell), cell.task, predictions).values())

    def rate(cell: Cell) -> Any:
        return (found(cell).tuning or {}).get("chosen", {}).get("rate")

    rows = {
        place: np.stack([row for cell in some for row in scores(cell)])
        for place, some in cells.items()
    }
    return report(
        Found.of(rows),
        data=data,
        dims=[stage.dims["stage"] for stage in stages[specs[0].text, "target"][0]],
        rates={place: rate(some[0]) for place, some in cells.items()},
        asked={"budget": budget, "images": images, "seeds": SEEDS, "labels": LABELS},
    )


def _probe(name: str) -> Task:
    """The linear probe of a data set on LABELS labels a class; one head, since trainings are cells."""
    known = resolve("datasets", name).text
    task = load(f"{known}-linear")
    if task.primary.metric != "accuracy":
        raise BenchError(f"depth: {task.name} has {task.primary.metric}; accuracy is wanted")
    few = Replicates(seeds=1, per_class=(LABELS,))
    return task.derive(name=f"{task.name}+few", replicates=few)


def _tuned(probe: Task, frozen: int, images: int) -> Task:
    """The same labels, for tuning with the first stages frozen; with all of them, the probe alone."""
    left = STAGES - frozen
    return probe.derive(
        name=f"{probe.dataset}-frozen{frozen}",
        family="finetune",
        input="activations",
        protocol=f"finetune,images={images if left else 0},blocks={left or 1}",
        replicates=Replicates(seeds=SEEDS, per_class=(LABELS,)),
        baseline=None,
    )


def _stages(
    setting: Setting, tasks: Mapping[str, Task], specs: Sequence[Resolved]
) -> dict[tuple[str, str], list[list[Stage]]]:
    """Encoder and panel -> trainings by stages. Like a cell's, the untrained trunk is made for the images
    that it gets. Raises BenchError for a data set with too few labels, before anything is trained."""
    device = chosen_device(setting.device)
    workspace = Workspace(setting.datasets, cache=setting.cache, levels={None}, device=device)
    for task in tasks.values():
        dataset = workspace.dataset(task.dataset)
        train, val = dataset.split("train"), dataset.split("val")
        try:
            grant(task, task_targets(task, dataset.meta), train, val, Coords(per_class=LABELS))
        except BenchError as error:
            raise BenchError(f"depth: {task.dataset}: {error}") from error
    setting.tell(f"{', '.join(s.text for s in specs)}: {SEEDS} trainings each, or from the cache")
    found: dict[tuple[str, str], list[list[Stage]]] = {}
    for panel, task in tasks.items():
        for spec in specs:
            dataset = workspace.dataset(spec.source or task.dataset)
            found[spec.text, panel] = [_of(workspace, spec, dataset, seed) for seed in range(SEEDS)]
    return found


def _of(workspace: Workspace, spec: Resolved, dataset: DataSet, seed: int) -> list[Stage]:
    """All stages of one training, on all train rows as `fitted_encoder` has them: the cache knows it."""
    train = dataset.split("train")
    labels = {target: y.copy() for target, y in train.y.items()}
    fitted = workspace.fitted(spec, TrainingData.of(dataset, train.rows, labels), seed=seed)
    labelled = (spec.source,) if spec.source and fitted.supervised else ()
    of = f"{spec.text}-seed{seed}"
    return [Stage(fitted, stage, of, labelled=labelled) for stage in range(STAGES + 1)]
