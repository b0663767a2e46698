"""The ridge probe (`lpr-v1`): least squares on frozen features, for targets of every kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples, Target, missing
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.protocols.parts.probe import LinearHeads, Scaler
from bench.solvers.ridge import RidgePath, RidgeSolution

REVISION = 1
GRID = tuple(10 ** (exponent / 2) for exponent in range(8, -13, -1))  # 1e4 .. 1e-6, half decades

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One penalty: accuracy on validation (None: by squared error alone), and the squared error there
    or leaving one training row out."""

    penalty: float
    accuracy: float | None
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """Features as they come to scores or values: x W + b."""

    weights: Array  # (d, m) float64
    bias: Array  # (m,) float64

    def __call__(self, x: Array) -> Array:
        found: Array = x @ self.weights + self.bias
        return found.astype(np.float32)


class Ridge(TransferProtocol):
    """Classes as numbers 0 and 1, one column a class; yes/no labels likewise, less one half; numbers as
    they are. Each column is learnt from the rows that have its label.

    Validation chooses among 21 penalties: its accuracy decides (for numbers its squared error), its
    squared error breaks ties, and train and validation are fitted together. Without validation the exact
    leave-one-out error of the training rows decides; features are then standardised by all of them,
    since images cost no label.
    """

    output = "score"
    accepts = frozenset({"classes", "binary", "number"})
    seeded = False

    def __init__(self, meta: Meta) -> None:
        self._meta, self._report = meta, dict[str, Any]()
        self._alone, self._final = dict[str, Affine](), dict[str, Affine]()

    def fit(self, train: Samples, val: Samples | None) -> Self:
        for name, target in self._meta.targets.items():
            x, y = _labelled(train, name, target)
            other, truth = (x, y) if val is None else _labelled(val, name, target)
            if not len(y) or not len(truth):
                raise BenchError(f"no training or no validation row has a label of {name!r}")
            scaler = Scaler.of(_features(train.x) if val is None else x)
            x, other = scaler(x), scaler(other)
            paths = _paths(x, y)
            trials = (
                _crossed(paths)
                if val is None
                else _judged(_solved(paths, x, y, GRID), other, truth, target)
            )
            chosen = max(trials, key=lambda t: (t.accuracy or 0.0, -t.loss, t.penalty)).penalty
            alone = final = _solved(paths, x, y, (chosen,))
            if val is not None:
                x, y = np.concatenate([x, other]), np.concatenate([y, truth])
                final = _solved(_paths(x, y), x, y, (chosen,))
            threshold = 0.5 if target.kind == "binary" else 0.0
            self._alone[name] = _folded(scaler, alone, threshold)
            self._final[name] = _folded(scaler, final, threshold)
            self._report[name] = {
                "penalty": chosen,
                "trials": [[t.penalty, t.accuracy, t.loss] for t in reversed(trials)],
                "at_edge": chosen in (max(GRID), min(GRID)),
                "features_kept": int(scaler.kept.sum()),
            }
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        features = _features(x)
        return {name: affine(features) for name, affine in self._final.items()}

    def report(self) -> Mapping[str, Any]:
        return {"targets": self._report}

    def head(self) -> nn.Module:
        return LinearHeads({name: _layer(affine) for name, affine in self._alone.items()})


def _labelled(samples: Samples, name: str, target: Target) -> tuple[Array, Array]:
    """Features (n, d) of the rows with a label, and what is fitted to them: (n, m), NaN: no label."""
    x, labels = _features(samples.x), samples.y[name]
    lost = missing(target, labels)
    coded = np.eye(target.size)[labels.clip(0)] if target.kind == "classes" else labels
    y = np.where(lost[:, None] if lost.ndim == 1 else lost, np.nan, coded)
    known = ~np.isnan(y).all(axis=1)
    return (x, y) if known.all() else (x[known], y[known])


def _paths(x: Array, y: Array) -> list[tuple[Array, RidgePath]]:
    """Columns of y (n, m) that have the same rows, with their problem; without those that have none."""
    if not x.shape[1]:  # every feature is constant: the means alone are learnt
        x = np.zeros((len(x), 1), x.dtype)
    known = ~np.isnan(y)
    alike: dict[bytes, list[int]] = {}
    for column in np.flatnonzero(known.any(axis=0)).tolist():
        alike.setdefault(known[:, column].tobytes(), []).append(column)
    found = []
    for columns in map(np.array, alike.values()):
        rows = known[:, columns[0]]
        some = (x, y[:, columns]) if rows.all() else (x[rows], y[np.ix_(rows, columns)])
        found.append((columns, RidgePath(*some)))
    return found


def _solved(
    paths: list[tuple[Array, RidgePath]], x: Array, y: Array, grid: Sequence[float]
) -> RidgeSolution:
    """Of all columns of y (n, m) on x (n, d); 0 in a column without labels."""
    weights = np.zeros((len(grid), x.shape[1], y.shape[1]))
    biases = np.zeros((len(grid), y.shape[1]))
    for columns, path in paths:
        part = path.solve(np.array(grid))
        weights[..., columns], biases[:, columns] = part.weights[:, : x.shape[1]], part.biases
    return RidgeSolution(np.array(grid), weights, biases)


def _judged(solved: RidgeSolution, x: Array, truth: Array, target: Target) -> list[Trial]:
    """Every penalty on validation rows x (n, d) with truth (n, m)."""
    known, found = ~np.isnan(truth), []
    for penalty, weights, bias in zip(GRID, solved.weights, solved.biases, strict=True):
        values = x @ weights + bias
        accuracy = None
        if target.kind == "classes":
            accuracy = float((values.argmax(axis=1) == truth.argmax(axis=1)).mean())
        elif target.kind == "binary":
            right = ((values > 0.5) == (truth == 1)) & known
            each = known.sum(axis=0)
            accuracy = float((right.sum(axis=0)[each > 0] / each[each > 0]).mean())
        loss = float(np.square(values - truth)[known].mean())
        found.append(Trial(penalty, accuracy, loss))
    return found


def _crossed(paths: list[tuple[Array, RidgePath]]) -> list[Trial]:
    """Every penalty by the squared error of each label, left out; one row alone tells nothing."""
    sums, cells = np.zeros(len(GRID)), 0
    for _, path in paths:
        if path.n > 1:
            sums += path.left_out_errors(np.array(GRID)).sum(axis=1) * path.n
            cells += path.n * path.m
    losses = sums / max(cells, 1)
    return [Trial(p, None, float(loss)) for p, loss in zip(GRID, losses, strict=True)]


def _folded(scaler: Scaler, solved: RidgeSolution, threshold: float) -> Affine:
    """(W / scale) x + (b - (W / scale) mean - threshold) of the one penalty that was solved."""
    inner, bias = solved.weights[0], solved.biases[0]
    weights = np.zeros((len(scaler.kept), inner.shape[1]))
    weights[scaler.kept] = inner / scaler.scale[:, None].astype(np.float64)
    return Affine(weights, bias - scaler.mean.astype(np.float64) @ weights[scaler.kept] - threshold)


def _layer(affine: Affine) -> nn.Linear:
    d, m = affine.weights.shape
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, d, m)  # type: ignore[no-untyped-call]  # draws nothing
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(affine.weights.T))
        layer.bias.copy_(torch.from_numpy(affine.bias))
    return layer


def _features(x: Any) -> Array:
    if not isinstance(x, np.ndarray):
        raise BenchError("ridge reads features; set input = 'features' in the task")
    return x


def build(*, meta: Meta, trunk: TrunkFactory, seed: int) -> Ridge:
    """The probe. Nothing is random in it, and nothing is to be tuned by hand."""
    return Ridge(meta)
