"""What do labels throw away? A trunk taught one factor of sprites, and asked for all the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import SPLITS, Target
from bench.diagnostics.factors import read_off
from bench.diagnostics.parts.factors import independent
from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.studies.base import Report, Setting
from bench.studies.labels_lost._report import AUTOENCODER, UNTRAINED, Found, report, taught

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/labels_lost"  # its key in the revisions of records
DATASET = "sprites"
CODE = "code"  # the layer that a head reads, beside the default level

Array = npt.NDArray[Any]


def run(
    *,
    setting: Setting,
    lessons: str = "shape colour size texture dot",
    budget: str = "100k",
    seeds: int = 5,
) -> Report:
    """Train `supervised` on each of `lessons`, factors of sprites, and `autoencoder` without labels, at
    `budget` images with `seeds` seeds, or take the weights that the cache has, and read every factor off
    each by a ridge probe. Scores are of validation images; test images are not read.

    Raises BenchError for fewer than 2 seeds, lessons that are no factors with classes, and where charts
    cannot be drawn.
    """
    if seeds < 2:
        raise BenchError(f"labels_lost: seeds={seeds}; 2 or more is wanted")
    load_altair()
    workspace = Workspace(
        setting.datasets,
        cache=setting.cache,
        levels={None, CODE},
        device=chosen_device(setting.device),
    )
    dataset = workspace.dataset(DATASET)
    train, val = dataset.split("train"), dataset.split("val")
    factors = independent(dataset.meta.targets)
    data = TrainingData.of(dataset, np.arange(len(train)), dict(train.y))
    known = [name for name, target in factors.items() if target.kind == "classes"]
    names = list(dict.fromkeys(lessons.split()))
    if not names or not set(names) <= set(known):
        raise BenchError(f"labels_lost: lessons={lessons!r}; some of {', '.join(known)} are wanted")
    specs = {taught(name): f"supervised,target={name}~{budget}" for name in names}
    specs |= {AUTOENCODER: f"autoencoder~{budget}", UNTRAINED: "autoencoder~0"}
    found = []
    for learner, text in specs.items():
        runs: dict[tuple[str, str], list[Array]] = {}
        for seed in range(seeds):
            setting.tell(f"{text}, seed {seed}: trained, or from the cache")
            fitted = workspace.fitted(resolve("encoders", text), data, seed=seed)
            for level in (fitted.encoder.level, CODE):
                x, z = (
                    workspace.features(fitted, dataset, split, level=level).levels[level]
                    for split in SPLITS[:2]
                )
                told = read_off(factors, x, {n: train.y[n] for n in factors}, z)
                for name, values in told.items():
                    rows = _rows(factors[name], values, val.y[name])
                    runs.setdefault((level, name), []).append(rows)
        found += [
            Found(learner, level, name, np.stack(rows)) for (level, name), rows in runs.items()
        ]
    return report(
        found, lessons=names, asked={"budget": budget, "seeds": seeds, "images": len(val)}
    )


def _rows(target: Target, told: Array, truth: Array) -> Array:
    """What each image (n,) adds to the score: right or wrong; of numbers 1 less the squared error in units
    of their variance, whose mean is R2."""
    if target.kind == "classes":
        found: Array = (told.argmax(axis=1) == truth).astype(np.float64)
        return found
    wide = truth.astype(np.float64)
    off = np.square(told - wide) / wide.var(axis=0)
    rows: Array = 1 - off.mean(axis=1)
    return rows
