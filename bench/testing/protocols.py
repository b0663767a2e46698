"""What every protocol keeps to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from bench import registry
from bench.data import Meta, Samples, Target
from bench.protocols.base import TransferProtocol
from bench.seeding import generator
from bench.specs import Resolved
from bench.testing._finding import Check, require

__all__ = ["ProtocolCase", "protocol_checks", "tiny_protocol"]


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
