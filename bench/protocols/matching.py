"""Clusters matched to classes one to one: labels only name the clusters, they teach nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory

REVISION = 1
EXAMPLE = "clusters=6"  # the check kit has six features

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Named:
    """The clusters of one target: counts (g, k) on train, and of each cluster its class, the round
    that matched it, and its majority."""

    table: Array
    classes: Array
    rounds: Array
    majority: Array


class Matching(TransferProtocol):
    """A row's cluster is the largest of its first `clusters` features, and predicts the class that it
    is matched to: one to one, so that most train labels agree (Kuhn 1955, the Hungarian method).

    So are judged InfoGAN (Chen et al. 2016, arXiv:1606.03657) and clusterings (Xie et al. 2016,
    arXiv:1511.06335), whose matching is made on the rows that are scored; here it is made on train.
    Clusters left over, where there are more than classes, are matched among themselves in further
    rounds, since each row must have a class; strictly, their rows would count as wrong. Columns
    "target:majority" are many to one: each cluster's most frequent class. Classes without a train
    label get no cluster; ties go to the class that is more frequent on train. Validation is not read.
    """

    output = "score"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta: Meta, clusters: int) -> None:
        self._meta, self._clusters, self._named = meta, clusters, dict[str, _Named]()

    def fit(self, train: Samples, val: Samples | None) -> Self:
        found = self._assigned(train.x)
        for name, target in self._meta.targets.items():
            known = train.y[name] >= 0
            if not known.any():
                raise BenchError(f"no training row has a label of {name!r}")
            table = np.zeros((self._clusters, target.size), dtype=np.int64)
            np.add.at(table, (found[known], train.y[name][known]), 1)
            self._named[name] = _named(table)
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        clusters, found = self._assigned(x), dict[str, Array]()
        for name, named in self._named.items():
            hot = np.eye(self._meta.targets[name].size, dtype=np.float32)
            found[name] = hot[named.classes[clusters]]
            found[f"{name}:majority"] = hot[named.majority[clusters]]
        return found

    def report(self) -> Mapping[str, Any]:
        """By target, of each cluster: its class, the round that matched it, its majority, its labelled
        train rows, and how many of them are of its class."""
        return {
            "clusters": {
                name: {
                    "class": named.classes.tolist(),
                    "round": named.rounds.tolist(),
                    "majority": named.majority.tolist(),
                    "rows": named.table.sum(axis=1).tolist(),
                    "agree": named.table[np.arange(self._clusters), named.classes].tolist(),
                }
                for name, named in self._named.items()
            }
        }

    def _assigned(self, x: Any) -> Array:
        """Clusters (n,) of features (n, d), ties to the first."""
        if not isinstance(x, np.ndarray):
            raise BenchError("matching reads features; set input = 'features' in the task")
        if x.shape[1] < self._clusters:
            raise BenchError(
                f"matching,clusters={self._clusters}: there are {x.shape[1]} features, and each cluster "
                "wants one; take a level that begins with them, or fewer clusters"
            )
        found: Array = x[:, : self._clusters].argmax(axis=1)
        return found


def _named(table: Array) -> _Named:
    """The classes of clusters by counts (g, k), some above 0."""
    totals = table.sum(axis=0)
    present = np.flatnonzero(totals)
    # Whole numbers, in which one row that agrees weighs more than all that breaks ties.
    weights = (table * (totals.sum() + 1) + totals)[:, present]
    columns, rounds = matched(weights)
    return _Named(table, present[columns], rounds, present[weights.argmax(axis=1)])


def matched(weights: Array) -> tuple[Array, Array]:
    """Of weights (g, k) the column of each row, and its round (from 1): the one-to-one matching of
    most weight, then that of the rows left over, until none is."""
    columns, rounds = np.zeros((2, len(weights)), dtype=np.int64)
    while (rounds == 0).any():
        left = np.flatnonzero(rounds == 0)
        rows, own = linear_sum_assignment(weights[left], maximize=True)
        columns[left[rows]], rounds[left[rows]] = own, rounds.max() + 1
    return columns, rounds


def build(*, meta: Meta, trunk: TrunkFactory, seed: int, clusters: int = 10) -> Matching:
    """The first `clusters` features say how much a row belongs to each cluster.

    Raises BenchError for less than two clusters.
    """
    if clusters < 2:
        raise BenchError(f"matching,clusters={clusters}: 2 or more are wanted")
    return Matching(meta, clusters)
