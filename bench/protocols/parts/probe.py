"""The linear probe: softmax regression on features, its penalty chosen, solved to a certificate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from bench.data.samples import Array
from bench.solvers.logistic import SoftmaxPath, SoftmaxSolution

GRID = tuple(10 ** (exponent / 2) for exponent in range(2, -15, -1))  # 10 .. 1e-7, half decades
QUARTER_DECADE = 10**0.25
CHOOSE_GAP, FINAL_GAP = 1e-2, 1e-4  # nats above the optimum
FOLDS = 5
ALL_FOLDS_ROWS = 5000  # up to which every fold is held out in turn
FEW_LABELS_PENALTY = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Standardises features (n, d) by mean and standard deviation of the training rows; constant features
    are dropped.

    With `basis` (d, r) it projects onto the span of the rows, fewer than d, that a probe is fitted to:
    the best weights lie in that span and the penalty does not depend on rotations, so nothing is lost.
    """

    varying: Array  # bool (all features,): not constant
    mean: Array  # (d,) float32
    scale: Array  # (d,) float32
    basis: Array | None = None

    @classmethod
    def of(cls, x: Array) -> Scaler:
        # Some columns at a time, bit for bit the same: the differences of all of 50,000 rows of 1,280
        # features fill half a gigabyte, which takes three times as long.
        parts = np.array_split(x, max(1, x.shape[1] // 64), axis=1)
        mean = np.concatenate([part.mean(axis=0, dtype=np.float64) for part in parts])
        scale = np.concatenate([part.std(axis=0, dtype=np.float64) for part in parts])
        # Rounding leaves a constant feature a trace of variance, which must not be scaled up.
        varying = scale > 1e-6 * np.median(scale[scale > 0]) if (scale > 0).any() else scale > 0
        if not varying.any():  # as of ten labelled rows that are alike: biases alone are learnt
            varying[:1], scale[:1] = True, 1.0
        return cls(varying, mean[varying].astype(np.float32), scale[varying].astype(np.float32))

    def __call__(self, x: Array) -> Array:
        scaled: Array = (x if self.varying.all() else x[:, self.varying]) - self.mean
        scaled /= self.scale
        return scaled if self.basis is None else scaled @ self.basis

    def spanned_by(self, rows: Array) -> Scaler:
        """The same, projected onto the span of standardised rows (n, d), n < d."""
        basis = torch.linalg.qr(torch.from_numpy(rows.T.astype(np.float64))).Q
        return replace(self, basis=basis.float().numpy())

    def unprojected(self, weights: Array) -> Array:
        """Weights (r, k) of projected features as weights (d, k) of standardised ones."""
        return weights if self.basis is None else self.basis @ weights


@dataclass(frozen=True, slots=True, eq=False)
class PenaltyTrial:
    """One penalty on validation rows."""

    penalty: float
    accuracy: float
    nll: float  # nats a row


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """The probe of one target."""

    scaler: Scaler
    train_only: SoftmaxSolution  # at the chosen penalty, fitted on training rows alone
    final: SoftmaxSolution  # refitted with validation rows, where `refit`
    temperature: float | None  # of `train_only` on validation rows
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
    x: Array, y: Array, val_x: Array, val_y: Array, classes: int, *, refit: bool = True
) -> Probe:
    """The probe of best validation accuracy, ties broken by likelihood, then by the larger penalty.

    x, y: training features (n, d) and labels (n,)
    val_x, val_y: validation features (m, d) and labels (m,)
    classes: their number
    refit: fit the final weights on training and validation rows together
    """
    scaler = Scaler.of(x)
    if len(x) + len(val_x) < int(scaler.varying.sum()):
        scaler = scaler.spanned_by(np.concatenate([scaler(x), scaler(val_x)]))
    x, val_x = scaler(x), scaler(val_x)
    problem = SoftmaxPath(x, y, classes)
    path = problem.solve(np.array(GRID), gap=CHOOSE_GAP)
    trials, solutions, passes = _path_trials(path, val_x, val_y), [path], path.passes

    def extend(penalties: list[float]) -> None:
        nonlocal passes
        extension = problem.solve(np.array(penalties), gap=CHOOSE_GAP, start=path)
        trials.extend(_path_trials(extension, val_x, val_y))
        solutions.append(extension)
        passes += extension.passes

    at_edge = _best(trials).penalty in (max(GRID), min(GRID))
    if at_edge:
        outward = 10**0.5 if _best(trials).penalty == max(GRID) else 10**-0.5
        extend([_best(trials).penalty * outward, _best(trials).penalty * outward**2])
    centre = _best(trials).penalty
    extend([centre * QUARTER_DECADE, centre / QUARTER_DECADE])
    chosen = _best(trials)
    start = next(s for s in solutions if chosen.penalty in s.lambdas)
    final = train_only = _solve(problem, chosen.penalty, start)
    passes += train_only.passes
    if refit:
        both = SoftmaxPath(np.concatenate([x, val_x]), np.concatenate([y, val_y]), classes)
        final = _solve(both, chosen.penalty, train_only)
        passes += final.passes
    report = {**_choice(chosen, trials, final, scaler), "at_edge": at_edge, "passes": passes}
    temperature = best_temperature(logits_of(train_only, val_x), val_y)
    return Probe(scaler, train_only, final, temperature, report)


def fit_few(x: Array, y: Array, classes: int, scaler: Scaler) -> Probe:
    """The probe of features (n, d) and labels (n,) without validation rows: cross-validation chooses.

    Stratified: five folds of up to 5,000 rows, a tenth of more rows. Where a class has fewer than five
    rows the penalty is `FEW_LABELS_PENALTY`, chosen on controls (`reptransfer study few_penalty`).
    """
    if len(x) < int(scaler.varying.sum()):
        scaler = scaler.spanned_by(scaler(x))
    x, fold = scaler(x), stratified_folds(y)
    trials = [] if fold is None else _cross_validated(x, y, fold, classes)
    chosen = _best(trials) if trials else PenaltyTrial(FEW_LABELS_PENALTY, math.nan, math.nan)
    final = _solve(SoftmaxPath(x, y, classes), chosen.penalty, None)
    return Probe(scaler, final, final, None, _choice(chosen, trials, final, scaler))


def grid_accuracies(
    x: Array, y: Array, val_x: Array, val_y: Array, classes: int, scaler: Scaler
) -> list[float]:
    """Validation accuracy at each penalty of `GRID`.

    x, y: training features (n, d) and labels (n,)
    val_x, val_y: validation features (m, d) and labels (m,)
    classes: their number
    scaler: of features
    """
    if len(x) < int(scaler.varying.sum()):
        scaler = scaler.spanned_by(scaler(x))
    path = SoftmaxPath(scaler(x), y, classes).solve(np.array(GRID), gap=CHOOSE_GAP)
    return [trial.accuracy for trial in _path_trials(path, scaler(val_x), val_y)]


def stratified_folds(y: Array) -> Array | None:
    """The fold in which each row of labels (n,) is held out (-1: in none); None where a class has fewer
    rows than there are folds."""
    place = np.empty(len(y), dtype=np.int64)
    for c in np.unique(y):
        rows = np.flatnonzero(y == c)
        if len(rows) < FOLDS:
            return None
        place[rows] = np.arange(len(rows))
    return np.where(place % 10 == 0, 0, -1) if len(y) > ALL_FOLDS_ROWS else place % FOLDS


def _cross_validated(x: Array, y: Array, fold: Array, classes: int) -> list[PenaltyTrial]:
    """Every penalty of the grid on held-out rows, averaged over all of them."""
    shares, trials_by_fold = [], list[list[PenaltyTrial]]()
    for number in range(fold.max() + 1):
        out = fold == number
        path = SoftmaxPath(x[~out], y[~out], classes).solve(np.array(GRID), gap=CHOOSE_GAP)
        trials_by_fold.append(_path_trials(path, x[out], y[out]))
        shares.append(float(out.sum()) / float((fold >= 0).sum()))

    def mean(values: Iterable[float]) -> float:
        return sum(share * value for share, value in zip(shares, values, strict=True))

    return [
        PenaltyTrial(
            trials[0].penalty, mean(t.accuracy for t in trials), mean(t.nll for t in trials)
        )
        for trials in zip(*trials_by_fold, strict=True)
    ]


def _solve(problem: SoftmaxPath, penalty: float, start: SoftmaxSolution | None) -> SoftmaxSolution:
    return problem.solve(np.array([penalty]), gap=FINAL_GAP, certified=True, start=start)


def _choice(
    chosen: PenaltyTrial, trials: Sequence[PenaltyTrial], final: SoftmaxSolution, scaler: Scaler
) -> dict[str, Any]:
    """The report of a choice and of the final weights."""
    return {
        "penalty": chosen.penalty,
        "trials": [[t.penalty, t.accuracy, t.nll] for t in sorted(trials, key=lambda t: t.penalty)],
        "certificate": {
            "gap": float(final.gap[0]),
            "gradient": float(final.gradient[0]),
            "converged": bool(final.converged[0]),
        },
        "features_kept": int(scaler.varying.sum()),
    }


def _path_trials(path: SoftmaxSolution, x: Array, truth: Array) -> list[PenaltyTrial]:
    """Every penalty of a path on rows (n, d) with labels (n,), in one wide product."""
    l, d, k = path.weights.shape  # noqa: E741
    logits = x @ path.weights.transpose(1, 0, 2).reshape(d, l * k) + path.biases.reshape(l * k)
    trials = []
    for number, penalty in enumerate(path.lambdas):
        log_p = log_probability(logits[:, number * k : (number + 1) * k])
        accuracy = float((log_p.argmax(axis=1) == truth).mean())
        nll = -float(log_p[np.arange(len(truth)), truth].mean(dtype=np.float64))
        trials.append(PenaltyTrial(float(penalty), accuracy, nll))
    return trials


def _best(trials: list[PenaltyTrial]) -> PenaltyTrial:
    return max(trials, key=lambda t: (t.accuracy, -t.nll, t.penalty))


def logits_of(solution: SoftmaxSolution, x: Array) -> Array:
    """(n, k) of a solution for one penalty."""
    logits: Array = x @ solution.weights[0] + solution.biases[0]
    return logits


def log_probability(logits: Array) -> Array:
    """log softmax of logits (n, k)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


def best_temperature(logits: Array, truth: Array) -> float:
    """The temperature in [0.05, 20] of least negative log-likelihood (Guo et al. 2017), for logits (n, k)
    and labels (n,).

    The likelihood is concave in 1 / temperature, so a bounded search finds the optimum.
    """
    logits = logits.astype(np.float64)
    true_logits = logits[np.arange(len(truth)), truth]

    def loss(inverse: float) -> float:
        return float((np.logaddexp.reduce(logits * inverse, axis=1) - true_logits * inverse).mean())

    optimum = minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-5})
    return 1.0 / float(optimum.x)


def linear_heads(probes: Mapping[str, Probe]) -> LinearHeads:
    """The heads fitted on training rows alone, on features as they come: W / scale, and
    b - (W / scale) mean."""
    layers = {}
    for name, probe in probes.items():
        varying = probe.scaler.varying
        weights = np.zeros((len(varying), probe.train_only.biases.shape[1]))
        inner = probe.scaler.unprojected(probe.train_only.weights[0])
        weights[varying] = inner / probe.scaler.scale[:, None]
        shift = probe.scaler.mean.astype(np.float64) @ weights[varying]
        layers[name] = linear_layer(weights, probe.train_only.biases[0] - shift)
    return LinearHeads(layers)


def linear_layer(weights: Array, bias: Array) -> nn.Linear:
    """x W + b as a module, of weights (d, k) and bias (k,); draws no random numbers."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, *weights.shape)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights.T))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer
