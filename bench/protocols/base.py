'''The contract of transfer protocols: they learn from labels and predict, and never see a test label.

A protocol is one file: a class, and a `build` whose keyword arguments are the keys of its spec.

    """Least squares on one-hot labels, without a penalty."""

    import numpy as np

    from bench import TransferProtocol, features_of

    REVISION = 1  # raised by every edit that moves numbers


    class LeastSquares(TransferProtocol):
        output = "score"
        accepts = frozenset({"classes"})
        seeded = False

        def __init__(self, meta):
            self._targets, self._weights = meta.targets, {}

        def fit(self, train, val):
            x = features_of(train.x, "least_squares")
            for name, target in self._targets.items():
                labelled = train.y[name] >= 0
                y = np.eye(target.size)[train.y[name][labelled]]
                self._weights[name] = np.linalg.lstsq(_with_one(x[labelled]), y)[0]
            return self

        def predict(self, x):
            x = _with_one(features_of(x, "least_squares"))
            return {name: (x @ w).astype(np.float32) for name, w in self._weights.items()}


    def _with_one(x):
        """(n, d + 1): the 1 gives an intercept."""
        return np.c_[x, np.ones(len(x))]


    def build(*, meta, trunk, seed):
        return LeastSquares(meta)

`reptransfer check least_squares.py --kind protocols` checks it against this contract.
'''

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from torch import nn

from bench.data.images import Delivery, Images
from bench.data.samples import Array, Meta, Samples
from bench.errors import BenchError


class TrunkFactory(Protocol):
    """Makes modules that a protocol may tune: a new one each call, the encoder itself stays as it is.

    The factory holds an encoder and no data set, so nothing leads from a protocol to test data.
    """

    def __call__(
        self, state: Literal["trained", "untrained"], *, seed: int, blocks: int | None = None
    ) -> nn.Module:
        """A module from `Samples.x` of the task to features, all parameters with gradients.

        By the task's input: for "features" the identity; for "images" a copy of the encoder up to the
        level that is read out; for "activations" (n, c, h, w) a copy of its last `blocks` stages (None:
        as many as the spec says).
        `seed` draws the weights of "untrained" ones. Raises BenchError in `build`: call it in `fit`.
        """
        ...


class TransferProtocol(ABC):
    """Learns from training rows, chooses on validation rows, predicts.

    Its module has `build(*, meta: Meta, trunk: TrunkFactory, seed: int, **params)`, `params` with literal
    defaults. Every fit is of a new instance. Whether a trunk is frozen or tuned depends on the task's
    input: features (n, d), float32, are those of a frozen encoder.

    Raise `Declined` where the task cannot be done by this protocol (the cell is recorded as declined) and
    `BenchError` where a fit fails (its replicate, and so its cell, is recorded as failed).
    """

    output: ClassVar[Literal["log_probability", "score"]]  # of classes and yes/no labels
    accepts: ClassVar[frozenset[str]]  # "classes", "binary", "number"; others are declined
    seeded: ClassVar[bool] = True  # it draws random numbers; if not, one seed is run

    @abstractmethod
    def fit(self, train: Samples, val: Samples | None) -> Self:
        """Learn from the labels that are granted; -1 and NaN are missing or not granted. Returns itself.

        `val` is None where the task grants no validation labels: then the training rows choose. Arrays
        are shared and must not be changed.
        """

    @abstractmethod
    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        """Predictions, float32 and finite, for each target of `meta` by name, for rows as `Samples.x`.

        classes: (n, k) log-probabilities, or scores of which the largest is the guess.
        binary: (n, k) of each label log p(yes), or a score above 0 for yes.
        number: (n, k) values.
        Entries "target:variant" are further columns of the record and never primary.
        """

    def report(self) -> Mapping[str, Any]:
        """What the fit did, as JSON: what was chosen, trials, certificate, parameters, steps.

        `temperature`, by target, is the one by which the runner calibrates log-probabilities.
        """
        return {}

    def trials(self) -> Mapping[str, Any]:
        """What `select` has tried, as JSON; the record keeps it beside the choice."""
        return {}

    def head(self) -> nn.Module | None:
        """The head fitted on the training rows alone, from features as they come to logits or values by
        target: diagnostics read it. None where there is none."""
        return None


@runtime_checkable
class Selects(Protocol):
    """A protocol that chooses arguments once a cell: on its first replicate, for all of them.

    Not for what depends on the class split: a class that is unseen in one split has labels in another.
    """

    def select(self, train: Samples, val: Samples | None) -> Mapping[str, Any]:
        """Arguments, as JSON, for the `build` of every replicate; {} where there is nothing to choose.

        Raises Declined where it needs validation rows and `val` is None.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One fit of a sweep.

    meta: the targets, with the unseen classes of this fit
    train, val: int64 row numbers (n,), (m,) of the samples that all jobs share; val None: none granted
    seed: of the head
    """

    meta: Meta
    train: Array
    val: Array | None
    seed: int


@runtime_checkable
class Sweeps(Protocol):
    """A protocol that shares work between many fits on the same features, with equal results."""

    def sweep(
        self, samples: Samples, jobs: Sequence[Job], x: Array
    ) -> Sequence[tuple[Mapping[str, Array], Mapping[str, Any]]]:
        """For each job `predict(x)` and `report()` of a fit of its own, x (m, d) features."""
        ...


def features_of(x: Images | Delivery | Array, reader: str) -> Array:
    """`x` if it is features (n, d). Raises BenchError, which names the `reader`, if it is images."""
    if not isinstance(x, np.ndarray):
        raise BenchError(f"{reader} reads features; set input = 'features' in the task")
    return x
