"""What a transfer protocol is: it predicts, and never sees a test label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy.typing as npt
from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples

__all__ = ["Job", "Selects", "Sweeps", "TransferProtocol", "TrunkFactory"]

Array = npt.NDArray[Any]


class TrunkFactory(Protocol):
    """Gives a fresh module each call: the identity where the task's input is features, a copy of the
    encoder on images, its last `blocks` stages on activations."""

    def __call__(
        self, state: Literal["trained", "untrained"], *, seed: int, blocks: int | None = None
    ) -> nn.Module: ...


class TransferProtocol(ABC):
    """Fits heads on train, chooses on val, predicts.

    Modules have `build(*, meta: Meta, trunk: TrunkFactory, seed: int, **params)`. Frozen or
    fine-tuned is a choice of the task's input, not a branch here.
    """

    output: ClassVar[Literal["log_probability", "score"]]  # of class and yes/no targets
    accepts: ClassVar[frozenset[str]]  # kinds of target; a task with others is declined
    seeded: ClassVar[bool] = True  # does it draw random numbers?

    @abstractmethod
    def fit(self, train: Samples, val: Samples | None) -> Self:
        """Learn from labels that are granted (-1 and NaN are not); val is None when only they may
        choose."""

    @abstractmethod
    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        """Target -> (n, k) float32; "target:variant" is a column of its own, never the primary.

        classes: log-probabilities or scores of the k classes; binary: log p(yes), or a score above 0
        for yes, of each label; number: the values.
        """

    def report(self) -> Mapping[str, Any]:
        """JSON: what was chosen, trials, certificate, `temperature` by target, parameters, steps."""
        return {}

    def trials(self) -> Mapping[str, Any]:
        """JSON: what `select` has tried, where there is one."""
        return {}

    def head(self) -> nn.Module | None:
        """The head fitted on train alone, standardisation folded in; None: there is none."""
        return None


@runtime_checkable
class Selects(Protocol):
    """A protocol that chooses parameters once a cell, on its first replicate."""

    def select(self, train: Samples, val: Samples | None) -> Mapping[str, Any]:
        """Arguments for the `build` of every replicate."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One fit of a sweep: `train` and `val` are row numbers of the common samples."""

    meta: Meta
    train: Array
    val: Array | None
    seed: int


@runtime_checkable
class Sweeps(Protocol):
    """A protocol that can do many fits on the same features together; equals the loop over them."""

    def sweep(
        self, samples: Samples, jobs: Sequence[Job], x: Array
    ) -> Sequence[tuple[Mapping[str, Array], Mapping[str, Any]]]:
        """For each job what `predict(x)` and `report()` of a fit of its own would give."""
        ...
