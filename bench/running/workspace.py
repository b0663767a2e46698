"""Fitted encoders and their features, each computed once and shared by all cells of a run."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.data.images import Delivery, Images
from bench.data.samples import DataSet, SourceInfo, SplitName
from bench.data.shifts import ShiftedImages
from bench.digests import arrays_digest, digest
from bench.encoders.base import Encoder, FitReport
from bench.encoders.parts.state import object_digest, state_arrays
from bench.encoders.parts.stored_features import StoredFeatures
from bench.errors import BenchError, Declined
from bench.naming import registry
from bench.naming.neighbours import watched
from bench.naming.specs import Resolved
from bench.results.status import REVISION
from bench.running.backends import Backend, backend_for
from bench.running.cache import Cache
from bench.running.features import (
    Features,
    check_rows_independent,
    encode_features,
    encode_images,
    images_of,
    require_varying,
    source_info,
)
from bench.seeding import seeded, stream

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)
_WORTH = 5.0  # seconds: features that were faster to compute are not kept on disk


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What an encoder may be fitted on: `rows` of the train split's images, and their labels."""

    images: Images | Array  # an array: features, on which nothing is trained
    rows: Array
    labels: Mapping[str, Array]  # of these rows; they reach an encoder that uses labels
    info: SourceInfo
    fingerprint: str  # of the data set

    @classmethod
    def of(cls, dataset: DataSet, rows: Array, labels: Mapping[str, Array]) -> TrainingData:
        x = dataset.split("train").x
        assert not isinstance(x, Delivery)
        return cls(x, rows, labels, source_info(dataset), dataset.fingerprint)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """An encoder ready to use, the key of its weights, the report and seconds of its fit, the encoders
    that it depends on, and the notes of its files in the cache."""

    encoder: Encoder
    key: str
    report: FitReport
    seconds: float = 0.0
    depends: Mapping[str, Fitted] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def supervised(self) -> bool:
        """Has it learnt from labels, or an encoder that it depends on?"""
        return self.encoder.uses_labels or any(d.supervised for d in self.depends.values())

    @property
    def pretrained_on(self) -> tuple[str, ...]:
        """Data sets seen by given weights, also of the encoders that it depends on."""
        of_depends = (name for d in self.depends.values() for name in d.pretrained_on)
        return tuple(dict.fromkeys([*self.encoder.pretrained_on, *of_depends]))

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Those of `pretrained_on` whose labels were not used by any of these encoders."""
        parts: list[Encoder | Fitted] = [self.encoder, *self.depends.values()]
        labelled = {name for part in parts for name in {*part.pretrained_on} - {*part.unlabelled}}
        return tuple(name for name in self.pretrained_on if name not in labelled)

    @property
    def images_seen(self) -> int:
        return self.report.images_seen + sum(d.images_seen for d in self.depends.values())


def fresh(spec: Resolved, info: SourceInfo, seed: int, depends: Mapping[str, Fitted]) -> Encoder:
    """The untrained encoder: its initial state depends on the spec and the seed alone."""
    module = registry.load(spec.entry)
    arguments = {**spec.arguments, **{k: fitted.encoder for k, fitted in depends.items()}}
    with seeded(stream(seed, "trunk")), watched(module):
        encoder = module.build(source=info, **arguments)
    if not isinstance(encoder, Encoder):
        raise BenchError(
            f"{spec.entry.path}: build(...) returns {type(encoder).__name__}; "
            "it must return a bench.Encoder"
        )
    if spec.level is not None and spec.level not in encoder.dims:
        raise BenchError(
            f"{spec.text}: the encoder has no level {spec.level!r} (levels: {', '.join(encoder.dims)})"
        )
    return encoder.eval()


class Workspace:
    """Data sets, fitted encoders and features of one run; the oldest features are removed first.

    `datasets` gives the data set of a spec, each read once; `cache` keeps weights and features from
    run to run; `levels` are those that the run reads out (None in it: each encoder's default), and
    no others are kept; `most_bytes` bounds the features that are kept in memory.
    """

    def __init__(
        self,
        datasets: Callable[[str], DataSet],
        *,
        cache: Cache | None = None,
        levels: Collection[str | None] | None = None,
        device: str = "cpu",
        most_bytes: int = 2 * 2**30,
    ) -> None:
        self.dataset, self._cache, self._levels = datasets, cache, levels
        self._device, self._most = device, most_bytes
        self._fitted: dict[str, Fitted] = {}
        self._given: dict[int, Fitted] = {}  # by the id of the object, which it holds
        self._backends: dict[str, Backend] = {}
        self._features: OrderedDict[tuple[str, ...], Features] = OrderedDict()

    def fitted(self, spec: Resolved, data: TrainingData, *, seed: int) -> Fitted:
        """The encoder fitted on `data`.

        Its key is its recipe: arguments, revisions, what it was trained on, granted labels, seed;
        given weights enter by their digest.
        """
        depends = {n: self.fitted(inner, data, seed=seed) for n, inner in spec.depends.items()}
        info = data.info
        encoder = fresh(spec, info, seed, depends)
        recipe: dict[str, Any] = {
            "encoder": spec.training_digest,
            "shape": [info.channels, info.height, info.width],
            "depends": {name: inner.key for name, inner in depends.items()},
            "seed": seed if encoder.seeded else None,
        }
        if opened := spec.opened:
            recipe["files"] = sorted(content for _, content in opened.values())
        trained = spec.entry.training != "none" and spec.budget != 0
        if trained:
            recipe |= {"data": data.fingerprint, "rows": arrays_digest({"rows": data.rows})}
            if encoder.uses_labels:
                recipe["labels"] = arrays_digest(data.labels)
        elif state := state_arrays(encoder):
            recipe["weights"] = arrays_digest(state)
        key = digest(recipe)
        if key not in self._fitted:
            notes = {"spec": spec.text, "training": spec.training_digest, "seed": recipe["seed"]}
            report, seconds = FitReport(), 0.0
            if trained:
                noted = {**notes, "data": data.fingerprint}
                report, seconds = self._trained(encoder, spec, data, seed, key, noted)
            encoder = encoder.to(self._device).eval()
            self._fitted[key] = Fitted(encoder, key, report, seconds, depends, notes)
        return self._fitted[key]

    def given(self, encoder: Encoder) -> Fitted:
        """An encoder that was handed in as an object; its key is a digest of its content."""
        if id(encoder) not in self._given:
            key = f"object:{object_digest(encoder)}"
            self._given[id(encoder)] = Fitted(encoder.eval(), key, FitReport())
        return self._given[id(encoder)]

    def _trained(
        self,
        encoder: Encoder,
        spec: Resolved,
        data: TrainingData,
        seed: int,
        key: str,
        notes: Mapping[str, Any],
    ) -> tuple[FitReport, float]:
        """Train `encoder`, or load stored weights into it: the report, and the seconds of the fit.

        key: of the weights. notes: to be stored with them.
        """
        if isinstance(data.images, np.ndarray):
            raise Declined("an encoder is trained on images, and the data set holds features")
        with self._cache.making("weights", key) if self._cache is not None else nullcontext():
            stored = self._load(encoder, key)
            if stored is not None:
                return stored
            start = time.perf_counter()
            if spec.entry.training == "budget":
                encoder.to(self._device)
            report = encoder.fit(
                Delivery(data.images, encoder.input, data.rows),
                labels=data.labels if encoder.uses_labels else None,
                budget=spec.budget if spec.budget is not None else len(data.rows),
                seed=seed,
            )
            seconds = time.perf_counter() - start
            if self._cache is not None and _storable(encoder):
                notes = {**notes, "report": asdict(report), "seconds": seconds}
                self._cache.put("weights", key, state_arrays(encoder), notes)
            return report, seconds

    def _load(self, encoder: Encoder, key: str) -> tuple[FitReport, float] | None:
        """Load weights of an earlier run into `encoder`: the report and seconds of that fit; None: there
        are none."""
        stored = self._cache.get("weights", key) if self._cache is not None else None
        if stored is None or not _storable(encoder):
            return None
        shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        try:
            report, seconds = FitReport(**stored.notes["report"]), float(stored.notes["seconds"])
            # Before anything is loaded: half loaded it would no longer be the initial state of the seed.
            if {name: array.shape for name, array in stored.arrays.items()} != shapes:
                raise ValueError("names or shapes differ")
        except (LookupError, TypeError, ValueError) as error:
            log.warning("stored weights of %s do not fit (%s); they are trained anew", key, error)
            return None
        encoder.load_state_dict({n: torch.from_numpy(array) for n, array in stored.arrays.items()})
        return report, seconds

    def features(
        self,
        fitted: Fitted,
        dataset: DataSet,
        split: SplitName,
        *,
        shift: tuple[str, float] | None = None,
        level: str | None = None,
    ) -> Features:
        """Features of a whole split of a data set, or of a shifted copy of it; computed once.

        They hold `level` (None: the default one), and what else the same pass has given. The back end
        is chosen and checked on training images, so that test images are read for their features
        alone. What a data set without images holds is passed through the encoder as it is.
        Raises BenchError where all features of the training rows are constant.
        """
        samples = dataset.split(split)
        level = level or fitted.encoder.level
        if isinstance(samples.x, np.ndarray):
            features = encode_features(fitted.encoder, samples.x, name=f"{split} features")
            if split == "train":
                require_varying(features.levels[level], level)
            return features
        if isinstance(fitted.encoder, StoredFeatures):
            features = Features(fitted.encoder.of(dataset, split), 0.0)
            if split == "train":
                require_varying(features.levels[level], level)
            return features
        key = (fitted.key, dataset.fingerprint, split, str(shift))
        if key not in self._features or level not in self._features[key].levels:
            self._keep(key, self._read_or_encoded(fitted, dataset, split, shift, level, key))
        self._features.move_to_end(key)
        if split == "train" and shift is None:
            require_varying(self._features[key].levels[level], level)
        return self._features[key]

    def _read_or_encoded(
        self,
        fitted: Fitted,
        dataset: DataSet,
        split: SplitName,
        shift: tuple[str, float] | None,
        level: str,
        key: tuple[str, ...],
    ) -> Features:
        """Features from the disk, or of a pass over the images; arguments as for `features`.

        key: of the fitted encoder, the data set, the split and the shift.
        """
        encoder, images = fitted.encoder, images_of(dataset.split(split))
        names = {name: digest([*key, name, REVISION]) for name in encoder.dims}
        # An object that was handed in has no recipe, so no name that would find it again.
        cache = None if fitted.key.startswith("object:") else self._cache
        stored = cache.get("features", names[level]) if cache is not None else None
        if stored is not None and stored.arrays[level].shape == (len(images), encoder.dims[level]):
            return Features(stored.arrays, stored.notes["seconds"], stored.notes["engine"])
        if shift is not None:
            images = ShiftedImages(images, *shift, seed=stream(0, "shift"))
        features = encode_images(
            encoder,
            Delivery(images, encoder.input),
            name=f"{split} images",
            backend=self._backend(fitted, dataset),
            levels={level, *(name or encoder.level for name in self._levels or encoder.dims)},
        )
        if cache is not None and features.seconds > _WORTH:
            where = {"data": key[1], "split": split, "shift": key[3], "seconds": features.seconds}
            for name, array in features.levels.items():
                notes = {**fitted.notes, **where, "level": name, "engine": dict(features.backend)}
                cache.put("features", names[name], {name: array}, notes)
        return features

    def _backend(self, fitted: Fitted, dataset: DataSet) -> Backend:
        """The back end for an encoder, chosen once, and its features checked on 64 training images."""
        if fitted.key not in self._backends:
            images = Delivery(images_of(dataset.split("train")), fitted.encoder.input)
            backend = backend_for(fitted.encoder, images.read(np.arange(min(64, len(images)))))
            check_rows_independent(fitted.encoder, images, backend=backend)
            self._backends[fitted.key] = backend
        return self._backends[fitted.key]

    def forget(self) -> None:
        """Free all features in memory."""
        self._features.clear()

    def _keep(self, key: tuple[str, ...], features: Features) -> None:
        def size(features: Features) -> int:
            return sum(array.nbytes for array in features.levels.values())

        self._features[key] = features
        self._features.move_to_end(key)  # it may have been there with another level
        while len(self._features) > 3 and sum(map(size, self._features.values())) > self._most:
            self._features.popitem(last=False)


def _storable(encoder: Encoder) -> bool:
    """Can arrays hold all of its state, so that it can be loaded again?"""
    state = encoder.state_dict().values()
    return all(isinstance(entry, torch.Tensor) and not entry.is_quantized for entry in state)
