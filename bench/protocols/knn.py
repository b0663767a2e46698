"""k nearest neighbours by cosine (`knn-v1`): nothing is trained or chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory, features_of
from bench.solvers.neighbours import nearest, vote

REVISION = 1
VARIANTS = (1, 5, 10, 50, 100, 200)


class KNN(TransferProtocol):
    """Neighbours vote with weight exp(cosine / temperature), features centred by the training mean (Wu et
    al. 2018, arXiv:1805.01978).

    Neighbours are training and validation rows, since nothing is chosen. Other numbers of them are columns
    "target:k=5".
    """

    output = "log_probability"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta: Meta, k: int, temperature: float) -> None:
        self._meta, self._k, self._temperature = meta, k, temperature

    def fit(self, train: Samples, val: Samples | None) -> Self:
        parts = [train] if val is None else [train, val]
        self._bank = np.concatenate([features_of(part.x, "knn") for part in parts])
        self._train = len(train)
        self._labels = {
            name: np.concatenate([part.y[name] for part in parts]) for name in self._meta.targets
        }
        for name, labels in self._labels.items():
            if not (labels[: self._train] >= 0).any():
                raise BenchError(f"no training row has a label of {name!r}")
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        queries = features_of(x, "knn")
        predictions: dict[str, Array] = {}
        # Targets with equal labelled rows share their neighbours.
        neighbours: dict[bytes, tuple[Array, Array]] = {}
        for name, labels in self._labels.items():
            labelled = labels >= 0
            if labelled.tobytes() not in neighbours:
                # Rows without a label do not enter the mean either.
                train = self._bank[: self._train][labelled[: self._train]]
                mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
                bank = (self._bank if labelled.all() else self._bank[labelled]) - mean
                count = max(self._k, *VARIANTS)
                neighbours[labelled.tobytes()] = nearest(queries - mean, bank, count)
            indices, similarities = neighbours[labelled.tobytes()]
            classes = self._meta.targets[name].size
            for k in (self._k, *VARIANTS):
                column = name if k == self._k else f"{name}:k={k}"
                predictions[column] = vote(
                    indices, similarities, labels[labelled], classes,
                    k=k, temperature=self._temperature,
                )  # fmt: skip
        return predictions

    def report(self) -> Mapping[str, Any]:
        """The number of labelled rows of each target."""
        return {"bank": {name: int((y >= 0).sum()) for name, y in self._labels.items()}}


def build(
    *, meta: Meta, trunk: TrunkFactory, seed: int, k: int = 20, temperature: float = 0.07
) -> KNN:
    """`k` neighbours, votes at a `temperature`.

    Raises BenchError for k below 1 or a temperature that is not above 0.
    """
    if k < 1 or temperature <= 0:
        raise BenchError(
            f"knn,k={k},temperature={temperature}: k must be 1 or more, temperature above 0"
        )
    return KNN(meta, k, temperature)
