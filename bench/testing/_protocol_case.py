"""A protocol under check: built anew for every fit, on blobs of labelled features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import nn

from bench.data.samples import Array, Meta, Samples, Target
from bench.naming import registry
from bench.naming.specs import Resolved
from bench.protocols.base import Selects, TransferProtocol, TrunkFactory
from bench.seeding import generator
from bench.testing._finding import require

FAR, CLOSE = 6.0, 2.0  # of class means from the origin, in standard deviations of a class
NUMBERS = np.array([2, 0, 3, 1])  # other numbers for the classes 0, 1, 2, 3


def identity_trunk(
    state: Literal["trained", "untrained"], *, seed: int, blocks: int | None = None
) -> nn.Module:
    """The trunk of a protocol whose inputs are features."""
    return nn.Identity()


@dataclass(eq=False)
class ProtocolCase:
    """The protocol of a spec, on features (n, dim) with one target, `label`.

    Fits that several checks need are made once; a check only lets them predict.
    """

    spec: Resolved
    classes: int = 4
    dim: int = 6
    _fitted: dict[int, TransferProtocol] = field(default_factory=dict)

    @property
    def meta(self) -> Meta:
        names = tuple(f"class {c}" for c in range(self.classes))
        signatures = np.eye(self.classes, dtype=np.float32)  # for zero-shot protocols
        return Meta({"label": Target("classes", self.classes, names, semantics=signatures)})

    @cached_property
    def is_seeded(self) -> bool:
        """Does it say that it draws random numbers?"""
        return self.build().seeded

    def build(
        self,
        *,
        seed: int = 0,
        meta: Meta | None = None,
        trunk: TrunkFactory = identity_trunk,
        **selected: Any,
    ) -> TransferProtocol:
        """Not fitted; `selected` are arguments that its `select` has chosen."""
        arguments = {**self.spec.arguments, **selected}
        protocol = registry.load(self.spec.entry).build(
            meta=meta or self.meta, trunk=trunk, seed=seed, **arguments
        )
        require(isinstance(protocol, TransferProtocol), "build(...) gives no TransferProtocol")
        return protocol  # type: ignore[no-any-return]

    def fit(
        self, train: Samples, val: Samples | None, *, seed: int = 0, meta: Meta | None = None
    ) -> TransferProtocol:
        """Built and fitted as in a run, with the arguments that it selects."""
        protocol = self.build(seed=seed, meta=meta)
        if isinstance(protocol, Selects):
            protocol = self.build(seed=seed, meta=meta, **protocol.select(train, val))
        protocol.fit(train, val)
        return protocol

    @cached_property
    def samples(self) -> tuple[Samples, Samples]:
        """The training and validation samples that `selected`, `default_fit` and `fitted(0)` get."""
        return self.parts()

    @cached_property
    def selected(self) -> Mapping[str, Any]:
        """The arguments that `select` chooses; none where it has no `select`."""
        protocol = self.build()
        return protocol.select(*self.samples) if isinstance(protocol, Selects) else {}

    @cached_property
    def default_fit(self) -> tuple[TransferProtocol, object]:
        """Fitted with the arguments of the spec, and what `fit` returned."""
        protocol = self.build()
        return protocol, protocol.fit(*self.samples)

    def fitted(self, seed: int = 0) -> TransferProtocol:
        """Fitted as in a run, once per seed."""
        if seed not in self._fitted:
            if seed != 0:
                protocol = self.fit(*self.parts(), seed=seed)
            elif self.selected:
                protocol = self.build(**self.selected)
                protocol.fit(*self.samples)
            else:
                protocol = self.default_fit[0]
            self._fitted[seed] = protocol
        return self._fitted[seed]

    @cached_property
    def fitted_to_renumbered(self) -> TransferProtocol:
        """Fitted to the same features, with `NUMBERS` as the numbers of the classes."""
        train, val = (renumbered(part) for part in self.parts())
        return self.fit(train, val)

    @property
    def separation(self) -> float:
        """Of the blobs: close where probabilities are compared, far where guesses are."""
        return FAR if self.is_seeded else CLOSE

    def parts(self) -> tuple[Samples, Samples]:
        """120 training and 40 validation samples, new arrays each time."""
        return (
            self.blobs(120, seed=0, separation=self.separation),
            self.blobs(40, seed=1, separation=self.separation),
        )

    def test(self, count: int = 60) -> Array:
        """Features (count, dim) of test rows."""
        x: Any = self.blobs(count, seed=2, separation=self.separation).x
        return x  # type: ignore[no-any-return]

    def blobs(self, count: int, *, seed: int, separation: float = FAR) -> Samples:
        """Unit Gaussians, one per class, around `separation` times the corners of a simplex."""
        rng = generator(seed, "blobs")
        labels = np.arange(count, dtype=np.int64) % self.classes
        centres = separation * np.eye(self.classes, self.dim)
        x = (centres[labels] + rng.standard_normal((count, self.dim))).astype(np.float32)
        return Samples(x, {"label": labels}, np.arange(count))


def pick(samples: Samples, rows: Array) -> Samples:
    """These rows of samples with features, numbered from 0."""
    x: Any = samples.x
    labels = {name: y[rows] for name, y in samples.y.items()}
    return Samples(x[rows], labels, np.arange(len(samples.rows[rows])))


def renumbered(samples: Samples) -> Samples:
    """The same samples with other numbers for the same classes."""
    return Samples(samples.x, {"label": NUMBERS[samples.y["label"]]}, samples.rows)


def accuracy(protocol: TransferProtocol, test: Samples) -> float:
    x: Any = test.x
    guess = protocol.predict(x)["label"].argmax(axis=1)
    return float((guess == test.y["label"]).mean())


def distance(protocol: TransferProtocol, a: Array, b: Array) -> float:
    """Between predictions (n, k) of classes: the largest difference in probability, or of scores in units
    of their standard deviation; where random numbers are drawn, the share of different guesses."""
    if a.shape != b.shape:
        return float("inf")
    if protocol.seeded:
        return float((a.argmax(axis=1) != b.argmax(axis=1)).mean())
    a, b = a.astype(np.float64), b.astype(np.float64)
    if protocol.output == "log_probability":
        return float(np.abs(np.exp(a) - np.exp(b)).max())
    return float(np.abs(a - b).max() / (a.std() or 1.0))


def require_predictions(
    protocol: TransferProtocol, predictions: Mapping[str, Array], meta: Meta, count: int
) -> None:
    """Raise `Finding` unless these are predictions of `count` rows for all targets."""
    targets = {name for name in predictions if ":" not in name}
    require(
        targets == set(meta.targets),
        f"predictions are of {sorted(targets)}; expected {sorted(meta.targets)}",
        at="predict()",
    )
    for name, values in predictions.items():
        target = meta.targets.get(name.partition(":")[0])
        require(
            target is not None,
            f"{name!r} is a variant of no target ({', '.join(meta.targets)})",
            at="predict()",
        )
        assert target is not None
        dtype = getattr(values, "dtype", type(values).__name__)
        shape, expected_shape = np.shape(values), (count, target.size)
        require(
            isinstance(values, np.ndarray) and dtype == np.float32 and shape == expected_shape,
            f"{name!r} is {dtype} {shape}; expected a float32 array {expected_shape}",
            at="predict()",
        )
        require(
            bool(np.isfinite(values).all()),
            f"{name!r} holds NaN or infinity; keep logits finite",
            at="predict()",
        )
