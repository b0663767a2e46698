"""What a cell's protocol works on: fitted encoders, and samples as the task's input wants them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import DataSet, Meta, Samples, SourceInfo, SplitName
from bench.data.shifts import ShiftedImages
from bench.diagnostics.base import Context
from bench.digests import arrays_digest, digest
from bench.encoders.base import Encoder, FitReport
from bench.errors import BenchError, Declined
from bench.naming.specs import Resolved, share_images
from bench.results.identity import Cell
from bench.running.features import (
    activations,
    check_rows_independent,
    encode_features,
    images_of,
    source_info,
)
from bench.running.workspace import Fitted, TrainingData, Workspace, fresh
from bench.seeding import stream
from bench.tasks.grants import Grant

__all__ = ["Material"]

Array = npt.NDArray[Any]
Shift = tuple[str, float] | None


class Material:
    """One cell's encoders and images. It reads the test split's images and never its labels."""

    def __init__(self, cell: Cell, workspace: Workspace) -> None:
        self.task, self.given, self._workspace = cell.task, cell.encoder, workspace
        self.dataset: DataSet = workspace.dataset(cell.task.dataset)
        self.info = source_info(self.dataset)
        self.fits: dict[str, Fitted] = {}
        self._checked: set[str] = set()
        self._activated: dict[tuple[Any, ...], Array] = {}
        self.extract_seconds: dict[tuple[str, str, Shift], float] = {}
        self.engine: dict[str, Any] = {}  # the back end that computed the features
        self.blocks = cell.task.resolved_protocol.arguments.get("blocks")

    @property
    def spec(self) -> Resolved | None:
        """The encoder's spec; None for an object that was handed in."""
        return self.given if isinstance(self.given, Resolved) else None

    @property
    def _fits_here(self) -> bool:
        """Is the encoder trained on the task's own images?"""
        spec = self.spec
        trained = spec is not None and spec.entry.training != "none" and spec.budget != 0
        return spec is not None and trained and self.has_own_images(spec.source)

    def has_own_images(self, source: str | None) -> bool:
        """Does a data set have the task's images? None: the task's own."""
        return source is None or share_images(source, self.task.dataset)

    @property
    def per_split(self) -> bool:
        """Is the encoder trained anew without each split's unseen classes?"""
        trained = self.spec is not None and self.spec.entry.training != "none"
        own = self.spec is not None and self.spec.source is None
        return trained and own and not self.task.transductive

    def decline(self) -> Encoder:
        """An example of the encoder. Raises Declined for a cell that the rules do not allow."""
        self._require_readable(self.task.dataset, self.info)
        if self.info.features and self.task.replicates.shifts:
            raise Declined(f"{self.task.dataset} holds features: only images can be shifted")
        start = (
            Fitted(self.given, "", FitReport())
            if isinstance(self.given, Encoder)
            else _untrained(self.spec, self.info, 0)
        )
        example = start.encoder
        removed = bool(self.task.removed_classes or self.task.replicates.splits)
        source = self.spec.source if self.spec else None
        same = source is not None and self.has_own_images(source)
        if removed and same and not self.task.transductive:
            raise Declined(
                f"@{source} trains on images of all classes of {self.task.dataset}; this task removes some"
            )
        if removed and self.task.transductive and start.supervised:
            raise Declined("a transductive task is for encoders that use no labels")
        if self.task.family == "few_labels" and start.supervised and self._fits_here:
            raise Declined(
                "an encoder that uses labels would be trained anew on every few of them, or has seen "
                "all; name another source, as in supervised@mnist"
            )
        if self.task.input != "features" and not example.differentiable:
            raise Declined("this encoder cannot be fine-tuned: it passes no gradients")
        if self.task.input == "activations":
            _last_stages(example, int(self.blocks or 0))
        return example

    def _require_readable(self, dataset: str, info: SourceInfo) -> None:
        """Raise Declined where the encoder takes images and a data set holds features, or the reverse."""
        takes = "images" if self.spec is None else self.spec.entry.takes
        if info.features and takes == "images":
            raise Declined(f"{dataset} holds features, not images: use given_features")
        if takes == "features" and not info.features:
            raise Declined(f"{dataset} holds images, not features: use an encoder of images")

    def start(self) -> str | None:
        """Digest of the untrained trunk, of seed 0: the weights that its level hangs on, and what holds
        them. Equal for encoders that tuning from scratch cannot tell apart. None: nothing is tuned."""
        if self.task.input == "features" or self.spec is None:
            return None
        encoder = _untrained(self.spec, self.info, 0).encoder
        level, size = self.spec.level or encoder.level, encoder.input.size
        encoder.taps(torch.zeros(1, encoder.input.channels, *size))[level].sum().backward()  # type: ignore[no-untyped-call]
        parts = [
            (type(module).__name__, parameter.detach().numpy())
            for module in encoder.modules()
            for parameter in module.parameters(recurse=False)
            if parameter.grad is not None
        ]
        weights = {f"{number:04}": array for number, (_, array) in enumerate(parts)}
        return digest([[kind for kind, _ in parts], arrays_digest(weights)])

    def fitted(self, granted: Grant, seed: int) -> Fitted:
        """The encoder, trained on what the replicate grants it, or on its source data set."""
        if isinstance(self.given, Encoder):
            fitted = Fitted(self.given.eval(), f"object:{id(self.given)}", FitReport())
        elif self.given.source is not None:
            source = self._workspace.dataset(self.given.source)
            self._require_readable(self.given.source, source_info(source))
            train = source.split("train")
            labels = {name: y.copy() for name, y in train.y.items()}
            data = TrainingData.of(source, train.rows, labels)
            fitted = self._workspace.fitted(self.given, data, seed=seed)
        else:
            data = TrainingData.of(self.dataset, granted.encoder_rows, granted.encoder_labels)
            fitted = self._workspace.fitted(self.given, data, seed=seed)
        self.fits.setdefault(fitted.key, fitted)
        if self.task.input != "features" and fitted.key not in self._checked:
            images = images_of(self.dataset.split("train"))
            check_rows_independent(fitted.encoder, Delivery(images, fitted.encoder.input))
            self._checked.add(fitted.key)
        return fitted

    def samples(self, fitted: Fitted, granted: Grant) -> tuple[Samples, Samples | None]:
        """Train and val as the protocol may see them: for tuning the labelled training rows alone."""
        rows, labels = granted.train, granted.train_labels
        if self.task.input != "features" and not granted.labelled.all():
            labelled = granted.labelled
            rows, labels = rows[labelled], {name: y[labelled] for name, y in labels.items()}
        train = Samples(self.x(fitted, "train", rows), labels, rows)
        if granted.val is None:
            return train, None
        return train, Samples(self.x(fitted, "val", granted.val), granted.val_labels, granted.val)

    def features(self, fitted: Fitted, split: SplitName, shift: Shift = None) -> dict[str, Array]:
        """Level -> features (n, d) of a whole split, computed once."""
        samples = self.dataset.split(split)
        if isinstance(samples.x, np.ndarray):
            found = encode_features(fitted.encoder, samples.x, what=f"{split} features")
        else:
            found = self._workspace.features(
                fitted,
                images_of(samples),
                fingerprint=self.dataset.fingerprint,
                split=split,
                shift=shift,
                level=self.level(fitted),
                sample=images_of(self.dataset.split("train")),
            )
        self.extract_seconds[fitted.key, split, shift] = found.seconds
        self.engine = dict(found.engine)
        return dict(found.levels)

    def level(self, fitted: Fitted) -> str:
        """The level that is read out."""
        return (self.spec.level if self.spec else None) or fitted.encoder.level

    def x(
        self, fitted: Fitted, split: SplitName, rows: Array | None, shift: Shift = None
    ) -> Array | Delivery:
        """What a protocol sees of `rows` (None: all) of a split: features, images or activations."""
        encoder = fitted.encoder
        if self.task.input == "features":
            features = self.features(fitted, split, shift)[self.level(fitted)]
            return features if rows is None or len(rows) == len(features) else features[rows]
        images = images_of(self.dataset.split(split))
        if shift is not None:
            images = ShiftedImages(images, *shift, seed=stream(0, "shift"))
        delivery = Delivery(images, encoder.input, rows)
        if self.task.input == "images":
            return delivery
        return self._activations(fitted, delivery, (split, shift))

    def _activations(self, fitted: Fitted, images: Delivery, where: tuple[str, Shift]) -> Array:
        """What comes out below the tuned stages, computed once for all heads of one fitted encoder."""
        key = (fitted.key, *where, arrays_digest({"rows": images.rows}))
        if any(other[0] != fitted.key for other in self._activated):
            self._activated.clear()
        if key not in self._activated:
            below = fitted.encoder.stages()
            assert below is not None
            self._activated[key] = activations(below[: -int(self.blocks or 0)], images)
        return self._activated[key]

    def context(self, fitted: Fitted, meta: Meta, head: nn.Module | None, seed: int) -> Context:
        """What diagnostics see of a fitted encoder: training and validation, and the task's outliers."""
        train, val = self.dataset.split("train"), self.dataset.split("val")
        encoder, other = fitted.encoder, self.task.outliers

        def images(samples: Samples) -> Delivery:
            return Delivery(images_of(samples), encoder.input)

        return Context(
            encoder=encoder,
            level=self.level(fitted),
            meta=meta,
            factors=self.dataset.meta.targets,
            training=Samples(images(train), train.y, train.rows),
            trained=self.features(fitted, "train"),
            validation=Samples(images(val), val.y, val.rows),
            features=self.features(fitted, "val"),
            outliers=images(self._workspace.dataset(other).split("val")) if other else None,
            head=head,
            seed=seed,
        )

    def trunk(self, fitted: Fitted | None) -> TrunkOf:
        """The factory of modules that a protocol may tune."""
        level = None if fitted is None else self.level(fitted)
        return TrunkOf(self.spec, self.info, self.task.input, level, self.blocks, fitted)


@dataclass(frozen=True, slots=True, eq=False)
class TrunkOf:
    """Implements `TrunkFactory`: each call gives a module of its own, free to be changed.

    It holds an encoder and no data set: nothing leads from a protocol to the test split.
    """

    spec: Resolved | None
    info: SourceInfo
    input: Literal["features", "activations", "images"]
    level: str | None
    blocks: int | None  # of the protocol's own arguments
    fitted: Fitted | None

    def __call__(
        self, state: Literal["trained", "untrained"], *, seed: int, blocks: int | None = None
    ) -> nn.Module:
        if self.fitted is None or self.level is None:
            raise BenchError("a protocol takes its trunk in fit, not in build")
        if self.input == "features":
            return nn.Identity()
        if state == "untrained":
            encoder = _untrained(self.spec, self.info, seed).encoder
        else:
            encoder = copy.deepcopy(self.fitted.encoder)
        part: nn.Module = _Level(encoder, self.level)
        if self.input == "activations":
            part = _last_stages(encoder, int(blocks or self.blocks or 0))
        return part.requires_grad_(True)


def _untrained(spec: Resolved | None, info: SourceInfo, seed: int) -> Fitted:
    """A fresh encoder of this kind, on fresh ones of those that it depends on."""
    if spec is None:
        raise Declined("a given object has no untrained copy")
    depends = {name: _untrained(other, info, seed) for name, other in spec.depends.items()}
    return Fitted(fresh(spec, info, seed, depends), "", FitReport(), depends=depends)


def _last_stages(encoder: Encoder, blocks: int) -> nn.Sequential:
    stages = encoder.stages()
    if stages is None:
        raise Declined("this encoder cannot be fine-tuned in parts: it has no stages")
    if not 1 <= blocks <= len(stages):
        raise Declined(f"blocks={blocks} does not fit: there are {len(stages)} stages")
    return stages[-blocks:]


class _Level(nn.Module):
    """An encoder's features of one level, as a module."""

    def __init__(self, encoder: Encoder, level: str) -> None:
        super().__init__()
        self.encoder, self.level = encoder, level

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.taps(images)[self.level]
