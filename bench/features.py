"""Encoders fitted, and their features, each computed once and shared by all cells that ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench import registry
from bench.data import DataSet, Samples, SourceInfo
from bench.digests import arrays_digest, digest
from bench.encoders.base import Encoder, FitReport
from bench.errors import BenchError
from bench.images import Delivery, Images
from bench.seeding import seeded, stream
from bench.shifts import ShiftedImages
from bench.specs import Resolved

__all__ = [
    "Features",
    "Fitted",
    "Lab",
    "activations",
    "check_rows_independent",
    "extract",
    "fresh",
    "images_of",
    "source_info",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """An encoder ready to use, what its fit did, and the key of its weights."""

    encoder: Encoder
    key: str
    report: FitReport
    seconds: float = 0.0
    depends: Mapping[str, Fitted] = field(default_factory=dict)

    @property
    def supervised(self) -> bool:
        """Have labels gone into it, or into an encoder that it depends on?"""
        return self.encoder.uses_labels or any(d.supervised for d in self.depends.values())

    @property
    def pretrained_on(self) -> tuple[str, ...]:
        """Data sets seen by given weights, also of the encoders that it depends on."""
        own = self.encoder.pretrained_on
        return tuple(
            dict.fromkeys([*own, *(s for d in self.depends.values() for s in d.pretrained_on)])
        )

    @property
    def images_seen(self) -> int:
        return self.report.images_seen + sum(d.images_seen for d in self.depends.values())


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Level -> (n, d) float32, and the seconds that reading and encoding took."""

    levels: Mapping[str, Array]
    seconds: float


def source_info(dataset: DataSet) -> SourceInfo:
    """What an encoder may know of a data set before it sees an image."""
    native = images_of(dataset.split("train")).native
    height, width = native.size
    return SourceInfo(native.channels, height, width, dataset.meta.targets)


def images_of(samples: Samples) -> Images:
    """The images of a data set's own split."""
    if isinstance(samples.x, Delivery | np.ndarray):
        raise TypeError("a data set's split holds images")
    return samples.x


def fresh(spec: Resolved, info: SourceInfo, seed: int, depends: Mapping[str, Fitted]) -> Encoder:
    """The untrained encoder: its initial state hangs on the seed alone, whatever its kind."""
    module = registry.load(spec.entry)
    arguments = {**spec.arguments, **{k: fitted.encoder for k, fitted in depends.items()}}
    with seeded(stream(seed, "trunk")):
        encoder = module.build(source=info, **arguments)
    if not isinstance(encoder, Encoder):
        raise BenchError(
            f"{spec.entry.path}: build(...) gives {type(encoder).__name__}; "
            "a bench.encoders.base.Encoder is wanted"
        )
    if spec.level is not None and spec.level not in encoder.dims:
        raise BenchError(
            f"{spec.text}: level {spec.level!r} is not read out (levels: {', '.join(encoder.dims)})"
        )
    return encoder.eval()


def extract(encoder: Encoder, images: Delivery, *, what: str, batch: int = 512) -> Features:
    """Features of all levels, in one pass, in eval mode, without gradients.

    Raises BenchError for shapes that `dims` does not promise, and for NaN or infinity.
    """
    start, encoder = time.perf_counter(), encoder.eval()
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    found = {level: np.empty((len(images), d), np.float32) for level, d in encoder.dims.items()}
    done = 0
    with torch.inference_mode():
        for chunk in images.batches(batch):
            taps = encoder.taps(chunk.to(device))
            for level, array in found.items():
                tap = taps[level]
                if tap.shape != (len(chunk), array.shape[1]):
                    raise BenchError(
                        f"{what}: level {level!r} has shape {tuple(tap.shape)}; dims promises "
                        f"{(len(chunk), array.shape[1])}"
                    )
                array[done : done + len(chunk)] = tap.float().cpu().numpy()
            done += len(chunk)
    for level, array in found.items():
        bad = int((~np.isfinite(array).all(axis=1)).sum())
        if bad:
            raise BenchError(
                f"{what}: features of level {level!r} hold NaN or infinity in {bad} of {len(array)} rows"
            )
    return Features(found, time.perf_counter() - start)


def activations(below: nn.Module, images: Delivery, *, batch: int = 512) -> Array:
    """What comes out of the stages below the tuned ones: (n, ...) float32."""
    below.eval()
    with torch.inference_mode():
        return np.concatenate([below(chunk).float().numpy() for chunk in images.batches(batch)])


class Lab:
    """Data sets, fitted encoders and features of one run; the oldest features leave first.

    `datasets` gives the data set of a spec, each read once; `most_bytes` bounds the features that
    are kept.
    """

    def __init__(self, datasets: Callable[[str], DataSet], *, most_bytes: int = 2 * 2**30) -> None:
        self.dataset, self._most = datasets, most_bytes
        self._fitted: dict[str, Fitted] = {}
        self._features: OrderedDict[tuple[str, ...], Features] = OrderedDict()

    def fitted(
        self,
        spec: Resolved,
        *,
        images: Images,
        rows: Array,
        labels: Mapping[str, Array],
        info: SourceInfo,
        fingerprint: str,
        seed: int,
    ) -> Fitted:
        """The encoder fitted on `rows` of `images`; labels (of these rows) reach it if it uses them.

        Its key is its recipe: arguments, revisions, what it was trained on, granted labels, seed.
        """
        depends = {
            name: self.fitted(
                other,
                images=images,
                rows=rows,
                labels=labels,
                info=info,
                fingerprint=fingerprint,
                seed=seed,
            )
            for name, other in spec.depends.items()
        }
        encoder = fresh(spec, info, seed, depends)
        recipe: dict[str, Any] = {
            "encoder": spec.training_digest,
            "shape": [info.channels, info.height, info.width],
            "depends": {name: other.key for name, other in depends.items()},
            "seed": seed if encoder.seeded else None,
        }
        trained = spec.entry.training != "none" and spec.budget != 0
        if trained:
            recipe |= {"data": fingerprint, "rows": arrays_digest({"rows": rows})}
            if encoder.uses_labels:
                recipe["labels"] = arrays_digest(labels)
        key = digest(recipe)
        if key not in self._fitted:
            start, report = time.perf_counter(), FitReport()
            if trained:
                report = encoder.fit(
                    Delivery(images, encoder.input, rows),
                    labels=labels if encoder.uses_labels else None,
                    budget=spec.budget if spec.budget is not None else len(rows),
                    seed=seed,
                )
            self._fitted[key] = Fitted(
                encoder.eval(), key, report, time.perf_counter() - start, depends
            )
        return self._fitted[key]

    def features(
        self,
        fitted: Fitted,
        images: Images,
        *,
        fingerprint: str,
        split: str,
        shift: tuple[str, float] | None = None,
    ) -> Features:
        """Features of a whole split of a data set, or of a shifted copy of it; computed once."""
        key = (fitted.key, fingerprint, split, str(shift))
        if key not in self._features:
            if shift is not None:
                images = ShiftedImages(images, *shift, seed=stream(0, "shift"))
            delivery = Delivery(images, fitted.encoder.input)
            self._keep(key, extract(fitted.encoder, delivery, what=f"{split} images"))
        self._features.move_to_end(key)
        return self._features[key]

    def _keep(self, key: tuple[str, ...], features: Features) -> None:
        def size(item: Features) -> int:
            return sum(array.nbytes for array in item.levels.values())

        self._features[key] = features
        while len(self._features) > 3 and sum(map(size, self._features.values())) > self._most:
            self._features.popitem(last=False)


def check_rows_independent(encoder: Encoder, images: Delivery, *, tolerance: float = 1e-3) -> None:
    """Raise BenchError unless 64 images give the same features in one batch and in batches of 7.

    Largest difference relative to the features' root mean square: a live batch norm or dropout
    shows here.
    """
    first = Delivery(images.images, images.input, images.rows[:64])
    whole = extract(encoder, first, what="64 images").levels
    parts = extract(encoder, first, what="64 images", batch=7).levels
    for level, features in whole.items():
        scale = float(np.sqrt(np.mean(features.astype(np.float64) ** 2))) or 1.0
        gap = float(np.abs(features - parts[level]).max()) / scale
        if gap > tolerance:
            raise BenchError(
                f"features of level {level!r} depend on the batch (batches of 64 and 7 differ by "
                f"{gap:.2g} of their RMS); encode in eval mode, row by row"
            )
