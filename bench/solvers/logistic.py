"""Softmax regression for a path of penalties: batched L-BFGS in the eigenbasis of the covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.solvers._checks import Array, penalty_grid, require_descent
from bench.solvers._softmax import Softmax, SoftmaxValue, dot, penalty_curvature

REVISION = 1

# Measured on Fashion-MNIST pixels: four penalties make a product wide enough for the processor,
# and few enough that each group starts close to where the group of larger penalties ended.
_GROUP = 4
_PAIRS = 12
_ARMIJO = 1e-4
_ROUNDING = 2e-7  # relative rounding of a float32 mean loss: a smaller rise counts as none
_WARM_UP = 8  # iterations before the trend of the objective is trusted
_ABSENT = -30.0  # bias of a class without rows: adds less than 1e-13 to the loss


@dataclass(frozen=True, slots=True)
class SoftmaxSolution:
    """Minimisers for a path of l penalties; weights are for the features as given."""

    lambdas: Array  # (l,) float64
    weights: Array  # (l, d, k) float32
    biases: Array  # (l, k) float32, summing to zero over the classes that have rows
    objective: Array  # (l,) float64, nats: mean cross-entropy + lambda / 2 * |W|^2
    gap: Array  # (l,) float64, nats: objective - optimum is at most this (a bound, see `solve`)
    gradient: Array  # (l,) float64: |gradient|, as a share of its value at zero weights
    iterations: Array  # (l,) int64
    converged: Array  # (l,) bool: the stopping rule was met
    passes: float  # reads of all rows for one penalty (both products), summed over penalties


@dataclass(slots=True)
class _Path:
    """A point (l, k, d + 1) per penalty with its L-BFGS memory; the last coordinate is the bias."""

    at: Tensor
    steps: list[Tensor]  # of (l, k, d + 1), oldest first
    turns: list[Tensor]  # changes of the gradient over those steps
    losses: list[Tensor]  # of (l,) float64: mean cross-entropy at every iterate
    norms: list[Tensor]  # of (l,) float64: |W|^2 there
    before: Tensor  # (l,) iterations already spent on the way to the first of them

    def take(self, rows: Tensor) -> _Path:
        """The path of these penalties alone."""
        return _Path(
            self.at[rows],
            [v[rows] for v in self.steps],
            [v[rows] for v in self.turns],
            [v[rows] for v in self.losses],
            [v[rows] for v in self.norms],
            self.before[rows],
        )


@dataclass(slots=True)
class _Stopped:
    """The state of one penalty (1,) where it stopped."""

    lam: Tensor
    path: _Path
    value: SoftmaxValue
    iterations: int
    met: bool


class SoftmaxPath:
    """Softmax regression of y (n,) on x (n, d): mean cross-entropy + lambda / 2 * |W|^2, bias free.

    lambda is per sample: scikit-learn's C is 1 / (lambda * n). Every class has its own weights and
    the start is zero, so naming classes otherwise only permutes the result. Raises BenchError for
    features that are not finite or labels outside 0 .. classes - 1.
    """

    def __init__(self, x: Array, y: Array, classes: int) -> None:
        self._problem = Softmax(x, y, classes)
        self.classes, self.d = classes, self._problem.d

    def solve(
        self,
        lambdas: Array,
        *,
        gap: float,
        certified: bool = False,
        start: SoftmaxSolution | None = None,
        max_iterations: int = 500,
    ) -> SoftmaxSolution:
        """Minimise for every penalty of lambdas (l,), to within gap nats of the optimum.

        `SoftmaxSolution.gap` is always a bound: the duality gap at the returned point, |gradient|^2 /
        (2 lambda) when the bias is exact (strong convexity in W; Boyd & Vandenberghe 9.1.2). With
        `certified` a penalty stops only once this bound is at most gap, and bound and objective are
        then evaluated in float64 at the float32 weights returned. Without, it also stops when the
        latter half of its iterations gained less than gap: where the objective falls at least as
        fast as 1 / iteration, what remains to be gained is less than that. This is a heuristic,
        needed because the bound is loose for small penalties. `start` gives the points to begin at.
        """
        grid = penalty_grid(lambdas)
        weights = None if start is None else start.weights
        require_descent(gap, "gap > 0 in nats", max_iterations, weights, (self.d, self.classes))
        self._problem.passes = 0.0
        order = np.argsort(-grid, kind="stable")
        ended: list[_Stopped] = []
        for first in range(0, len(order), _GROUP):
            lam = torch.from_numpy(grid[order[first : first + _GROUP]])
            if start is not None:
                path = self._inward(start, lam.numpy())
            elif not ended:
                zero = self._problem.x.new_zeros(len(lam), self._problem.k, self.d + 1)
                path = _Path(zero, [], [], [], [], torch.zeros_like(lam))
            else:
                path = _hand_down(ended[-1].path, ended[-1].lam, lam)
            aim = 0.8 * gap if certified else gap
            ended += self._descend(path, lam, aim, certified, max_iterations)
        ended = [ended[i] for i in np.argsort(order)]
        return self._outward(grid, ended, gap if certified else None, max_iterations)

    def _outward(
        self, grid: Array, ended: list[_Stopped], gap: float | None, max_iterations: int
    ) -> SoftmaxSolution:
        """The solution in the features as given, with absent classes put back."""
        weights = np.zeros((len(grid), self.d, self.classes), np.float32)
        biases = np.full((len(grid), self.classes), _ABSENT, np.float32)
        objective, bounds, relative = np.empty((3, len(grid)))
        met, counts = np.array([stop.met for stop in ended]), np.zeros(len(grid), np.int64)
        for i, stop in enumerate(ended):
            outer, bias = self._problem.outer(stop.path.at[0])
            at, value = stop.path.at, stop.value
            bounds[i] = float(self._problem.bound(at, value, stop.lam))
            if gap is not None:
                stop, outer, at, bias, value = self._polish(stop, gap, max_iterations)
                bounds[i] = float(self._problem.bound(at, value, stop.lam))
                met[i] = bounds[i] <= gap
            counts[i] = int(stop.path.before) + stop.iterations
            bias = bias - bias.mean()
            objective[i] = float(value.loss + stop.lam / 2 * value.norm)
            slope = value.slope + penalty_curvature(stop.lam, self.d) * at
            relative[i] = float(slope.norm() / self._problem.zero.norm().clamp_min(1e-30))
            weights[i][:, self._problem.present] = outer.T.numpy()
            biases[i, self._problem.present] = bias.numpy()
        return SoftmaxSolution(
            grid, weights, biases, objective, bounds, relative, counts, met, self._problem.passes
        )

    def _polish(
        self, stop: _Stopped, gap: float, max_iterations: int
    ) -> tuple[_Stopped, Tensor, Tensor, Tensor, SoftmaxValue]:
        """One penalty descended until its float64 bound is at most gap, or it gets no further."""
        aim = 0.8 * gap
        while True:
            outer, bias = self._problem.outer(stop.path.at[0])
            at, bias, value = self._problem.certify(outer, bias)
            if not stop.met or float(self._problem.bound(at, value, stop.lam)) <= gap:
                return stop, outer, at, bias, value
            aim /= 2
            stop.path.before += stop.iterations
            stop = self._descend(stop.path, stop.lam, aim, True, max_iterations)[0]

    def _inward(self, start: SoftmaxSolution, grid: Array) -> _Path:
        """Starts in the eigenbasis for penalties (l,): the nearest penalties of a solution."""
        near = np.abs(np.log(grid)[:, None] - np.log(start.lambdas)[None]).argmin(1)
        inner = torch.from_numpy(start.weights[near][..., self._problem.present]).mT
        # A class the start had no rows for comes with a bias of -30: too far out to begin at.
        biases = torch.from_numpy(start.biases[near][..., self._problem.present].clip(-10))
        bias = biases + inner @ self._problem.mean
        at = torch.cat([inner @ self._problem.basis, bias[..., None]], 2)
        return _Path(at, [], [], [], [], torch.from_numpy(start.iterations[near]))

    def _descend(
        self, path: _Path, lam: Tensor, aim: float, certified: bool, max_iterations: int
    ) -> list[_Stopped]:
        """L-BFGS (Nocedal & Wright 7.4) for l penalties at once; converged ones leave the batch."""
        ended: dict[int, _Stopped] = {}
        active = torch.arange(len(lam))
        value = self._problem.evaluate(path.at)
        stuck = torch.zeros(len(lam), dtype=torch.bool)
        for iteration in range(max_iterations + 1):
            path.losses.append(value.loss)
            path.norms.append(value.norm)
            slope = (value.slope + penalty_curvature(lam, self.d) * path.at).double().square()
            # The bound for an exact bias; that of the bias itself is second order in its slope.
            weak = slope[..., :-1].sum((1, 2)) / (2 * lam) + (
                slope[..., -1] / self._problem.prior
            ).sum(1)
            done = weak <= aim
            if not certified and len(path.losses) > _WARM_UP:
                half = len(path.losses) // 2
                gained = path.losses[half] - value.loss
                gained += lam / 2 * (path.norms[half] - value.norm)
                done |= gained * (path.before + half) / (iteration - half) <= aim
            leave = done | stuck | (iteration == max_iterations)
            for i in leave.nonzero().flatten().tolist():
                row = torch.tensor([i])
                ended[int(active[i])] = _Stopped(
                    lam[row], path.take(row), value.take(row), iteration, bool(done[i])
                )
            stay = (~leave).nonzero().flatten()
            if not len(stay):
                break
            if len(stay) < len(active):
                path, value = path.take(stay), value.take(stay)
                active, lam = active[stay], lam[stay]
            value, stuck = self._advance(path, value, lam)
        return [ended[i] for i in range(len(ended))]

    def _direction(self, path: _Path, slope: Tensor, lam: Tensor) -> Tensor:
        """The two-loop recursion, from the inverse Hessian at zero, 1 / (eigenvalue / k + lambda)."""
        diagonal = self._problem.scale / self._problem.k + penalty_curvature(lam, self.d)
        dots = [dot(s, y) for s, y in zip(path.steps, path.turns, strict=True)]
        # A pair without positive curvature (rounding) has no weight.
        rates = [torch.where(dot > 0, 1 / dot, 0) for dot in dots]
        pairs = list(zip(path.steps, path.turns, rates, strict=True))
        result, shares = slope.clone(), []
        for step, turn, rate in reversed(pairs):
            shares.append(rate * dot(step, result))
            result -= shares[-1] * turn
        result /= diagonal
        if pairs:
            step, turn, rate = pairs[-1]
            size = dots[-1] / dot(turn, turn / diagonal)
            result *= torch.where(rate > 0, size, 1)
        for (step, turn, rate), share in zip(pairs, reversed(shares), strict=True):
            result += (share - rate * dot(turn, result)) * step
        return -result

    def _advance(
        self, path: _Path, value: SoftmaxValue, lam: Tensor
    ) -> tuple[SoftmaxValue, Tensor]:
        """One step with Armijo backtracking for every penalty, and which of them could not move: bool
        (l,)."""
        curvature = penalty_curvature(lam, self.d)
        slope = value.slope + curvature * path.at
        direction = self._direction(path, slope, lam)
        fall = dot(slope, direction).flatten().double()
        start = value.loss + lam / 2 * value.norm
        length = torch.ones_like(lam)
        point = path.at + direction
        new = self._problem.evaluate(point)
        for _ in range(12):
            rise = new.loss + lam / 2 * new.norm - start
            bad = ~(rise <= _ARMIJO * length * fall + _ROUNDING * start)
            redo = bad.nonzero().flatten()
            if not len(redo):
                break
            # The minimiser of the parabola through both values and the slope at the start.
            lower = -fall * length.square() / (2 * (rise - fall * length))
            length = torch.where(bad, lower.nan_to_num(0).clamp(0.1 * length, 0.5 * length), length)
            point[redo] = (path.at + length.float()[:, None, None] * direction)[redo]
            new.put(redo, self._problem.evaluate(point[redo]))
        else:
            point[redo] = path.at[redo]
            new.put(redo, value.take(redo))
        path.steps.append(point - path.at)
        path.turns.append(new.slope + curvature * point - slope)
        del path.steps[:-_PAIRS], path.turns[:-_PAIRS]
        path.at = point
        return new, bad


def _hand_down(path: _Path, old: Tensor, lam: Tensor) -> _Path:
    """Starts for penalties lam (l,): the path of penalty old (1,), its L-BFGS memory corrected."""
    size, d = len(lam), path.at.shape[2] - 1
    change = penalty_curvature(lam, d) - penalty_curvature(old, d)
    return _Path(
        path.at.expand(size, -1, -1).clone(),
        [step.expand(size, -1, -1) for step in path.steps],
        # Only the penalty changes the curvature: by (lambda - old lambda) I, exactly.
        [turn + change * step for step, turn in zip(path.steps, path.turns, strict=True)],
        [],
        [],
        (path.before + len(path.losses) - 1).expand(size),
    )
