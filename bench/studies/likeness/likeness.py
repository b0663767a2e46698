"""Which representations are alike? Linear CKA between encoders, as a table and as a map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.drawing.charts import load_altair
from bench.errors import BenchError
from bench.naming.specs import Resolved, resolve
from bench.running.machine import chosen_device
from bench.running.workspace import Fitted, TrainingData, Workspace
from bench.seeding import generator
from bench.solvers.cka import pairwise_cka
from bench.studies.base import Report, Setting
from bench.studies.likeness._report import LABELLED, UNLABELLED, Found, Member, report
from bench.tasks.files import load
from bench.tasks.grants import task_targets

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/likeness"  # its key in the revisions of records
GROUPS = 20  # of images, of which one after another is left out

Array = npt.NDArray[Any]


def run(
    *,
    setting: Setting,
    dataset: str = "fashion_mnist",
    encoders: str = (
        "pixels pca autoencoder~0 autoencoder denoising sparse vae contractive supervised "
        "timm_backbone,model=tf_efficientnet_lite0,size=96 hog"
    ),
    twice: str = "autoencoder",
    images: int = 2000,
    seed: int = 0,
) -> Report:
    """Train each encoder on the data set's training rows, or take what is kept, `twice` with the next seed
    too, and compare their default levels on `images` validation images. The test split is not read.

    Raises BenchError for fewer than 40 images or more than there are, fewer than three encoders, a
    `twice` that is none of them, and where charts cannot be drawn.
    """
    load_altair()
    specs = [resolve("encoders", name) for name in encoders.split()]
    again = resolve("encoders", twice)
    if len({spec.text for spec in specs}) < 3 or again.text not in {spec.text for spec in specs}:
        raise BenchError(
            f"likeness: encoders={encoders!r}, twice={twice!r}; three or more, and one of them twice"
        )
    task = load(f"{resolve('datasets', dataset).text}-linear")
    workspace = Workspace(
        setting.datasets, cache=setting.cache, levels={None}, device=chosen_device(setting.device)
    )
    data = workspace.dataset(task.dataset)
    train, val = data.split("train"), data.split("val")
    if not 2 * GROUPS <= images <= len(val):
        raise BenchError(f"likeness: images={images}; {2 * GROUPS} to {len(val)} are wanted")
    labels = {name: train.y[name] for name in task_targets(task, data.meta)}
    rows = np.sort(generator(seed, "images").permutation(len(val))[:images])
    given = TrainingData.of(data, np.arange(len(train)), labels)

    def member(spec: Resolved, number: int) -> tuple[Member, Array]:
        setting.tell(f"{spec.text}, seed {number}: fitted, or from the cache")
        fitted = workspace.fitted(spec, given, seed=number)
        found = workspace.features(fitted, data, "val", level=spec.level)
        level = spec.level or fitted.encoder.level
        name = f"{spec.text}, seed {number}" if spec.text == again.text else spec.text
        by_steps = spec.entry.training == "budget" and spec.budget != 0
        kind = _kind(fitted, trained=by_steps or spec.entry.training == "closed_form")
        return Member(name, kind, fitted.encoder.dims[level], by_steps), found.levels[level][rows]

    found = [member(spec, seed) for spec in specs]
    found.append(member(again, seed + 1))
    setting.tell(f"{len(found)} representations compared on {images} images")
    values, without = pairwise_cka([features for _, features in found], GROUPS)
    return report(
        Found([member for member, _ in found], values, without),
        first=[spec.text for spec in specs].index(again.text),
        start=next((i for i, s in enumerate(specs) if s == replace(again, budget=0)), None),
        asked={"dataset": task.dataset, "images": images, "seed": seed},
    )


def _kind(fitted: Fitted, *, trained: bool) -> str:
    if fitted.pretrained_on:
        return f"trained on {', '.join(fitted.pretrained_on)}"
    if not trained:
        return "not trained"
    return LABELLED if fitted.supervised else UNLABELLED
