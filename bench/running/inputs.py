"""What a cell's protocol works on: an encoder fitted, and samples in the form of the task's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples, SplitName
from bench.data.shifts import ShiftedImages
from bench.diagnostics.base import Context
from bench.digests import arrays_digest
from bench.encoders.base import Encoder
from bench.running.features import (
    activations,
    check_rows_independent,
    images_of,
    is_collapsed,
    source_info,
)
from bench.running.rules import check_readable, tuned_blocks
from bench.running.trunks import FittedTrunk
from bench.running.workspace import Fitted, TrainingData, Workspace
from bench.seeding import stream
from bench.tasks.cell import Cell
from bench.tasks.grants import Grant

Array = npt.NDArray[Any]
Shift = tuple[str, float] | None


def fitted_encoder(cell: Cell, workspace: Workspace, granted: Grant, *, seed: int) -> Fitted:
    """The cell's encoder, trained on what the replicate grants it, or on its source data set.

    Raises Declined where it cannot read its source.
    """
    if isinstance(cell.encoder, Encoder):
        return workspace.given(cell.encoder)
    spec, rows, labels = cell.encoder, granted.encoder_rows, granted.encoder_labels
    data = spec.training_data
    source = workspace.dataset(cell.task.dataset if data is None else data.full_text)
    if spec.source is not None:
        check_readable(spec, spec.source, source_info(source))
        train = source.split("train")
        rows, labels = train.rows, {name: y.copy() for name, y in train.y.items()}
    return workspace.fitted(spec, TrainingData.of(source, rows, labels), seed=seed)


class Inputs:
    """Features, images or activations of one fitted encoder, for one task.

    It reads the test split's images and never its labels. Raises BenchError for an encoder that is
    to be tuned and whose features depend on the batch or are constant.
    """

    def __init__(self, cell: Cell, workspace: Workspace, fitted: Fitted) -> None:
        self.task, self.spec, self.fitted, self._workspace = cell.task, cell.spec, fitted, workspace
        self.dataset = workspace.dataset(cell.task.dataset)
        self.level = (self.spec.level if self.spec else None) or fitted.encoder.level  # read out
        self.extract_seconds: dict[tuple[SplitName, Shift], float] = {}
        self.backend: Mapping[str, Any] = {}  # that computed the features
        self._activations: dict[tuple[SplitName, Shift, str], Array] = {}
        if self.task.input != "features":
            images = images_of(self.dataset.split("train"))
            delivery = Delivery(images, fitted.encoder.input)
            sample = check_rows_independent(fitted.encoder, delivery)
            if is_collapsed(sample.levels[self.level]):
                self.features("train")  # raises where all training images have the same features

    def samples(self, granted: Grant) -> tuple[Samples, Samples | None]:
        """Train and val as the protocol may see them: for tuning the labelled training rows alone."""
        rows, labels = granted.train, granted.train_labels
        if self.task.input != "features" and not granted.labelled.all():
            labelled = granted.labelled
            rows, labels = rows[labelled], {name: y[labelled] for name, y in labels.items()}
        train = Samples(self.x("train", rows), labels, rows)
        if granted.val is None:
            return train, None
        return train, Samples(self.x("val", granted.val), granted.val_labels, granted.val)

    def features(self, split: SplitName, shift: Shift = None) -> dict[str, Array]:
        """Level -> features (n, d) of a whole split, computed once."""
        features = self._workspace.features(
            self.fitted, self.dataset, split, shift=shift, level=self.level
        )
        self.extract_seconds[split, shift] = features.seconds
        self.backend = features.backend
        return dict(features.levels)

    def x(self, split: SplitName, rows: Array | None, shift: Shift = None) -> Array | Delivery:
        """What a protocol sees of `rows` (None: all) of a split: features, images or activations."""
        if self.task.input == "features":
            features = self.features(split, shift)[self.level]
            return features if rows is None or len(rows) == len(features) else features[rows]
        images = images_of(self.dataset.split(split))
        if shift is not None:
            images = ShiftedImages(images, *shift, seed=stream(0, "shift"))
        delivery = Delivery(images, self.fitted.encoder.input, rows)
        if self.task.input == "images":
            return delivery
        key = (split, shift, arrays_digest({"rows": delivery.rows}))
        if key not in self._activations:
            stages = self.fitted.encoder.stages()
            assert stages is not None
            below = stages[: -tuned_blocks(self.task)]
            self._activations[key] = activations(below, delivery)
        return self._activations[key]

    def forget_activations(self) -> None:
        """Free what comes out below the tuned stages: it is kept for the heads of one encoder."""
        self._activations.clear()

    def context(self, meta: Meta, head: nn.Module | None, seed: int) -> Context:
        """What diagnostics see of the encoder: training and validation, and the task's outliers."""
        train, val = self.dataset.split("train"), self.dataset.split("val")
        encoder, outliers = self.fitted.encoder, self.task.outliers

        def images(samples: Samples) -> Delivery:
            return Delivery(images_of(samples), encoder.input)

        return Context(
            encoder=encoder,
            level=self.level,
            meta=meta,
            factors=self.dataset.meta.targets,
            training=Samples(images(train), train.y, train.rows),
            training_features=self.features("train"),
            validation=Samples(images(val), val.y, val.rows),
            validation_features=self.features("val"),
            outliers=images(self._workspace.dataset(outliers).split("val")) if outliers else None,
            head=head,
            seed=seed,
        )

    def trunk(self) -> FittedTrunk:
        """The factory of modules that a protocol may tune."""
        return FittedTrunk(
            spec=self.spec,
            info=source_info(self.dataset),
            encoder=self.fitted.encoder,
            level=self.level,
            input=self.task.input,
            blocks=tuned_blocks(self.task),
        )
