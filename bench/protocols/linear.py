"""The linear probe (`lp-v1`): softmax regression on frozen features, solved to a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from bench.data import Meta, Samples
from bench.errors import BenchError, Declined
from bench.images import Delivery
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.solvers.logistic import SoftmaxPath, Solution

REVISION = 1
GRID = tuple(10 ** (exponent / 2) for exponent in range(2, -15, -1))  # 10 .. 1e-7, half decades
QUARTER = 10**0.25
CHOOSE_GAP, FINAL_GAP = 1e-2, 1e-4  # nats above the optimum

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Scaler:
    """Standardisation by train mean and standard deviation; constant features are dropped.

    `basis` (d, r), where there are fewer rows than features, spans the rows to fit: the best weights
    lie in their span, and the penalty does not see a rotation, so r numbers a row lose nothing.
    """

    kept: Array  # (d,) bool
    mean: Array
    scale: Array
    basis: Array | None = None

    @classmethod
    def of(cls, x: Array) -> _Scaler:
        mean = x.mean(axis=0, dtype=np.float64)
        scale = x.std(axis=0, dtype=np.float64)
        # Rounding leaves a trace of variance in a constant feature; it must not be blown up.
        kept = scale > 1e-6 * np.median(scale[scale > 0]) if (scale > 0).any() else scale > 0
        return cls(kept, mean[kept].astype(np.float32), scale[kept].astype(np.float32))

    def __call__(self, x: Array) -> Array:
        found: Array = (x if self.kept.all() else x[:, self.kept]) - self.mean
        found /= self.scale
        return found if self.basis is None else found @ self.basis

    def within(self, rows: Array) -> _Scaler:
        """The same in the span of standardised rows (n, d), fewer than features."""
        basis = torch.linalg.qr(torch.from_numpy(rows.T.astype(np.float64))).Q
        return replace(self, basis=basis.float().numpy())

    def outer(self, weights: Array) -> Array:
        """Weights (r, k) as weights (d, k) of the standardised features."""
        return weights if self.basis is None else self.basis @ weights


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """One penalty on validation."""

    penalty: float
    accuracy: float
    nll: float


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """The probe of one target."""

    scaler: _Scaler
    alone: Solution  # at the chosen penalty, fitted on train alone
    final: Solution  # refitted on train and validation
    temperature: float
    report: Mapping[str, Any]


class LinearHeads(nn.Module):
    """One linear layer a target, on features as they come."""

    def __init__(self, layers: Mapping[str, nn.Linear]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (n, d) to logits (n, k) by target."""
        return {name: layer(features) for name, layer in self.layers.items()}


class Linear(TransferProtocol):
    """17 penalties, the best on validation refined by quarter decades, refitted on train and
    validation; the temperature comes from the head that was fitted on train alone.

    Validation accuracy decides, its likelihood breaks ties. Standardising takes the features' scale
    out of the comparison (Marks et al. 2024, arXiv:2407.12210).
    """

    output = "log_probability"
    accepts = frozenset({"classes"})
    seeded = False

    def __init__(self, meta: Meta) -> None:
        self._meta, self._probes = meta, dict[str, _Probe]()

    def fit(self, train: Samples, val: Samples | None) -> Self:
        if val is None:
            raise Declined("linear chooses its penalty on validation, and this task grants none")
        for name, target in self._meta.targets.items():
            x, y = _labelled(train, name)
            other, truth = _labelled(val, name)
            if not len(y) or not len(truth):
                raise BenchError(f"no training or no validation row has a label of {name!r}")
            self._probes[name] = _fit(x, y, other, truth, target.size)
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        features = _features(x)
        return {
            name: _log_probability(_logits(probe.final, probe.scaler(features)))
            for name, probe in self._probes.items()
        }

    def report(self) -> Mapping[str, Any]:
        return {
            "temperature": {name: probe.temperature for name, probe in self._probes.items()},
            "targets": {name: probe.report for name, probe in self._probes.items()},
        }

    def head(self) -> nn.Module:
        return LinearHeads({name: _layer(probe) for name, probe in self._probes.items()})


def _fit(x: Array, y: Array, other: Array, truth: Array, classes: int) -> _Probe:
    scaler = _Scaler.of(x)
    if len(x) + len(other) < int(scaler.kept.sum()):
        scaler = scaler.within(np.concatenate([scaler(x), scaler(other)]))
    x, other = scaler(x), scaler(other)
    problem = SoftmaxPath(x, y, classes)
    path = problem.solve(np.array(GRID), gap=CHOOSE_GAP)
    trials, solutions, passes = _judge(path, other, truth), [path], path.passes

    def extend(penalties: list[float]) -> None:
        nonlocal passes
        more = problem.solve(np.array(penalties), gap=CHOOSE_GAP, start=path)
        trials.extend(_judge(more, other, truth))
        solutions.append(more)
        passes += more.passes

    at_edge = _best(trials).penalty in (max(GRID), min(GRID))
    if at_edge:
        outward = 10**0.5 if _best(trials).penalty == max(GRID) else 10**-0.5
        extend([_best(trials).penalty * outward, _best(trials).penalty * outward**2])
    centre = _best(trials).penalty
    extend([centre * QUARTER, centre / QUARTER])
    chosen = _best(trials)
    nearest = _at(solutions, chosen.penalty)
    alone = problem.solve(np.array([chosen.penalty]), gap=FINAL_GAP, certified=True, start=nearest)
    both = SoftmaxPath(np.concatenate([x, other]), np.concatenate([y, truth]), classes)
    final = both.solve(np.array([chosen.penalty]), gap=FINAL_GAP, certified=True, start=alone)
    report = {
        "penalty": chosen.penalty,
        "trials": [[t.penalty, t.accuracy, t.nll] for t in sorted(trials, key=lambda t: t.penalty)],
        "at_edge": at_edge,
        "certificate": {
            "gap": float(final.gap[0]),
            "gradient": float(final.gradient[0]),
            "converged": bool(final.converged[0]),
        },
        "passes": passes + alone.passes + final.passes,
        "features_kept": int(scaler.kept.sum()),
    }
    return _Probe(scaler, alone, final, _temperature(_logits(alone, other), truth), report)


def _at(solutions: list[Solution], penalty: float) -> Solution:
    return next(s for s in solutions if penalty in s.lambdas)


def _judge(path: Solution, x: Array, truth: Array) -> list[_Trial]:
    """Every penalty of a path on validation rows, in one wide product."""
    l, d, k = path.weights.shape  # noqa: E741
    logits = x @ path.weights.transpose(1, 0, 2).reshape(d, l * k) + path.biases.reshape(l * k)
    found = []
    for number, penalty in enumerate(path.lambdas):
        log_p = _log_probability(logits[:, number * k : (number + 1) * k])
        accuracy = float((log_p.argmax(axis=1) == truth).mean())
        nll = -float(log_p[np.arange(len(truth)), truth].mean(dtype=np.float64))
        found.append(_Trial(float(penalty), accuracy, nll))
    return found


def _best(trials: list[_Trial]) -> _Trial:
    return max(trials, key=lambda t: (t.accuracy, -t.nll, t.penalty))


def _logits(solution: Solution, x: Array) -> Array:
    """(n, k) of a solution for one penalty."""
    result: Array = x @ solution.weights[0] + solution.biases[0]
    return result


def _log_probability(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _temperature(logits: Array, truth: Array) -> float:
    """The temperature in [0.05, 20] of least negative log-likelihood (Guo et al. 2017).

    The likelihood is concave in 1 / temperature, so the search cannot miss.
    """
    logits = logits.astype(np.float64)
    own = logits[np.arange(len(truth)), truth]

    def loss(inverse: float) -> float:
        return float((np.logaddexp.reduce(logits * inverse, axis=1) - own * inverse).mean())

    found = minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-5})
    return 1.0 / float(found.x)


def _layer(probe: _Probe) -> nn.Linear:
    """The train-alone head on features as they come: (W / scale) x + (b - (W / scale) mean)."""
    kept, k = probe.scaler.kept, probe.alone.biases.shape[1]
    weights = np.zeros((len(kept), k))
    weights[kept] = probe.scaler.outer(probe.alone.weights[0]) / probe.scaler.scale[:, None]
    layer = nn.Linear(len(kept), k)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights.T))
        shift = probe.scaler.mean.astype(np.float64) @ weights[kept]
        layer.bias.copy_(torch.from_numpy(probe.alone.biases[0] - shift))
    return layer


def _labelled(samples: Samples, name: str) -> tuple[Array, Array]:
    x, y = _features(samples.x), samples.y[name]
    known = y >= 0
    return (x, y) if known.all() else (x[known], y[known])


def _features(x: Any) -> Array:
    if not isinstance(x, np.ndarray):
        raise BenchError("linear reads features; set input = 'features' in the task")
    return x


def build(*, meta: Meta, trunk: TrunkFactory, seed: int) -> Linear:
    """The probe. Nothing is random in it, and nothing is to be tuned by hand."""
    return Linear(meta)
