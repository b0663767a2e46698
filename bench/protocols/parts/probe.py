"""Softmax regression on frozen features as protocols use it: its penalty chosen, solved to a certificate.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from bench.solvers.logistic import SoftmaxPath, SoftmaxSolution

GRID = tuple(10 ** (exponent / 2) for exponent in range(2, -15, -1))  # 10 .. 1e-7, half decades
QUARTER = 10**0.25
CHOOSE_GAP, FINAL_GAP = 1e-2, 1e-4  # nats above the optimum
FOLDS, FOLDED = 5, 5000  # up to how many rows they are all held out in turn
FEW = 10.0

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Standardisation by train mean and standard deviation; constant features are dropped.

    `basis` (d, r), where there are fewer rows than features, spans the rows to fit: the best weights
    lie in their span, and the penalty does not see a rotation, so r numbers a row lose nothing.
    """

    kept: Array  # (d,) bool
    mean: Array
    scale: Array
    basis: Array | None = None

    @classmethod
    def of(cls, x: Array) -> Scaler:
        # Some columns at a time, bit for bit the same: the differences of all of 50,000 rows of 1,280
        # features fill half a gigabyte, which takes three times as long.
        parts = np.array_split(x, max(1, x.shape[1] // 64), axis=1)
        mean = np.concatenate([part.mean(axis=0, dtype=np.float64) for part in parts])
        scale = np.concatenate([part.std(axis=0, dtype=np.float64) for part in parts])
        # Rounding leaves a trace of variance in a constant feature; it must not be blown up.
        kept = scale > 1e-6 * np.median(scale[scale > 0]) if (scale > 0).any() else scale > 0
        return cls(kept, mean[kept].astype(np.float32), scale[kept].astype(np.float32))

    def __call__(self, x: Array) -> Array:
        found: Array = (x if self.kept.all() else x[:, self.kept]) - self.mean
        found /= self.scale
        return found if self.basis is None else found @ self.basis

    def within(self, rows: Array) -> Scaler:
        """The same in the span of standardised rows (n, d), fewer than features."""
        basis = torch.linalg.qr(torch.from_numpy(rows.T.astype(np.float64))).Q
        return replace(self, basis=basis.float().numpy())

    def outer(self, weights: Array) -> Array:
        """Weights (r, k) as weights (d, k) of the standardised features."""
        return weights if self.basis is None else self.basis @ weights


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One penalty on validation."""

    penalty: float
    accuracy: float
    nll: float


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """The probe of one target."""

    scaler: Scaler
    alone: SoftmaxSolution  # at the chosen penalty, fitted on train alone
    final: SoftmaxSolution  # refitted on train and validation, where that was asked for
    temperature: float | None  # of `alone` on validation
    report: Mapping[str, Any]

    def log_probability(self, x: Array) -> Array:
        """(n, k) of features (n, d) by the final weights."""
        return log_probability(logits_of(self.final, self.scaler(x)))


class LinearHeads(nn.Module):
    """One linear layer a target, on features as they come."""

    def __init__(self, layers: Mapping[str, nn.Linear]) -> None:
        super().__init__()
        # In a list: a target may have any name, a module not.
        self.names, self.layers = tuple(layers), nn.ModuleList(layers.values())

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (n, d) to logits (n, k) by target."""
        return {n: layer(features) for n, layer in zip(self.names, self.layers, strict=True)}


def fit_probe(
    x: Array, y: Array, other: Array, truth: Array, classes: int, *, refit: bool = True
) -> Probe:
    """Features (n, d) and labels of train, then of validation, which chooses: its accuracy decides, its
    likelihood breaks ties. `refit`: are the final weights fitted on both?"""
    scaler = Scaler.of(x)
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
    final = alone = _solved(problem, chosen.penalty, nearest)
    passes += alone.passes
    if refit:
        both = SoftmaxPath(np.concatenate([x, other]), np.concatenate([y, truth]), classes)
        final = _solved(both, chosen.penalty, alone)
        passes += final.passes
    report = {**_told(chosen, trials, final, scaler), "at_edge": at_edge, "passes": passes}
    temperature = best_temperature(logits_of(alone, other), truth)
    return Probe(scaler, alone, final, temperature, report)


def fit_few(x: Array, y: Array, classes: int, scaler: Scaler) -> Probe:
    """Features (n, d) and labels of which some must choose, since there are no others.

    Stratified: five folds of up to 5,000 rows, a tenth of more rows. Where a class has fewer than five
    rows there is nothing to choose by: the penalty is `FEW`, found on controls
    (`reptransfer study few_penalty`).
    """
    if len(x) < int(scaler.kept.sum()):
        scaler = scaler.within(scaler(x))
    x, fold = scaler(x), _folds(y)
    trials = [] if fold is None else _crossed(x, y, fold, classes)
    chosen = _best(trials) if trials else Trial(FEW, math.nan, math.nan)
    final = _solved(SoftmaxPath(x, y, classes), chosen.penalty, None)
    return Probe(scaler, final, final, None, _told(chosen, trials, final, scaler))


def judged(
    x: Array, y: Array, other: Array, truth: Array, classes: int, scaler: Scaler
) -> list[float]:
    """Accuracy on other rows at each penalty of the grid, fitted on few."""
    if len(x) < int(scaler.kept.sum()):
        scaler = scaler.within(scaler(x))
    path = SoftmaxPath(scaler(x), y, classes).solve(np.array(GRID), gap=CHOOSE_GAP)
    return [trial.accuracy for trial in _judge(path, scaler(other), truth)]


def _folds(y: Array) -> Array | None:
    """The fold in which each row (n,) is held out, -1: in none. None where a class has too few."""
    place = np.empty(len(y), dtype=np.int64)
    for c in np.unique(y):
        own = np.flatnonzero(y == c)
        if len(own) < FOLDS:
            return None
        place[own] = np.arange(len(own))
    many = len(y) > FOLDED
    return np.where(place % 10 == 0, 0, -1) if many else place % FOLDS


def _crossed(x: Array, y: Array, fold: Array, classes: int) -> list[Trial]:
    """Every penalty of the grid on rows held out, averaged over all of them."""
    shares, found = [], list[list[Trial]]()
    for held in range(fold.max() + 1):
        out = fold == held
        path = SoftmaxPath(x[~out], y[~out], classes).solve(np.array(GRID), gap=CHOOSE_GAP)
        found.append(_judge(path, x[out], y[out]))
        shares.append(float(out.sum()) / float((fold >= 0).sum()))

    def mean(values: Iterable[float]) -> float:
        return sum(share * value for share, value in zip(shares, values, strict=True))

    return [
        Trial(each[0].penalty, mean(t.accuracy for t in each), mean(t.nll for t in each))
        for each in zip(*found, strict=True)
    ]


def _solved(problem: SoftmaxPath, penalty: float, start: SoftmaxSolution | None) -> SoftmaxSolution:
    return problem.solve(np.array([penalty]), gap=FINAL_GAP, certified=True, start=start)


def _told(
    chosen: Trial, trials: Sequence[Trial], final: SoftmaxSolution, scaler: Scaler
) -> dict[str, Any]:
    """What a report says of a choice and of the weights that it led to."""
    return {
        "penalty": chosen.penalty,
        "trials": [[t.penalty, t.accuracy, t.nll] for t in sorted(trials, key=lambda t: t.penalty)],
        "certificate": {
            "gap": float(final.gap[0]),
            "gradient": float(final.gradient[0]),
            "converged": bool(final.converged[0]),
        },
        "features_kept": int(scaler.kept.sum()),
    }


def _at(solutions: list[SoftmaxSolution], penalty: float) -> SoftmaxSolution:
    return next(s for s in solutions if penalty in s.lambdas)


def _judge(path: SoftmaxSolution, x: Array, truth: Array) -> list[Trial]:
    """Every penalty of a path on validation rows, in one wide product."""
    l, d, k = path.weights.shape  # noqa: E741
    logits = x @ path.weights.transpose(1, 0, 2).reshape(d, l * k) + path.biases.reshape(l * k)
    found = []
    for number, penalty in enumerate(path.lambdas):
        log_p = log_probability(logits[:, number * k : (number + 1) * k])
        accuracy = float((log_p.argmax(axis=1) == truth).mean())
        nll = -float(log_p[np.arange(len(truth)), truth].mean(dtype=np.float64))
        found.append(Trial(float(penalty), accuracy, nll))
    return found


def _best(trials: list[Trial]) -> Trial:
    return max(trials, key=lambda t: (t.accuracy, -t.nll, t.penalty))


def logits_of(solution: SoftmaxSolution, x: Array) -> Array:
    """(n, k) of a solution for one penalty."""
    result: Array = x @ solution.weights[0] + solution.biases[0]
    return result


def log_probability(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def best_temperature(logits: Array, truth: Array) -> float:
    """The temperature in [0.05, 20] of least negative log-likelihood (Guo et al. 2017).

    The likelihood is concave in 1 / temperature, so the search cannot miss.
    """
    logits = logits.astype(np.float64)
    own = logits[np.arange(len(truth)), truth]

    def loss(inverse: float) -> float:
        return float((np.logaddexp.reduce(logits * inverse, axis=1) - own * inverse).mean())

    found = minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-5})
    return 1.0 / float(found.x)


def heads(probes: Mapping[str, Probe]) -> LinearHeads:
    """The heads fitted on train alone, on features as they come, standardisation folded in."""
    return LinearHeads({name: _layer(probe) for name, probe in probes.items()})


def _layer(probe: Probe) -> nn.Linear:
    """(W / scale) x + (b - (W / scale) mean)."""
    kept, k = probe.scaler.kept, probe.alone.biases.shape[1]
    weights = np.zeros((len(kept), k))
    weights[kept] = probe.scaler.outer(probe.alone.weights[0]) / probe.scaler.scale[:, None]
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, len(kept), k)  # type: ignore[no-untyped-call]  # draws nothing
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights.T))
        shift = probe.scaler.mean.astype(np.float64) @ weights[kept]
        layer.bias.copy_(torch.from_numpy(probe.alone.biases[0] - shift))
    return layer
