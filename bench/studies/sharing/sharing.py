"""What is sharing between tasks worth? Where the answer is known, by coupling, by labels, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import SPLITS, DataSet, Samples, Target
from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import Resolved, resolve
from bench.protocols.multitask.soft_sharing import COUPLINGS
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.solvers.towers import Run
from bench.studies.base import Report, Setting
from bench.studies.parts.kept import Kept
from bench.studies.sharing._arms import Problem, Runs
from bench.studies.sharing._claims import claims
from bench.studies.sharing._figures import figures
from bench.studies.sharing._pair import synthetic_pair
from bench.studies.sharing._report import Affinity, Curve, Found, Pair, Sweep, report
from bench.studies.sharing._worth import equivalence, label_worth, slope
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Coords, Task

__all__ = ["run"]

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
# task would add nothing, and with 300 labels each there is little to give. Both functions hang on one
# direction of 100, for which 64 units are plenty, so that capacity does not bind.
FEW, MANY, VAL, TEST = 300, 3_000, 500, 5_000
PAIR = "width=64", 60  # of one tower; epochs
MARGIN = 0.05  # of log error ratio: as a tenth more labels where the error falls by their root
DRAWS = 4  # of the pair for every seed of the rest: 10 leave what is near the margin undecided
OWN = 10_000  # seed of the draw that settings are chosen on; no run has it

Array = npt.NDArray[Any]


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
    if seeds < 2 or epochs < 1 or not specs:
        raise BenchError(
            f"sharing: seeds={seeds}, epochs={epochs}, encoders={encoders!r}; two or more seeds, one "
            "or more epochs and encoders are wanted"
        )
    device = chosen_device(setting.device)
    workspace = Workspace(
        setting.datasets,
        cache=setting.cache,
        levels={None, *(s.level for s in specs)},
        device=device,
    )
    data = workspace.dataset(dataset)
    task = _task(resolve("datasets", dataset).text, data)
    kept = Kept(setting.folder / "runs.json", setting.tell)
    pair = _pair(Runs(kept, REVISION, DRAWS * seeds, PAIR[1]))
    runs, curves, sweeps = Runs(kept, REVISION, seeds, epochs), [], []
    for spec in specs:
        setting.tell(f"{spec.text}: {ENCODER_SEEDS} trainings, or from the cache")
        problems = _problems(workspace, spec, data, task)
        own = runs.chosen(problems[0], ALONE, task.targets)
        curves.append(_curve(runs, spec.text, problems, own))
        sweeps.append(_sweep(runs, spec.text, problems, task, data))
    affinity = _affinity(runs, specs[-1].text, problems, own)
    found = Found(task.dataset, len(data.split("test")), pair, curves, sweeps, affinity)
    asked = {"seeds": seeds, "epochs": epochs, "margin": MARGIN}
    return report(found, claims(found, MARGIN), figures(found), asked=asked)


def _task(name: str, data: DataSet) -> Task:
    """What says which labels are seen. Raises BenchError for fewer than two targets that are classes."""
    classes = [key for key, target in data.meta.targets.items() if target.kind == "classes"]
    targets = TARGETS.get(name.partition(",")[0], tuple(classes[:MOST]))
    if len(targets) < 2:
        raise BenchError(
            f"sharing: {name} has {len(targets)} targets that are classes; two or more are wanted"
        )
    return Task(
        name=f"{name}-sharing",
        family="multitask",
        dataset=name,
        targets=targets,
        protocol=HARD,
        chance=0.0,
    )


def _pair(runs: Runs) -> Pair:
    """Gains of the first task, which is the same at every correlation."""
    width = PAIR[0]
    told: dict[str, Run] = {}

    def first(arm: str, key: str, correlation: float) -> Array:
        def of(seed: int, correlation: float) -> Problem:
            found = _drawn(correlation, seed, full=key == "all labels")
            return found if arm == HARD else found.only("first")

        if key not in told:
            told[key] = runs.chosen(of(OWN, 0.5), f"{arm},{width}", ["first"])
        problems = [of(seed, correlation) for seed in range(runs.seeds)]
        row: Array = runs.scores(problems, f"{arm},{width}", told[key])[1][0]
        return row

    alone, full = first(ALONE, "alone", 0.0), first(ALONE, "all labels", 0.0)
    shared = np.stack([first(HARD, "shared", p) for p in CORRELATIONS])
    gains = np.log((1 - alone) / (1 - shared))
    return Pair(
        correlations=CORRELATIONS,
        labels=(FEW, MANY),
        alone=alone,
        shared=shared,
        full=full,
        slope=slope(CORRELATIONS, gains),
        equivalence=equivalence(gains[CORRELATIONS.index(0.0)].tolist(), MARGIN),
        settings=told,
    )


def _drawn(correlation: float, seed: int, *, full: bool) -> Problem:
    """One draw of the pair: rows with labels of the first task and rows with labels of the second, or
    with `full` labels of both on all of them."""
    count = FEW + MANY + VAL + TEST
    x, y = synthetic_pair(correlation, rows=count, seed=seed)
    ends = {
        "train": (0, FEW + MANY),
        "val": (FEW + MANY, count - TEST),
        "test": (count - TEST, count),
    }
    parts = {
        split: Samples(x[a:b], {name: v[a:b].copy() for name, v in y.items()}, np.arange(a, b))
        for split, (a, b) in ends.items()
    }
    if not full:
        parts["train"].y["first"][FEW:] = np.nan
        parts["train"].y["second"][:FEW] = np.nan
    targets = {name: Target("number", 1, (name,)) for name in y}
    name = f"pair at {correlation:g}{', all labels' if full else ''}, draw {seed}"
    return Problem.read(parts, targets, 0, name=name, recipe=f"{FEW} + {MANY} + {VAL} + {TEST}")


def _problems(workspace: Workspace, spec: Resolved, data: DataSet, task: Task) -> list[Problem]:
    """One a training; one in all where the encoder draws no random numbers."""
    targets, found = task_targets(task, data.meta), dict[str, Problem]()
    source = workspace.dataset(spec.source) if spec.source else data
    train = source.split("train")
    labels = {name: y.copy() for name, y in train.y.items()}
    for seed in range(ENCODER_SEEDS):
        fitted = workspace.fitted(spec, TrainingData.of(source, train.rows, labels), seed=seed)
        if fitted.supervised and source is data:
            raise BenchError(
                f"sharing: {spec.text} has seen the labels that heads are to do without; name one that "
                "learns elsewhere, or without labels"
            )
        level = spec.level or fitted.encoder.level
        if fitted.key in found:
            continue
        parts: dict[str, Samples] = {}
        for split in SPLITS:
            given = data.split(split)
            features = workspace.features(fitted, data, split, level=level)
            parts[split] = Samples(features.levels[level], given.y, given.rows)
        found[fitted.key] = Problem.read(
            parts,
            targets,
            PCA,
            name=f"{spec.text} on {task.dataset}",
            recipe=f"{fitted.key}, {level}, {data.fingerprint}",
        )
    return list(found.values())


def _curve(runs: Runs, encoder: str, problems: Sequence[Problem], own: Run) -> Curve:
    """Along the coupling, at the setting of towers of their own."""
    scored = [
        runs.scores(problems, SOFT, replace(own, coupling=coupling)) for coupling in COUPLINGS
    ]
    val, test = (np.stack([each[split] for each in scored]) for split in (0, 1))
    return Curve(encoder, tuple(problems[0].targets), COUPLINGS, val, test, own)


def _sweep(
    runs: Runs, encoder: str, problems: Sequence[Problem], task: Task, data: DataSet
) -> Sweep:
    """By labels a class of the first target; each seed its own labels, each arm its own setting."""
    first, train, val = task.targets[0], data.split("train"), data.split("val")
    targets = task_targets(task, data.meta)
    known = train.y[first][train.y[first] >= 0]
    counts = np.bincount(known, minlength=targets[first].size)
    sizes = [size for size in SIZES if size < counts[counts > 0].min()]
    arms: dict[str, list[Array]] = {"alone": [], "shared": [], "shuffled": []}
    told: dict[str, Run] = {}
    for size in (*sizes, None):

        def of(arm: str, seed: int, size: int | None = size) -> Problem:
            at = Coords(per_class=size, subset=seed)
            y = dict(grant(task, {first: targets[first]}, train, val, at).train_labels)
            if arm == "shuffled":
                at = Coords(control="shuffled_auxiliary", head_seed=seed)
                y = {**grant(task, targets, train, val, at).train_labels, **y}
            problem = problems[seed % len(problems)].labelled(
                y, f"{first}: {size or 'all'} a class, {arm}, draw {seed}"
            )
            return problem.only(first) if arm == "alone" else problem

        for arm, rows in arms.items():
            protocol = ALONE if arm == "alone" else HARD
            key = f"{'alone' if arm == 'alone' else 'shared'}, {size or 'all'}"
            if key not in told:
                told[key] = runs.chosen(of(arm, 0), protocol, [first])
            each = [of(arm, seed) for seed in range(runs.seeds)]
            rows.append(runs.scores(each, protocol, told[key])[1][0])
    scored = {arm: np.stack(rows) for arm, rows in arms.items()}
    labels = (*map(float, sizes), len(known) / int((counts > 0).sum()))
    least = 0.5 / len(problems[0].test.x)
    kappa = label_worth(labels, scored["alone"], scored["shared"], least=least)
    return Sweep(encoder, first, labels, **scored, kappa=kappa, settings=told)


def _affinity(runs: Runs, encoder: str, problems: Sequence[Problem], own: Run) -> Affinity:
    """Each ordered pair of targets, at the setting of towers of their own."""
    names = list(problems[0].targets)
    alone = dict(zip(names, runs.scores(problems, ALONE, own)[1], strict=True))
    together: dict[tuple[str, str], Array] = {}
    for one, other in permutations(names, 2):
        some = [problem.only(one, other) for problem in problems]
        rows = runs.scores(some, HARD, own)[1]
        together[one, other] = rows[list(some[0].targets).index(other)]
    return Affinity(encoder, alone, together)
