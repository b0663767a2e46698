"""k nearest neighbours by cosine (`knn-v1`): no training, no tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.solvers.neighbours import nearest, vote

REVISION = 1
VARIANTS = (1, 5, 10, 50, 100, 200)

Array = npt.NDArray[Any]


class KNN(TransferProtocol):
    """Features centred by the train mean; cosine; votes weighted by exp(similarity / temperature).

    The bank is train and validation, since nothing is chosen. Wu et al. 2018, arXiv:1805.01978.
    Other numbers of neighbours are columns "target:k=5".
    """

    output = "log_probability"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta: Meta, k: int, temperature: float) -> None:
        self._meta, self._k, self._temperature = meta, k, temperature

    def fit(self, train: Samples, val: Samples | None) -> Self:
        parts = [train] if val is None else [train, val]
        self._bank = np.concatenate([_features(part.x) for part in parts])
        self._train = len(train)
        self._labels = {
            name: np.concatenate([part.y[name] for part in parts]) for name in self._meta.targets
        }
        for name, labels in self._labels.items():
            if not (labels[: self._train] >= 0).any():
                raise BenchError(f"no training row has a label of {name!r}")
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        queries = _features(x)
        found: dict[str, Array] = {}
        same: dict[bytes, tuple[Array, Array]] = {}  # targets with the same rows share neighbours
        for name, labels in self._labels.items():
            known = labels >= 0
            if known.tobytes() not in same:
                # A row without a label teaches nothing, its place neither.
                labelled = self._bank[: self._train][known[: self._train]]
                mean = labelled.mean(axis=0, dtype=np.float64).astype(np.float32)
                bank = (self._bank if known.all() else self._bank[known]) - mean
                same[known.tobytes()] = nearest(queries - mean, bank, max(self._k, *VARIANTS))
            indices, similarities = same[known.tobytes()]
            for k in (self._k, *VARIANTS):
                column = name if k == self._k else f"{name}:k={k}"
                found[column] = vote(
                    indices,
                    similarities,
                    labels[known],
                    self._meta.targets[name].size,
                    k=k,
                    temperature=self._temperature,
                )
        return found

    def report(self) -> Mapping[str, Any]:
        return {"bank": {name: int((y >= 0).sum()) for name, y in self._labels.items()}}


def _features(x: Any) -> Array:
    if not isinstance(x, np.ndarray):
        raise BenchError("knn reads features; set input = 'features' in the task")
    return x


def build(
    *, meta: Meta, trunk: TrunkFactory, seed: int, k: int = 20, temperature: float = 0.07
) -> KNN:
    """`k` neighbours, votes at `temperature`.

    Raises BenchError for k below 1 or a temperature that is not above 0.
    """
    if k < 1 or temperature <= 0:
        raise BenchError(f"knn,k={k},temperature={temperature}: k >= 1, temperature > 0 are wanted")
    return KNN(meta, k, temperature)
