"""The check kit: what every encoder, protocol, data set and task keeps to, as functions.

A check's docstring is its rule. It raises `Finding` with what was seen and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench import registry
from bench.data import SPLITS, DataSet, Meta, Samples, SourceInfo, Target, check_labels
from bench.encoders.base import Encoder
from bench.errors import BenchError
from bench.features import Lab, extract, fresh, images_of
from bench.grants import task_targets
from bench.images import ArrayImages, Delivery, Input
from bench.protocols.base import TransferProtocol
from bench.seeding import generator
from bench.specs import Resolved
from bench.task import Task

__all__ = [
    "Finding",
    "ProtocolCase",
    "dataset_checks",
    "encoder_checks",
    "protocol_checks",
    "run_checks",
    "task_checks",
    "tiny_encoder",
    "tiny_images",
    "tiny_protocol",
]

Array = npt.NDArray[Any]
T = TypeVar("T")
Check = Callable[[T], None]


class Finding(AssertionError):
    """A rule that does not hold: what was seen, what is wanted, what to do."""


def require(ok: bool, what: str) -> None:
    if not ok:
        raise Finding(what)


# --- Encoders


def tiny_images(count: int, input: Input, *, seed: int = 0) -> ArrayImages:
    """Blurred noise: uint8 (count, c, h, w), some structure, no two alike."""
    rng = generator(seed, "tiny_images")
    height, width = input.size
    coarse = rng.integers(0, 256, (count, input.channels, -(-height // 4), -(-width // 4)))
    smooth = coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width]
    noise = rng.integers(-20, 21, smooth.shape)
    return ArrayImages((smooth + noise).clip(0, 255).astype(np.uint8))


def tiny_encoder(spec: Resolved, *, seed: int = 0, count: int = 96, size: int = 16) -> Encoder:
    """The encoder of a spec, fitted on `count` tiny grey images with two classes."""
    info = SourceInfo(1, size, size, {"label": Target("classes", 2, ("even", "odd"))})
    depends = {
        name: _Done(tiny_encoder(other, seed=seed, count=count, size=size))
        for name, other in spec.depends.items()
    }
    encoder = fresh(spec, info, seed, depends)  # type: ignore[arg-type]
    if spec.entry.training == "none" or spec.budget == 0:
        return encoder
    images = tiny_images(count, Input(size=(size, size), channels=1))
    labels = {"label": np.arange(count, dtype=np.int64) % 2} if encoder.uses_labels else None
    encoder.fit(Delivery(images, encoder.input), labels=labels, budget=2 * count, seed=seed)
    return encoder.eval()


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """As much of a fitted encoder as `fresh` reads."""

    encoder: Encoder


def _deliver(encoder: Encoder, count: int = 23) -> Delivery:
    return Delivery(tiny_images(count, encoder.input, seed=1), encoder.input)


def check_encoder_shape(encoder: Encoder) -> None:
    """Features are float32 (n, dims[level]), for every level, also for one image."""
    for count in (1, 23):
        images = _deliver(encoder, count).read(np.arange(count))
        with torch.inference_mode():
            taps = encoder.eval().taps(images)
        require(
            set(taps) == set(encoder.dims),
            f"taps gives {sorted(taps)}, dims {sorted(encoder.dims)}",
        )
        for level, tap in taps.items():
            wanted = (count, encoder.dims[level])
            require(
                tuple(tap.shape) == wanted and tap.dtype == torch.float32,
                f"level {level!r} is {tap.dtype} {tuple(tap.shape)}; float32 {wanted} is wanted",
            )


def check_encoder_finite(encoder: Encoder) -> None:
    """Features are finite, also of black and of white images."""
    height, width = encoder.input.size
    images = torch.zeros(2, encoder.input.channels, height, width)
    images[1] = 1
    with torch.inference_mode():
        for level, tap in encoder.eval().taps(images).items():
            require(
                bool(tap.isfinite().all()),
                f"level {level!r} of a black or white image is not finite",
            )
    try:
        extract(encoder, _deliver(encoder), what="tiny images")
    except BenchError as error:
        raise Finding(str(error)) from error


def check_encoder_forward(encoder: Encoder) -> None:
    """`forward` gives the default level of `taps`."""
    images = _deliver(encoder).read(np.arange(5))
    with torch.inference_mode():
        same = torch.equal(encoder.eval()(images), encoder.taps(images)[encoder.level])
    require(same, "forward(images) differs from taps(images) at the default level")


def check_encoder_deterministic(encoder: Encoder) -> None:
    """The same images give the same features, bit for bit: no sampling, no dropout, no corruption."""
    first = extract(encoder, _deliver(encoder), what="tiny images").levels
    again = extract(encoder, _deliver(encoder), what="tiny images").levels
    for level, features in first.items():
        require(
            np.array_equal(features, again[level]),
            f"level {level!r} differs from call to call; encode in eval mode, with the mean",
        )


def check_encoder_rows_independent(encoder: Encoder) -> None:
    """A row's features do not depend on its batch: 23, 7 or 1 at a time differ by under 1e-4."""
    whole = extract(encoder, _deliver(encoder), what="tiny images").levels
    for batch in (7, 1):
        parts = extract(encoder, _deliver(encoder), what="tiny images", batch=batch).levels
        for level, features in whole.items():
            scale = float(np.sqrt((features.astype(np.float64) ** 2).mean())) or 1.0
            gap = float(np.abs(features - parts[level]).max()) / scale
            require(
                gap < 1e-4,
                f"level {level!r} moves by {gap:.2g} of its RMS in batches of {batch}; use GroupNorm, "
                "or batch norm in eval mode",
            )


def check_encoder_untouched(encoder: Encoder) -> None:
    """Encoding changes neither its input nor a parameter or buffer, even outside inference mode."""
    images = _deliver(encoder).read(np.arange(23))
    kept = images.clone()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.eval().taps(images)
    require(
        torch.equal(images, kept), "the images that were passed in are changed; copy them first"
    )
    for name, value in encoder.state_dict().items():
        require(torch.equal(value, before[name]), f"{name!r} changes while encoding")


def encoder_checks() -> list[Check[Encoder]]:
    """For a fitted encoder."""
    return [
        check_encoder_shape,
        check_encoder_finite,
        check_encoder_forward,
        check_encoder_deterministic,
        check_encoder_rows_independent,
        check_encoder_untouched,
    ]


# --- Protocols


@dataclass(frozen=True, slots=True, eq=False)
class ProtocolCase:
    """A protocol to be built anew for every fit."""

    spec: Resolved
    classes: int = 4
    dim: int = 6

    @property
    def meta(self) -> Meta:
        names = tuple(f"class {c}" for c in range(self.classes))
        return Meta({"label": Target("classes", self.classes, names)})

    def fit(self, train: Samples, val: Samples | None, *, seed: int = 0) -> TransferProtocol:
        protocol = registry.load(self.spec.entry).build(
            meta=self.meta, trunk=_identity, seed=seed, **self.spec.arguments
        )
        require(isinstance(protocol, TransferProtocol), "build(...) gives no TransferProtocol")
        fitted: TransferProtocol = protocol.fit(train, val)
        return fitted

    def blobs(self, count: int, *, seed: int, separation: float = 6.0) -> Samples:
        """Gaussian blobs, one a class, with corners of a simplex as their means."""
        rng = generator(seed, "blobs")
        labels = np.arange(count, dtype=np.int64) % self.classes
        centres = separation * np.eye(self.classes, self.dim)
        x = (centres[labels] + rng.standard_normal((count, self.dim))).astype(np.float32)
        return Samples(x, {"label": labels}, np.arange(count))


def _identity(state: str, *, seed: int, blocks: int | None = None) -> nn.Module:
    return nn.Identity()


def tiny_protocol(spec: Resolved) -> ProtocolCase:
    """The protocol of a spec on small blobs."""
    return ProtocolCase(spec)


def _accuracy(protocol: TransferProtocol, test: Samples) -> float:
    assert isinstance(test.x, np.ndarray)
    guess = protocol.predict(test.x)["label"].argmax(axis=1)
    return float((guess == test.y["label"]).mean())


def check_protocol_learns(case: ProtocolCase) -> None:
    """On well separated blobs it is right in 19 of 20 cases."""
    fitted = case.fit(case.blobs(120, seed=0), case.blobs(40, seed=1))
    accuracy = _accuracy(fitted, case.blobs(200, seed=2))
    require(accuracy >= 0.95, f"accuracy {accuracy:.2f} on separable blobs; 0.95 is wanted")


def check_protocol_chance(case: ProtocolCase) -> None:
    """On shuffled labels it is at chance: nothing leaks from the test rows."""
    parts = []
    for seed in (0, 1):
        samples = case.blobs((400, 200)[seed], seed=seed)
        order = generator(seed, "shuffled").permutation(len(samples))
        parts.append(Samples(samples.x, {"label": samples.y["label"][order]}, samples.rows))
    test = case.blobs(2000, seed=2, separation=0.0)
    accuracy, chance = _accuracy(case.fit(*parts), test), 1 / case.classes
    bound = 4 * (chance * (1 - chance) / len(test)) ** 0.5
    require(
        abs(accuracy - chance) < bound,
        f"accuracy {accuracy:.3f} on shuffled labels; {chance:.3f} +- {bound:.3f} is wanted",
    )


def check_protocol_test_order(case: ProtocolCase) -> None:
    """A test row's prediction depends neither on the order of the test rows nor on the others."""
    fitted = case.fit(case.blobs(120, seed=0), case.blobs(40, seed=1))
    x = case.blobs(60, seed=2).x
    assert isinstance(x, np.ndarray)
    order = generator(0, "order").permutation(60)
    for name, whole in fitted.predict(x).items():
        moved = fitted.predict(x[order])[name]
        alone = np.concatenate([fitted.predict(x[i : i + 1])[name] for i in range(5)])
        close = np.allclose(whole[order], moved, atol=1e-4) and np.allclose(
            whole[:5], alone, atol=1e-4
        )
        require(close, f"{name!r}: predictions change with the order or the company of test rows")


def check_protocol_output(case: ProtocolCase) -> None:
    """Predictions are finite (n, k) for its targets; log-probabilities sum to 1."""
    fitted = case.fit(case.blobs(120, seed=0), case.blobs(40, seed=1))
    x = case.blobs(60, seed=2).x
    assert isinstance(x, np.ndarray)
    found = fitted.predict(x)
    require("label" in found, "the target itself is not predicted")
    for name, values in found.items():
        require(values.shape == (60, case.classes), f"{name!r} has shape {values.shape}")
        require(bool(np.isfinite(values).all()), f"{name!r} is not finite")
        if fitted.output == "log_probability":
            total = np.exp(values.astype(np.float64)).sum(axis=1)
            require(
                bool(np.allclose(total, 1, atol=1e-3)), f"{name!r}: probabilities do not sum to 1"
            )


def protocol_checks() -> list[Check[ProtocolCase]]:
    """For a protocol that reads features and predicts classes."""
    return [
        check_protocol_output,
        check_protocol_learns,
        check_protocol_chance,
        check_protocol_test_order,
    ]


# --- Data sets


def check_dataset_labels(dataset: DataSet) -> None:
    """Labels have their target's type, shape and range, in every split; every class is in train."""
    for split in SPLITS:
        samples = dataset.split(split)
        try:
            check_labels(split, dataset.meta.targets, samples)
        except BenchError as error:
            raise Finding(str(error)) from error
        require(len(images_of(samples)) == len(samples.rows), f"{split}: as many images as rows")
    for name, target in dataset.meta.targets.items():
        require(len(target.names) == target.size, f"{name!r} has {target.size} names")
        if target.kind == "classes":
            found = np.unique(dataset.split("train").y[name])
            require(len(found[found >= 0]) == target.size, f"{name!r}: a class is not in train")


def check_dataset_disjoint(dataset: DataSet) -> None:
    """No validation image stands, pixel by pixel, in train; the count of such test images is told."""

    def pixels(split: Any) -> list[bytes]:
        images = images_of(dataset.split(split))
        return [x.tobytes() for x in images.read(np.arange(len(images)), images.native)]

    train, val = set(pixels("train")), pixels("val")
    repeated = sum(image in train for image in val)
    require(not repeated, f"{repeated} validation images are also in train")
    found = sum(image in train or image in set(val) for image in pixels("test"))
    require(
        found == dataset.test_in_train, f"test_in_train is {dataset.test_in_train}, found {found}"
    )


def check_dataset_images(dataset: DataSet) -> None:
    """Images come as uint8 in the form asked for, in any order, and the same each time."""
    images = images_of(dataset.split("train"))
    some = np.array([3, 0, 2])
    native = images.read(some, images.native)
    require(native.dtype == np.uint8, f"images are {native.dtype}; uint8 is wanted")
    require(
        native.shape == (3, images.native.channels, *images.native.size),
        f"images have shape {native.shape}",
    )
    again = np.stack([images.read(np.array([i]), images.native)[0] for i in some])
    require(np.array_equal(native, again), "an image depends on what it is read with")
    wanted = Input(size=(20, 12), channels=3)
    require(images.read(some, wanted).shape == (3, 3, 20, 12), "images are not converted as asked")


def dataset_checks() -> list[Check[DataSet]]:
    """For a data set. That its fingerprint is stable takes two builds: see `run_checks`' callers."""
    return [check_dataset_labels, check_dataset_disjoint, check_dataset_images]


# --- Tasks


def check_task_fits(case: tuple[Task, Lab]) -> None:
    """Its targets exist, its protocol accepts them, its diagnostics and baseline are there."""
    task, lab = case
    targets = task_targets(task, lab.dataset(task.dataset).meta)
    spec = task.resolved_protocol
    protocol = registry.load(spec.entry).build(
        meta=Meta(targets), trunk=_identity, seed=0, **spec.arguments
    )
    for name, target in targets.items():
        require(target.kind in protocol.accepts, f"{spec.text} predicts no {target.kind} ({name})")
    for diagnostic in task.diagnostics:
        registry.find("diagnostics", diagnostic)


def check_task_chance(case: tuple[Task, Lab]) -> None:
    """Chance is exact: for accuracy the share of the largest class among the test rows."""
    task, lab = case
    if task.primary.metric != "accuracy" or task.primary.target is None:
        return
    dataset = lab.dataset(task.dataset)
    if dataset.meta.targets[task.primary.target].kind != "classes" or task.replicates.splits:
        return
    labels = dataset.split("test").y[task.primary.target]
    prior = float(np.bincount(labels[labels >= 0]).max() / (labels >= 0).sum())
    require(
        abs(task.chance - prior) < 1e-9, f"chance = {task.chance}; the largest class has {prior!r}"
    )


def task_checks() -> list[Check[tuple[Task, Lab]]]:
    """For a task and the data that it needs."""
    return [check_task_fits, check_task_chance]


def run_checks(checks: Sequence[Check[T]], subject: T) -> Iterator[Mapping[str, str]]:
    """Each check's name, rule, and finding ("" where the rule holds)."""
    for check in checks:
        finding = ""
        try:
            check(subject)
        except Finding as error:
            finding = str(error)
        except Exception as error:  # a fault of the component under check
            finding = f"{type(error).__name__}: {error}".splitlines()[0]
        rule = " ".join((check.__doc__ or "").split())
        yield {"check": check.__name__.removeprefix("check_"), "rule": rule, "finding": finding}
