"""Which layers of a trunk transfer? Probes of every stage, and tuning with the first ones frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.drawing.charts import lines, load_altair
from bench.errors import BenchError
from bench.naming.specs import Resolved, resolve
from bench.report.text import scaled, table
from bench.statistics.intervals import mean_interval
from bench.studies.base import Claim, Report, Setting, accuracy_task, measure, require
from bench.studies.depth._stages import STAGES, Stage
from bench.studies.parts.differences import Difference, claim, compared, table_lines
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
PANELS = ("source", "target", "tuned")  # probed on the one and the other, tuned on the other
X = "stages below the probe, or frozen"


@dataclass(frozen=True, slots=True)
class StagePoint:
    """A point of the figure: an encoder, one of PANELS, and how many stages are below or frozen."""

    encoder: str
    panel: str
    stage: int


@dataclass(frozen=True, slots=True, eq=False)
class DepthScores:
    """Scores of trainings by test rows (r, n) of all points, and their differences: `minus_untrained`,
    and `minus_first` of the same encoder at stage 0. Holm's adjustment is over both of them, once for
    the probes and once for what was tuned. The last of `encoders` is the untrained one."""

    encoders: Sequence[str]
    rows: Mapping[StagePoint, Array]
    minus_untrained: Mapping[StagePoint, Difference]
    minus_first: Mapping[StagePoint, Difference]

    @property
    def last(self) -> int:
        """The deepest stage."""
        return max(point.stage for point in self.rows)

    @classmethod
    def of(cls, rows: Mapping[StagePoint, Array]) -> DepthScores:
        encoders = list(dict.fromkeys(point.encoder for point in rows))
        kinds: dict[str, dict[StagePoint, Difference]] = {"untrained": {}, "first": {}}
        for panels in (PANELS[:2], PANELS[2:]):
            points = [point for point in rows if point.panel in panels]
            pairs = {
                (p, "untrained"): (p, StagePoint(encoders[-1], p.panel, p.stage))
                for p in points
                if p.encoder != encoders[-1] and (p.stage or len(panels) < 2)
            }
            later = [point for point in points if point.stage]
            pairs |= {(p, "first"): (p, StagePoint(p.encoder, p.panel, 0)) for p in later}
            for (point, reference), difference in compared(rows, pairs).items():
                kinds[reference][point] = difference
        return cls(encoders, rows, kinds["untrained"], kinds["first"])

    def count(self, panels: Sequence[str]) -> int:
        """How many differences there are in these panels."""
        return sum(p.panel in panels for p in (*self.minus_untrained, *self.minus_first))


def run(
    *,
    setting: Setting,
    source: str = "mnist",
    target: str = "fashion_mnist",
    budget: str = "300k",
    images: int = 50_000,
) -> Report:
    """Train `autoencoder` and `supervised` on `source` at `budget` images, or take cached weights; probe
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
    tuned = [tuned_task(tasks["target"], frozen, images) for frozen in range(STAGES + 1)]
    cells |= {
        StagePoint(spec.text, "tuned", frozen): [Cell(task, spec)]
        for spec in specs
        for frozen, task in enumerate(tuned)
    }
    # The images themselves are stage 0 of all encoders, and run once.
    measured = measure((cell for trainings in cells.values() for cell in trainings), setting)
    rows = {p: np.concatenate([measured.rows(c) for c in trained]) for p, trained in cells.items()}
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
    trainings: dict[tuple[str, str], list[list[Stage]]] = {}
    for (panel, task), spec in product(tasks.items(), specs):
        # On all train rows: as in a cell, so that the cache has them.
        fits = SourceFits.of(setting, spec.source or task.dataset, workspace=workspace)
        for seed in range(SEEDS):
            fitted, name = fits.fitted(spec, seed), f"{spec.text}-seed{seed}"
            labelled = (spec.source,) if spec.source and fitted.supervised else ()
            stages = [Stage(fitted, stage, name, labelled=labelled) for stage in range(STAGES + 1)]
            trainings.setdefault((spec.text, panel), []).append(stages)
    return trainings


def report(
    scores: DepthScores,
    *,
    data: Mapping[str, str],
    dims: Sequence[int],
    rates: Mapping[StagePoint, float | None],
    parameters: Mapping[str, Any],
) -> Report:
    """The study's answer. `data`: panel -> data set; `dims` of the stages; `rates` that tuning chose;
    `parameters`: budget, images, seeds and labels a class."""
    source, target, untrained = data["source"], data["target"], scores.encoders[-1]
    parts = [
        f"{parameters['seeds']} trainings each of {parameters['budget']} images of {source}, and the "
        f"untrained trunk (`{untrained}`); {parameters['labels']} labels a class for each probe and each "
        "tuning. Accuracy in per cent on test images with its 95 % interval; below it, in points on the "
        "same images, differences; trainings count as independent in them, also those of one encoder.",
        "![curves](depth.svg)",
        "## A linear probe on each stage",
        f"Stage 0 is the input of the trunk, all {dims[0]:,} pixels; the output of the others is "
        f"max-pooled to 4 x 4: {', '.join(f'{d:,}' for d in dims[1:])} numbers. A trunk gets images in "
        "the form of its source, the untrained one in that of the data set that it is probed on. An "
        f"encoder that learns from labels has learnt from all those of {source}.",
        _table(scores, data, PANELS[:2], "stage {}", "minus stage 0"),
        f"## Tuned on {target} with the first stages frozen",
        f"Each fit sees {parameters['images']:,} images, none of them cropped or mirrored, at "
        "the best of four rates on validation. With all stages frozen nothing is tuned: the probe that "
        "tuning starts from, fitted on training rows alone; those above are fitted on validation too.",
        _table(scores, data, PANELS[2:], "{} frozen", "minus 0 frozen"),
        f"p is adjusted by Holm over all differences of a table ({scores.count(PANELS[:2])} and "
        f"{scores.count(PANELS[2:])}); in claims on steps from one stage to the next, over these.",
    ]
    points = [
        {
            **asdict(point),
            "accuracy": mean_interval(rows),
            "trainings": rows.mean(axis=1),
            "minus_untrained": scores.minus_untrained.get(point),
            "minus_first": scores.minus_first.get(point),
            "data": data[point.panel],
            "rate": rates.get(point),
        }
        for point, rows in scores.rows.items()
    ]
    return Report.of(
        "Which layers of a trunk transfer",
        parts,
        {**parameters, "source": source, "target": target, "dims": dims, "places": points},
        claims=[c for encoder in scores.encoders[:-1] for c in claims_of(scores, data, encoder)],
        figures={"depth.svg": _figure(scores, data)},
    )


def _table(
    scores: DepthScores, data: Mapping[str, str], panels: Sequence[str], column: str, first: str
) -> str:
    accuracies = {point: mean_interval(rows) for point, rows in scores.rows.items()}
    kinds = {"minus untrained": scores.minus_untrained, first: scores.minus_first}
    rows: list[list[str]] = []
    for panel in panels:
        for encoder in scores.encoders:
            points = [StagePoint(encoder, panel, stage) for stage in range(scores.last + 1)]
            rows += table_lines([encoder, data[panel]], points, accuracies, kinds)
    return table(["trunk", "on", "", *map(column.format, range(scores.last + 1))], rows)


def _figure(scores: DepthScores, data: Mapping[str, str]) -> bytes:
    y, points = "accuracy, %", []
    for point, rows in scores.rows.items():
        interval = scaled(mean_interval(rows), 100)
        kind = "tuned on" if point.panel == "tuned" else "probe on"
        points.append(
            {
                "trunk": point.encoder,
                "panel": f"{kind} {data[point.panel]}",
                X: str(point.stage),
                y: interval.value,
                **asdict(interval),
            }
        )
    return lines(points, x=X, y=y, ends=("low", "high"), line="trunk", side="panel")


def claims_of(scores: DepthScores, data: Mapping[str, str], encoder: str) -> list[Claim]:
    """The claims about one trained encoder."""
    source, target, last = data["source"], data["target"], scores.last

    def step(panel: str, stage: int) -> tuple[StagePoint, StagePoint]:
        return StagePoint(encoder, panel, stage), StagePoint(encoder, panel, stage - 1)

    def steps(panel: str) -> dict[str, Difference]:
        stages = range(1, last + 1)
        return compared(scores.rows, {f"{k} - {k - 1}:": step(panel, k) for k in stages})

    def gains(panel: str) -> dict[str, Difference]:
        """Minus the untrained trunk, by stage."""
        return {
            f"{point.stage}:": difference
            for point, difference in scores.minus_untrained.items()
            if (point.encoder, point.panel) == (encoder, panel)
        }

    adds = f"`{encoder}`: on {source} each stage's probe is above the one before it"
    costs = f"`{encoder}`: tuned on {target}, each further frozen stage costs accuracy"
    ends = compared(scores.rows, {f"{data[panel]}:": step(panel, last) for panel in PANELS[:2]})
    return [
        claim(adds, steps("source")),
        Claim(
            f"`{encoder}`: the last stage raises the accuracy of the probe on {source} and lowers it on "
            f"{target}",
            tuple(f"{label} {difference.text()}" for label, difference in ends.items()),
            [difference.sign for difference in ends.values()] == [1, -1],
        ),
        claim(
            f"`{encoder}`: the probe of every stage beats that of the untrained trunk on {target}",
            gains("target"),
        ),
        claim(
            f"`{encoder}`: tuned on {target} it beats the untrained trunk, however many stages are frozen",
            gains("tuned"),
        ),
        claim(costs, steps("tuned"), sign=-1),
    ]
