"""Encoders that a study fits on one data set, by their spec and seed, and what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery, Input
from bench.data.samples import Array, DataSet, Samples, SplitName
from bench.encoders.base import Encoder
from bench.naming.specs import Resolved, resolve
from bench.running.features import images_of
from bench.running.workspace import Fitted, TrainingData, Workspace
from bench.seeding import generator
from bench.studies.base import Setting
from bench.tasks.grants import task_targets
from bench.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class SourceFits:
    """Encoders fitted on all training rows of a data set; `data` has the labels that they may use."""

    workspace: Workspace
    dataset: DataSet
    data: TrainingData
    progress: Callable[[str], None]

    @classmethod
    def of(
        cls,
        setting: Setting,
        dataset: str | Task,
        *,
        labels: Iterable[str] | None = None,
        workspace: Workspace | None = None,
    ) -> SourceFits:
        """On a data set, or on that of a task with the labels of its targets. `labels`: the targets that
        encoders may learn from (None: all); `workspace`: one that other fits share."""
        workspace = workspace or setting.workspace()
        source = workspace.dataset(dataset if isinstance(dataset, str) else dataset.dataset)
        train = source.split("train")
        if isinstance(dataset, Task):
            labels = task_targets(dataset, source.meta)
        y = {name: train.y[name].copy() for name in (train.y if labels is None else labels)}
        data = TrainingData.of(source, train.rows, y)
        return cls(workspace, source, data, setting.progress)

    def fitted(self, spec: str | Resolved, seed: int = 0) -> Fitted:
        """Trained, or with the weights that the cache has."""
        spec = resolve("encoders", spec) if isinstance(spec, str) else spec
        self.progress(f"{spec.text}, seed {seed}: training, or from the cache")
        return self.workspace.fitted(spec, self.data, seed=seed)

    def encoder(self, spec: str | Resolved, seed: int = 0) -> Encoder:
        return self.fitted(spec, seed).encoder

    def features(self, fitted: Fitted, split: SplitName, level: str | None = None) -> Array:
        """Features (n, d) of a split, of the default level or another."""
        level = level or fitted.encoder.level
        return self.workspace.features(fitted, self.dataset, split, level=level).levels[level]

    def samples(self, fitted: Fitted, split: SplitName, level: str | None = None) -> Samples:
        """These features with the labels of their rows."""
        part = self.dataset.split(split)
        return Samples(self.features(fitted, split, level), part.y, part.rows)

    def delivery(self, split: SplitName, form: Input) -> Delivery:
        return Delivery(images_of(self.dataset.split(split)), form)

    def images(self, split: SplitName, form: Input, rows: Array, device: torch.device) -> Tensor:
        """Images (n, c, h, w) in [0, 1] of some rows of a split, as an encoder of that input gets them."""
        return self.delivery(split, form).read(rows).to(device)


def sampled_rows(total: int, count: int, *, seed: int, purpose: str) -> Array:
    """`count` rows out of `total`, sorted, each at most once (all, where there are fewer)."""
    return np.sort(generator(seed, purpose).permutation(total)[:count])
