"""A protocol under check: built anew for every fit, on blobs of labelled features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.data.samples import Meta, Samples, Target
from bench.naming import registry
from bench.naming.specs import Resolved
from bench.protocols.base import Selects, TransferProtocol, TrunkFactory
from bench.seeding import generator
from bench.testing._finding import require

__all__ = ["ProtocolCase", "accuracy", "distance", "pick", "require_predictions", "tiny_protocol"]

Array = npt.NDArray[Any]


def _identity(
    state: Literal["trained", "untrained"], *, seed: int, blocks: int | None = None
) -> nn.Module:
    return nn.Identity()


@dataclass(slots=True, eq=False)
class ProtocolCase:
    """The protocol of a spec, on features of `dim` numbers with one target, `label`."""

    spec: Resolved
    classes: int = 4
    dim: int = 6
    _kept: dict[int, TransferProtocol] = field(default_factory=dict)

    @property
    def meta(self) -> Meta:
        names = tuple(f"class {c}" for c in range(self.classes))
        signatures = np.eye(self.classes, dtype=np.float32)  # for those that tell classes by them
        return Meta({"label": Target("classes", self.classes, names, semantics=signatures)})

    @property
    def draws(self) -> bool:
        """Does it say that it draws random numbers?"""
        return self.build().seeded

    def build(
        self,
        *,
        seed: int = 0,
        meta: Meta | None = None,
        trunk: TrunkFactory = _identity,
        **chosen: Any,
    ) -> TransferProtocol:
        """Not fitted; `chosen` are arguments that its `select` has given."""
        protocol = registry.load(self.spec.entry).build(
            meta=meta or self.meta, trunk=trunk, seed=seed, **{**self.spec.arguments, **chosen}
        )
        require(isinstance(protocol, TransferProtocol), "build(...) gives no TransferProtocol")
        found: TransferProtocol = protocol
        return found

    def fit(
        self, train: Samples, val: Samples | None, *, seed: int = 0, meta: Meta | None = None
    ) -> TransferProtocol:
        """Built, asked to choose where it does, and fitted, as a run does it."""
        protocol = self.build(seed=seed, meta=meta)
        if isinstance(protocol, Selects):
            protocol = self.build(seed=seed, meta=meta, **protocol.select(train, val))
        protocol.fit(train, val)
        return protocol

    def usual(self, seed: int = 0) -> TransferProtocol:
        """Fitted on `parts()`, once a seed; a check only lets it predict."""
        if seed not in self._kept:
            self._kept[seed] = self.fit(*self.parts(), seed=seed)
        return self._kept[seed]

    @property
    def separation(self) -> float:
        """Of the blobs: close where numbers are compared, wide where guesses are."""
        return 6.0 if self.draws else 2.0

    def parts(self) -> tuple[Samples, Samples]:
        """Train and validation, new arrays each time."""
        train, val = (
            self.blobs(count, seed=seed, separation=self.separation)
            for seed, count in ((0, 120), (1, 40))
        )
        return train, val

    def test(self, count: int = 60) -> Array:
        """Features of test rows."""
        x: Any = self.blobs(count, seed=2, separation=self.separation).x
        found: Array = x
        return found

    def blobs(self, count: int, *, seed: int, separation: float = 6.0) -> Samples:
        """Gaussian blobs, one a class, with corners of a simplex as their means."""
        rng = generator(seed, "blobs")
        labels = np.arange(count, dtype=np.int64) % self.classes
        centres = separation * np.eye(self.classes, self.dim)
        x = (centres[labels] + rng.standard_normal((count, self.dim))).astype(np.float32)
        return Samples(x, {"label": labels}, np.arange(count))


def tiny_protocol(spec: Resolved) -> ProtocolCase:
    """The protocol of a spec on small blobs."""
    return ProtocolCase(spec)


def pick(samples: Samples, rows: Array) -> Samples:
    """These rows of samples with features, as samples of their own."""
    x: Any = samples.x
    labels = {name: y[rows] for name, y in samples.y.items()}
    return Samples(x[rows], labels, np.arange(len(samples.rows[rows])))


def accuracy(protocol: TransferProtocol, test: Samples) -> float:
    x: Any = test.x
    guess = protocol.predict(x)["label"].argmax(axis=1)
    return float((guess == test.y["label"]).mean())


def distance(protocol: TransferProtocol, one: Array, other: Array) -> float:
    """How far predictions (n, k) of classes lie apart: the largest difference in probability, or of
    scores relative to their spread; of what draws random numbers the share of other guesses."""
    if one.shape != other.shape:
        return float("inf")
    if protocol.seeded:
        return float((one.argmax(axis=1) != other.argmax(axis=1)).mean())
    first, second = one.astype(np.float64), other.astype(np.float64)
    if protocol.output == "log_probability":
        return float(np.abs(np.exp(first) - np.exp(second)).max())
    return float(np.abs(first - second).max() / (first.std() or 1.0))


def require_predictions(
    protocol: TransferProtocol, found: Mapping[str, Array], meta: Meta, count: int
) -> None:
    """Raise `Finding` unless these are predictions of `count` rows for all of the targets."""
    plain = {name for name in found if ":" not in name}
    require(
        plain == set(meta.targets),
        f"predictions are of {sorted(plain)}; {sorted(meta.targets)} are wanted",
    )
    for name, values in found.items():
        target = meta.targets.get(name.partition(":")[0])
        require(
            target is not None, f"{name!r} is a variant of no target ({', '.join(meta.targets)})"
        )
        assert target is not None
        kind = getattr(values, "dtype", type(values).__name__)
        shape, wanted = np.shape(values), (count, target.size)
        require(
            isinstance(values, np.ndarray) and kind == np.float32 and shape == wanted,
            f"{name!r} is {kind} {shape}; a float32 array {wanted} is wanted",
        )
        require(
            bool(np.isfinite(values).all()), f"{name!r} holds NaN or infinity; bound the logits"
        )
