"""What is sharing between tasks worth? A pair of known correlation; coupling; labels; pairs of targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from bench.data.samples import SPLITS, Array, DataSet, Samples, Target
from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import Resolved, resolve
from bench.protocols.multitask.soft_sharing import COUPLINGS
from bench.solvers.towers import Run
from bench.studies.base import Report, Setting, require
from bench.studies.parts.fits import SourceFits
from bench.studies.parts.partial import PartialResults
from bench.studies.sharing._arms import Arms, Problem
from bench.studies.sharing._findings import (
    CouplingCurve,
    LabelSweep,
    PairGains,
    SharingFindings,
    TargetAffinity,
    equivalence,
    label_worth,
    settings_of,
    slope,
)
from bench.studies.sharing._pair import synthetic_pair
from bench.studies.sharing._report import report
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Coords, Task

REVISION = 1
KNOWN_AS = "studies/sharing"  # its key in the revisions of records
ALONE, HARD, SOFT = "single_task", "hard_sharing", "soft_sharing"  # of equally many parameters
TARGETS: Mapping[str, tuple[str, ...]] = {"sprites": ("shape", "colour", "texture", "size")}
MOST = 4  # targets of any other data set: the first that are classes
PCA = 64  # components that heads read, as the protocols do
ENCODER_SEEDS = 3
SIZES = (1, 3, 10, 30, 100)  # labels a class of the first target, before all of them

CORRELATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
# The first of the pair has few labels and the second many, on rows of their own: on equal rows an equal
# task would add nothing, and with 300 labels each there is little to give. Both functions depend on one
# direction of 100, for which 64 units are plenty, so that capacity does not bind.
FEW, MANY, VAL, TEST = 300, 3_000, 500, 5_000
PAIR = "width=64", 60  # of one tower; epochs
MARGIN = 0.05  # of log error ratio: as a tenth more labels where the error falls by their root
DRAWS = 4  # of the pair for every other seed: with 10 in all, gains near the margin are undecided
SETTING_DRAW = 10_000  # seed of the draw that settings are chosen on; no run has it


def run(
    *,
    setting: Setting,
    dataset: str = "sprites",
    encoders: str = "pixels autoencoder",
    seeds: int = 10,
    epochs: int = 30,
) -> Report:
    """Train heads alone and together, `seeds` runs each over three trainings of each encoder: on two
    regressions of known relatedness (Ma et al. 2018); along the coupling of `soft_sharing`; with few
    labels of the data set's first target (sprites: its shape), beside shuffled labels of the others;
    and two by two (Standley et al. 2020, arXiv:1905.07553) on the last encoder. All are chosen on
    validation.

    Raises BenchError for fewer than two seeds or one epoch, for data sets with fewer than two targets
    that are classes, for encoders that learn from their labels, and where charts cannot be drawn.
    """
    load_altair()
    specs = [resolve("encoders", name) for name in dict.fromkeys(encoders.split())]
    require("sharing", 2, seeds=seeds)
    require("sharing", 1, epochs=epochs)
    if not specs:
        raise BenchError(f"sharing: encoders={encoders!r}; give one or more")
    workspace = setting.workspace(*(s.level for s in specs))
    fits = SourceFits.of(setting, dataset, workspace=workspace)
    data = fits.dataset
    task = _task(resolve("datasets", dataset).text, data)
    partial = PartialResults(setting, "runs.json")
    pair = _pair(Arms(partial, REVISION, DRAWS * seeds, PAIR[1]))
    runs, curves, sweeps = Arms(partial, REVISION, seeds, epochs), [], []
    for spec in specs:
        problems = _problems(setting, fits, spec, task)
        tuned = runs.chosen(problems[0], ALONE, task.targets)
        curves.append(_curve(runs, spec.text, problems, tuned))
        sweeps.append(_sweep(runs, spec.text, problems, task, data))
    affinity = _affinity(runs, specs[-1].text, problems, tuned)
    return report(
        SharingFindings(task.dataset, len(data.split("test")), pair, curves, sweeps, affinity),
        parameters={"seeds": seeds, "epochs": epochs, "margin": MARGIN},
    )


def _task(name: str, data: DataSet) -> Task:
    """What says which labels are seen. Raises BenchError for fewer than two targets that are classes."""
    classes = [key for key, target in data.meta.targets.items() if target.kind == "classes"]
    targets = TARGETS.get(name.partition(",")[0], tuple(classes[:MOST]))
    if len(targets) < 2:
        count = f"{len(targets)} targets that are classes"
        raise BenchError(f"sharing: {name} has {count}; it needs two or more")
    task = f"{name}-sharing"
    return Task(
        name=task, family="multitask", dataset=name, targets=targets, protocol=HARD, chance=0.0
    )


def _pair(runs: Arms) -> PairGains:
    """Gains of the first task, which is the same at every correlation."""
    settings: dict[str, Run] = {}

    def first(protocol: str, key: str, correlation: float) -> Array:
        arm = f"{protocol},{PAIR[0]}"

        def problem(seed: int, correlation: float) -> Problem:
            both = _drawn(correlation, seed, full=key == "all labels")
            return both if protocol == HARD else both.only("first")

        if key not in settings:
            settings[key] = runs.chosen(problem(SETTING_DRAW, 0.5), arm, ["first"])
        problems = [problem(seed, correlation) for seed in range(runs.seeds)]
        row: Array = runs.scores(problems, arm, settings[key])[1][0]
        return row

    alone, full = first(ALONE, "alone", 0.0), first(ALONE, "all labels", 0.0)
    shared = np.stack([first(HARD, "shared", p) for p in CORRELATIONS])
    gains = np.log((1 - alone) / (1 - shared))
    return PairGains(
        correlations=CORRELATIONS,
        labels=(FEW, MANY),
        alone=alone,
        shared=shared,
        full=full,
        slope=slope(CORRELATIONS, gains),
        equivalence=equivalence(gains[CORRELATIONS.index(0.0)].tolist(), MARGIN),
        settings=settings_of(settings),
    )


def _drawn(correlation: float, seed: int, *, full: bool) -> Problem:
    """One draw of the pair: rows with labels of the first task and rows with labels of the second, or
    with `full` labels of both on all of them."""
    sizes = (FEW + MANY, VAL, TEST)
    x, y = synthetic_pair(correlation, rows=sum(sizes), seed=seed)
    ends = np.cumsum([0, *sizes]).tolist()
    parts = {
        split: Samples(x[a:b], {name: v[a:b].copy() for name, v in y.items()}, np.arange(a, b))
        for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)
    }
    if not full:
        parts["train"].y["first"][FEW:] = np.nan
        parts["train"].y["second"][:FEW] = np.nan
    targets = {name: Target("number", 1, (name,)) for name in y}
    name = f"pair at {correlation:g}{', all labels' if full else ''}, draw {seed}"
    return Problem.read(parts, targets, 0, name=name, recipe=f"{FEW} + {MANY} + {VAL} + {TEST}")


def _problems(setting: Setting, fits: SourceFits, spec: Resolved, task: Task) -> list[Problem]:
    """One a training; one in all where the encoder draws no random numbers."""
    data, problems = fits.dataset, dict[str, Problem]()
    targets, source = task_targets(task, data.meta), fits
    if spec.source:
        source = SourceFits.of(setting, spec.source, workspace=fits.workspace)
    for seed in range(ENCODER_SEEDS):
        fitted = source.fitted(spec, seed)
        if fitted.supervised and source.dataset is data:
            raise BenchError(
                f"sharing: {spec.text} has been trained on the labels that heads learn from; name one "
                "that learns elsewhere, or without labels"
            )
        if fitted.key in problems:
            continue
        level = spec.level or fitted.encoder.level
        parts = {split: fits.samples(fitted, split, level) for split in SPLITS}
        problems[fitted.key] = Problem.read(
            parts,
            targets,
            PCA,
            name=f"{spec.text} on {task.dataset}",
            recipe=f"{fitted.key}, {level}, {data.fingerprint}",
        )
    return list(problems.values())


def _curve(runs: Arms, encoder: str, problems: Sequence[Problem], tuned: Run) -> CouplingCurve:
    """Along the coupling, at the setting of separate towers."""
    scores = [runs.scores(problems, SOFT, replace(tuned, coupling=c)) for c in COUPLINGS]
    val, test = (np.stack(splits) for splits in zip(*scores, strict=True))
    targets = tuple(problems[0].targets)
    return CouplingCurve(encoder, targets, COUPLINGS, val, test, settings_of({"own": tuned}))


def _sweep(
    runs: Arms, encoder: str, problems: Sequence[Problem], task: Task, data: DataSet
) -> LabelSweep:
    """By labels a class of the first target; each seed its own labels, each arm its own setting."""
    first, train, val = task.targets[0], data.split("train"), data.split("val")
    targets = task_targets(task, data.meta)
    labelled = train.y[first][train.y[first] >= 0]
    counts = np.bincount(labelled, minlength=targets[first].size)
    sizes = [size for size in SIZES if size < counts[counts > 0].min()]
    arms: dict[str, list[Array]] = {"alone": [], "shared": [], "shuffled": []}
    settings: dict[str, Run] = {}
    for size in (*sizes, None):

        def problem(arm: str, seed: int, size: int | None = size) -> Problem:
            at = Coords(per_class=size, subset=seed)
            y = dict(grant(task, {first: targets[first]}, train, val, at).train_labels)
            if arm == "shuffled":
                at = Coords(control="shuffled_auxiliary", head_seed=seed)
                y = {**grant(task, targets, train, val, at).train_labels, **y}
            label = f"{first}: {size or 'all'} a class, {arm}, draw {seed}"
            both = problems[seed % len(problems)].labelled(y, label)
            return both.only(first) if arm == "alone" else both

        for arm, rows in arms.items():
            protocol = ALONE if arm == "alone" else HARD
            key = f"{'alone' if arm == 'alone' else 'shared'}, {size or 'all'}"
            if key not in settings:
                settings[key] = runs.chosen(problem(arm, 0), protocol, [first])
            draws = [problem(arm, seed) for seed in range(runs.seeds)]
            rows.append(runs.scores(draws, protocol, settings[key])[1][0])
    scores = {arm: np.stack(rows) for arm, rows in arms.items()}
    labels = (*map(float, sizes), len(labelled) / int((counts > 0).sum()))
    least = 0.5 / len(problems[0].test.x)
    kappa = label_worth(labels, scores["alone"], scores["shared"], least=least)
    return LabelSweep(encoder, first, labels, **scores, kappa=kappa, settings=settings_of(settings))


def _affinity(runs: Arms, encoder: str, problems: Sequence[Problem], tuned: Run) -> TargetAffinity:
    """Each ordered pair of targets, at the setting of separate towers."""
    names = list(problems[0].targets)
    alone = dict(zip(names, runs.scores(problems, ALONE, tuned)[1], strict=True))
    together: dict[tuple[str, str], Array] = {}
    for partner, target in permutations(names, 2):
        pairs = [problem.only(partner, target) for problem in problems]
        rows = runs.scores(pairs, HARD, tuned)[1]
        together[partner, target] = rows[list(pairs[0].targets).index(target)]
    return TargetAffinity(encoder, alone, together)
