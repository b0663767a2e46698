"""The ridge probe (`lpr-v1`): least squares on frozen features, for targets of every kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torch import nn

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples, Target, missing
from bench.errors import BenchError
from bench.protocols.base import TransferProtocol, TrunkFactory, features_of
from bench.protocols.parts.probe import LinearHeads, Scaler, linear_layer
from bench.solvers.ridge import RidgePath, RidgeSolution

REVISION = 1
GRID = tuple(10 ** (exponent / 2) for exponent in range(8, -13, -1))  # 1e4 .. 1e-6, half decades


@dataclass(frozen=True, slots=True, eq=False)
class RidgeTrial:
    """One penalty: accuracy on validation rows (None: squared error alone decides), and the mean squared
    error there, or leaving one training row out."""

    penalty: float
    accuracy: float | None
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class AffineMap:
    """Features (n, d) as they come to scores or values (n, m): x W + b, float32."""

    weights: Array  # (d, m) float64
    bias: Array  # (m,) float64

    def __call__(self, x: Array) -> Array:
        values: Array = x @ self.weights + self.bias
        return values.astype(np.float32)


class RidgeProbe(TransferProtocol):
    """Least squares to one-hot classes, to yes/no labels as 0 and 1 (whose scores are then less 1/2), and
    to numbers as they are. Each column is fitted to the rows that have its label.

    Validation chooses among 21 penalties: accuracy decides (for numbers squared error), squared error
    breaks ties, and training and validation rows are fitted together. Without validation rows the exact
    leave-one-out error of the training rows decides, and all of them standardise, also those without a
    label.
    """

    output = "score"
    accepts = frozenset({"classes", "binary", "number"})
    seeded = False

    def __init__(self, meta: Meta) -> None:
        self._meta, self._report = meta, dict[str, Any]()
        self._train_only, self._final = dict[str, AffineMap](), dict[str, AffineMap]()

    def fit(self, train: Samples, val: Samples | None) -> Self:
        for name, target in self._meta.targets.items():
            x, y = _labelled(train, name, target)
            val_x, val_y = (x, y) if val is None else _labelled(val, name, target)
            if not len(y) or not len(val_y):
                raise BenchError(f"no training or no validation row has a label of {name!r}")
            scaler = Scaler.of(features_of(train.x, "ridge") if val is None else x)
            x, val_x = scaler(x), scaler(val_x)
            paths = _paths(x, y)
            trials = (
                _left_out_trials(paths)
                if val is None
                else _validation_trials(_solved(paths, x, y, GRID), val_x, val_y, target)
            )
            chosen = max(trials, key=lambda t: (t.accuracy or 0.0, -t.loss, t.penalty)).penalty
            train_only = final = _solved(paths, x, y, (chosen,))
            if val is not None:
                x, y = np.concatenate([x, val_x]), np.concatenate([y, val_y])
                final = _solved(_paths(x, y), x, y, (chosen,))
            threshold = 0.5 if target.kind == "binary" else 0.0
            self._train_only[name] = _unscaled(scaler, train_only, threshold)
            self._final[name] = _unscaled(scaler, final, threshold)
            self._report[name] = {
                "penalty": chosen,
                "trials": [[t.penalty, t.accuracy, t.loss] for t in reversed(trials)],
                "at_edge": chosen in (max(GRID), min(GRID)),
                "features_kept": int(scaler.varying.sum()),
            }
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        features = features_of(x, "ridge")
        return {name: affine(features) for name, affine in self._final.items()}

    def report(self) -> Mapping[str, Any]:
        return {"targets": self._report}

    def head(self) -> nn.Module:
        layers = {n: linear_layer(a.weights, a.bias) for n, a in self._train_only.items()}
        return LinearHeads(layers)


def _labelled(samples: Samples, name: str, target: Target) -> tuple[Array, Array]:
    """Features (n, d) and values to fit (n, m), NaN without a label, of the rows with any label."""
    x, labels = features_of(samples.x, "ridge"), samples.y[name]
    absent = missing(target, labels)
    coded = np.eye(target.size)[labels.clip(0)] if target.kind == "classes" else labels
    y = np.where(absent[:, None] if absent.ndim == 1 else absent, np.nan, coded)
    labelled = ~np.isnan(y).all(axis=1)
    return (x, y) if labelled.all() else (x[labelled], y[labelled])


def _paths(x: Array, y: Array) -> list[tuple[Array, RidgePath]]:
    """Groups of columns of y (n, m) with equal labelled rows, and their problems; columns without labels
    are in none."""
    if not x.shape[1]:  # every feature is constant: the means alone are learnt
        x = np.zeros((len(x), 1), x.dtype)
    labelled = ~np.isnan(y)
    columns_by_rows: dict[bytes, list[int]] = {}
    for column in np.flatnonzero(labelled.any(axis=0)).tolist():
        columns_by_rows.setdefault(labelled[:, column].tobytes(), []).append(column)
    paths = []
    for columns in map(np.array, columns_by_rows.values()):
        rows = labelled[:, columns[0]]
        part = (x, y[:, columns]) if rows.all() else (x[rows], y[np.ix_(rows, columns)])
        paths.append((columns, RidgePath(*part)))
    return paths


def _solved(
    paths: list[tuple[Array, RidgePath]], x: Array, y: Array, grid: Sequence[float]
) -> RidgeSolution:
    """Weights and biases of all columns of y (n, m) on x (n, d); 0 for a column without labels."""
    weights = np.zeros((len(grid), x.shape[1], y.shape[1]))
    biases = np.zeros((len(grid), y.shape[1]))
    for columns, path in paths:
        part = path.solve(np.array(grid))
        weights[..., columns], biases[:, columns] = part.weights[:, : x.shape[1]], part.biases
    return RidgeSolution(np.array(grid), weights, biases)


def _validation_trials(
    solved: RidgeSolution, x: Array, truth: Array, target: Target
) -> list[RidgeTrial]:
    """Every penalty on validation rows x (n, d) with truth (n, m)."""
    labelled, trials = ~np.isnan(truth), []
    for penalty, weights, bias in zip(GRID, solved.weights, solved.biases, strict=True):
        values = x @ weights + bias
        accuracy = None
        if target.kind == "classes":
            accuracy = float((values.argmax(axis=1) == truth.argmax(axis=1)).mean())
        elif target.kind == "binary":
            correct = ((values > 0.5) == (truth == 1)) & labelled
            counts = labelled.sum(axis=0)
            accuracy = float((correct.sum(axis=0)[counts > 0] / counts[counts > 0]).mean())
        loss = float(np.square(values - truth)[labelled].mean())
        trials.append(RidgeTrial(penalty, accuracy, loss))
    return trials


def _left_out_trials(paths: list[tuple[Array, RidgePath]]) -> list[RidgeTrial]:
    """Every penalty by the squared leave-one-out error of all labels; a column with one row has none."""
    sums, cells = np.zeros(len(GRID)), 0
    for _, path in paths:
        if path.n > 1:
            sums += path.left_out_errors(np.array(GRID)).sum(axis=1) * path.n
            cells += path.n * path.m
    losses = sums / max(cells, 1)
    return [RidgeTrial(p, None, float(loss)) for p, loss in zip(GRID, losses, strict=True)]


def _unscaled(scaler: Scaler, solved: RidgeSolution, threshold: float) -> AffineMap:
    """(W / scale) x + (b - (W / scale) mean - threshold), of a solution for one penalty."""
    inner, bias = solved.weights[0], solved.biases[0]
    weights = np.zeros((len(scaler.varying), inner.shape[1]))
    weights[scaler.varying] = inner / scaler.scale[:, None].astype(np.float64)
    return AffineMap(
        weights, bias - scaler.mean.astype(np.float64) @ weights[scaler.varying] - threshold
    )


def build(*, meta: Meta, trunk: TrunkFactory, seed: int) -> RidgeProbe:
    """The probe. It draws no random numbers and has no arguments."""
    return RidgeProbe(meta)
