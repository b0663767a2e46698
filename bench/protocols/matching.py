"""Clusters matched to classes one to one: labels name the clusters and are used for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import linear_sum_assignment

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory, features_of

REVISION = 1
EXAMPLE = "clusters=6"  # the check kit has six features


@dataclass(frozen=True, slots=True, eq=False)
class _NamedClusters:
    """The g clusters of a target of k classes."""

    table: Array  # (g, k) training rows of each class in each cluster
    classes: Array  # (g,) the class that each is matched to
    rounds: Array  # (g,) the round in which it was matched
    majority: Array  # (g,) its most frequent class


class Matching(TransferProtocol):
    """A row's cluster is the largest of its first `clusters` features, and predicts the class that it is
    matched to: one to one, so that the most training labels agree (Kuhn 1955, the Hungarian method).

    InfoGAN (Chen et al. 2016, arXiv:1606.03657) and clusterings (Xie et al. 2016, arXiv:1511.06335) are
    evaluated so, matched on the rows that are scored; here on training rows. Clusters beyond the number
    of classes are matched in further rounds, since each row must have a class; strictly, their rows would
    count as wrong. Columns "target:majority" are many to one: each cluster's most frequent class. Classes
    without a training label get no cluster; ties go to the class with more training labels. Validation
    rows are not read.
    """

    output = "score"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta: Meta, clusters: int) -> None:
        self._meta, self._clusters, self._named = meta, clusters, dict[str, _NamedClusters]()

    def fit(self, train: Samples, val: Samples | None) -> Self:
        clusters = self._assigned(train.x)
        for name, target in self._meta.targets.items():
            labelled = train.y[name] >= 0
            if not labelled.any():
                raise BenchError(f"no training row has a label of {name!r}")
            table = np.zeros((self._clusters, target.size), dtype=np.int64)
            np.add.at(table, (clusters[labelled], train.y[name][labelled]), 1)
            self._named[name] = _matched_clusters(table)
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        clusters, predictions = self._assigned(x), dict[str, Array]()
        for name, named in self._named.items():
            one_hot = np.eye(self._meta.targets[name].size, dtype=np.float32)
            predictions[name] = one_hot[named.classes[clusters]]
            predictions[f"{name}:majority"] = one_hot[named.majority[clusters]]
        return predictions

    def report(self) -> Mapping[str, Any]:
        """By target, of each cluster: its class, the round that matched it, its majority, its labelled
        training rows, and how many of them are of its class."""
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
        x = features_of(x, "matching")
        if x.shape[1] < self._clusters:
            raise BenchError(
                f"matching,clusters={self._clusters}: there are {x.shape[1]} features, and each cluster "
                "needs one; take a level that begins with them, or fewer clusters"
            )
        clusters: Array = x[:, : self._clusters].argmax(axis=1)
        return clusters


def _matched_clusters(table: Array) -> _NamedClusters:
    """The clusters by their counts (g, k), not all of them 0."""
    totals = table.sum(axis=0)
    present = np.flatnonzero(totals)
    # Integers, in which one agreeing row outweighs everything that breaks ties.
    weights = (table * (totals.sum() + 1) + totals)[:, present]
    columns, rounds = matched(weights)
    return _NamedClusters(table, present[columns], rounds, present[weights.argmax(axis=1)])


def matched(weights: Array) -> tuple[Array, Array]:
    """The column of each row of weights (g, k), and its round (from 1): the one-to-one matching of largest
    weight, then that of the rows without a column, until there are none."""
    columns, rounds = np.zeros((2, len(weights)), dtype=np.int64)
    while (rounds == 0).any():
        unmatched = np.flatnonzero(rounds == 0)
        rows, matches = linear_sum_assignment(weights[unmatched], maximize=True)
        columns[unmatched[rows]], rounds[unmatched[rows]] = matches, rounds.max() + 1
    return columns, rounds


def build(*, meta: Meta, trunk: TrunkFactory, seed: int, clusters: int = 10) -> Matching:
    """The first `clusters` features are the row's scores for each cluster.

    Raises BenchError for less than two clusters.
    """
    if clusters < 2:
        raise BenchError(f"matching,clusters={clusters}: 2 or more are needed")
    return Matching(meta, clusters)
