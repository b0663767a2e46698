"""Softmax regression in which each feature has a penalty, for many penalties at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.solvers._certificate import Certificate
from bench.solvers._checks import Array, penalty_grid, require_descent, require_labelled_rows
from bench.solvers._coordinates import Coordinates, covariance
from bench.solvers._lbfgs import Objective, Path, Stopped, allowed_excess, descend
from bench.solvers._likelihood import Likelihood

REVISION = 1

_COLUMNS = 40  # of a product with the rows: wide enough for the processor
_WORK = 5e7  # products below this many operations cost more to start than to compute
_ABSENT = -30.0  # bias of a class without rows: adds less than 1e-13 to the loss
_DOUBLE_ROWS = 2000  # up to which float64 costs little
_REMEMBERED = 10**5  # weights of a point whose L-BFGS memory is handed to later calls


@dataclass(frozen=True, slots=True, eq=False)
class PenalisedSolution:
    """Minimisers for l penalties; weights are for the features as given to the problem."""

    penalties: Array  # (l,) float64
    factors: Array  # (l, d) float64
    weights: Array  # (l, d, k) float32
    biases: Array  # (l, k) float32, summing to zero over the classes that have rows
    objective: Array  # (l,) float64, nats: mean cross-entropy + lambda / 2 * sum_j q_j |W_j|^2
    gap: Array  # (l,) float64, nats: objective - optimum is at most this
    relative_gap: Array  # (l,) gap as a share of the lesser of objective and gain over no weights
    iterations: Array  # (l,) int64
    converged: Array  # (l,) bool: the stopping rule was met
    passes: float  # reads of all rows for one penalty (both products), summed over penalties
    _paths: tuple[_Ended, ...] = field(default=(), repr=False)

    def take(self, points: Array) -> PenalisedSolution:
        """Of the penalties with these numbers, or where a mask (l,) is true."""
        numbers = np.atleast_1d(np.arange(len(self.penalties))[points])
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {name: v[numbers] for name, v in values.items() if isinstance(v, np.ndarray)}
        paths = tuple(self._paths[i] for i in numbers) if self._paths else ()
        return PenalisedSolution(**arrays, passes=self.passes, _paths=paths)

    @classmethod
    def together(cls, solutions: Sequence[PenalisedSolution]) -> PenalisedSolution:
        """All points of solutions of one problem, in their order."""
        arrays = {
            f.name: np.concatenate([getattr(s, f.name) for s in solutions])
            for f in fields(cls)
            if isinstance(getattr(solutions[0], f.name), np.ndarray)
        }
        paths = tuple(path for s in solutions for path in s._paths)
        complete = len(paths) == len(arrays["penalties"])
        passes = sum(s.passes for s in solutions)
        return cls(**arrays, passes=passes, _paths=paths if complete else ())


@dataclass(frozen=True, slots=True, eq=False)
class _Ended:
    """Where a descent of one point (1,) ended, in the coordinates of a metric."""

    metric: Coordinates
    path: Path


def _between(lam: float, paths: list[Path]) -> Path | None:
    """The start between the nearest larger and smaller penalty, where they are a decade apart or less."""
    larger = [path for path in paths if float(path.lam) >= lam]
    smaller = [path for path in paths if float(path.lam) <= lam]
    if not larger or not smaller:
        return None
    above, below = min(larger, key=lambda p: float(p.lam)), max(smaller, key=lambda p: float(p.lam))
    if not float(above.lam) > float(below.lam) or float(above.lam) > 11 * float(below.lam):
        return None
    nearer = float(above.lam) * float(below.lam) < lam * lam
    return above.handed_to(lam, below) if nearer else below.handed_to(lam, above)


class PenalisedSoftmax:
    """Softmax regression of y (n,) on x (n, d): mean cross-entropy + lambda / 2 * sum_j q_j |W_j|^2, the
    bias free. lambda is per sample: scikit-learn's C is 1 / (lambda * n).

    x: float32, centred by about the mean and divided by one scale, so that entries are of order 1; factors
        q_j = 1 are then one scale for all features, q_j = variance_j each feature standardised
    y: labels 0 .. classes - 1; every class has its own weights
    classes: their number; a class without rows gets weights 0 and bias -30

    Raises BenchError for features that are not finite or labels out of range.
    """

    def __init__(self, x: Array, y: Array, classes: int) -> None:
        require_labelled_rows(x, y, classes)
        self.classes = classes
        self.n, self.d = x.shape
        self.present, inner = np.unique(y, return_inverse=True)
        self.k = len(self.present)
        # Some columns at a time: the float64 differences of all would fill gigabytes.
        parts = np.array_split(x, max(1, self.d // 64), axis=1)
        mean = np.concatenate([part.mean(0, dtype=np.float64) for part in parts])
        variances = np.concatenate([part.var(0, dtype=np.float64) for part in parts])
        # Centred again only where it matters: that costs a copy.
        far = np.square(mean) > 1e-6 * np.maximum(variances, 1e-30)
        if self.n < self.d or far.any():
            x = (x - mean).astype(np.float32)
        else:
            mean = np.zeros(self.d)
        self._mean = torch.from_numpy(mean)
        rows = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        self._rows = Likelihood(rows, torch.from_numpy(inner.astype(np.int64)), self.k)
        self._prior = torch.bincount(self._rows.y, minlength=self.k).double() / self.n
        self._flat = -(self._prior * self._prior.log()).sum()[None]
        # Rotating every row once costs n d^2, rotating weights k d^2 at each of hundreds of passes.
        self._rotated = self.n < self.d or (self.n < 200 * self.k and self.n * self.d <= 5e7)
        self._spaces: dict[bytes, tuple[Objective, int]] = {}
        self._certificate: Certificate | None = None
        self._covariance: Tensor | None = None

    def solve(
        self,
        penalties: Array,
        factors: Array,
        *,
        gap: float,
        certified: bool = False,
        start: PenalisedSolution | None = None,
        max_iterations: int = 500,
    ) -> PenalisedSolution:
        """Minimise for every penalty, to within a relative gap of the optimum.

        penalties: lambda (l,), in any order
        factors: q (l, d) or (d,), all > 0; inf drops a feature
        gap: allowed (objective - optimum) as a share of the lesser of the objective and of what it gains
            over no weights
        certified: stop only once a bound, evaluated in float64 at the float32 weights returned, is within
            the gap
        start: solutions to begin at, of this problem or of one with the same features and classes

        `PenalisedSolution.gap` is always a bound: |gradient|^2 / (2 lambda) in the coordinates in which
        the penalty is |A|^2 (strong convexity; Boyd & Vandenberghe 9.1.2), or the duality gap. It is loose
        for small penalties. Without `certified` a point stops also where ten times the gain of the last
        third of its iterations, continued as a geometric series, is within the gap and the quasi-Newton
        step expects to gain less than an eighth of it; or that expects next to nothing. This is a
        heuristic: a test compares what it accepts with exact optima.
        """
        lam = penalty_grid(penalties)
        q = self._require_factors(factors, len(lam))
        weights = None if start is None else start.weights
        require_descent(gap, "relative gap > 0", max_iterations, weights, (self.d, self.classes))
        self._reset_passes()
        spaces = [self._space(row) for row in q]
        ended: dict[int, Stopped] = {}
        order = sorted(range(len(lam)), key=lambda i: -lam[i])
        for objective in dict.fromkeys(objective for objective, _ in spaces):
            points = [i for i in order if spaces[i][0] is objective]
            size = self._group(objective)
            for first in range(0, len(points), size):
                group = points[first : first + size]
                path = Path.beside(
                    [self._begin(lam[i], q[i], spaces[i], start, ended, lam, spaces) for i in group]
                )
                aim = 0.8 * gap if certified else gap
                stops = descend(objective, path, aim, certified, max_iterations)
                ended.update(zip(group, stops, strict=True))
        return self._solution(lam, q, spaces, ended, gap, certified, max_iterations)

    def _require_factors(self, factors: Array, size: int) -> Array:
        q = np.asarray(factors, np.float64)
        if q.shape not in ((self.d,), (size, self.d)) or not (q > 0).all():
            raise BenchError(
                f"factors of shape {q.shape} are not allowed: give one factor > 0 a feature, of shape "
                f"{(self.d,)} or {(size, self.d)}"
            )
        return np.array(np.broadcast_to(q, (size, self.d)))

    def _group(self, objective: Objective) -> int:
        """How many points are descended together."""
        n, r = objective.likelihood.x.shape
        return max(1, int(_COLUMNS / self.k), int(_WORK / (4 * n * r * self.k)))

    def _space(self, factors: Array) -> tuple[Objective, int]:
        """The objective and the number of its metric, of factors (d,)."""
        key = factors.tobytes()
        if key in self._spaces:
            return self._spaces[key]
        q, y = torch.from_numpy(factors), self._rows.y
        if self._rotated:
            metric, rows = self._metric_and_rows(q)
            inner = Likelihood(rows, y, self.k)
            spread = torch.diag(metric.variances)
            space = Objective(inner, [metric], False, self._flat, self._prior, spread), 0
        else:
            if self._covariance is None:
                self._covariance = covariance(self._rows.x)
            metric = Coordinates.of(self._covariance, q)
            if self._spaces:
                objective = next(iter(self._spaces.values()))[0]
                objective.metrics.append(metric)
            else:
                objective = Objective(
                    self._rows, [metric], True, self._flat, self._prior, self._covariance
                )
            space = objective, len(objective.metrics) - 1
        self._spaces[key] = space
        return space

    def _metric_and_rows(self, q: Tensor) -> tuple[Coordinates, Tensor]:
        """Of factors (d,), for rows that are rotated once."""
        dtype = torch.float64 if self.n <= _DOUBLE_ROWS else torch.float32
        if self.n < self.d:
            metric, rows = Coordinates.spanned(self._rows.x, q)
            return metric.to(dtype), rows.to(dtype)
        x = self._rows.x.to(dtype)
        metric = Coordinates.of(covariance(x), q)
        return metric, x @ metric.basis.T

    def _begin(
        self,
        lam: float,
        q: Array,
        space: tuple[Objective, int],
        start: PenalisedSolution | None,
        ended: dict[int, Stopped],
        grid: Array,
        spaces: list[tuple[Objective, int]],
    ) -> Path:
        """The start of a point: the nearest penalty of these factors that ended or that was given."""
        objective, number = space
        metric = objective.metrics[number]
        near = [i for i in ended if spaces[i] == space]
        distances = [abs(math.log(lam / grid[i])) for i in near]
        if start is not None:
            finite = np.isfinite(q) & np.isfinite(start.factors).all(0)
            away = np.log(start.penalties[:, None] * start.factors[:, finite]) - np.log(
                lam * q[finite]
            )
            away = np.abs(away).mean(1) if finite.any() else np.zeros(len(away))
            if not near or away.min() < min(distances):
                i = int(away.argmin())
                if start._paths and start._paths[i].metric is metric:
                    paths = [e.path for e in start._paths if e.metric is metric]
                    return _between(lam, paths) or start._paths[i].path.handed_to(lam)
                return self._inward(start, i, lam, q, space)
        if near:
            return ended[near[int(np.argmin(distances))]].path.handed_to(lam)
        zero = metric.basis.new_zeros(1, self.k, len(metric.basis) + 1)
        zero[..., -1] = self._prior.log()
        return self._path(zero, lam, number, 0)

    def _path(self, at: Tensor, lam: float, number: int, before: int) -> Path:
        whole = torch.tensor([number])
        return Path(at, torch.tensor([lam], dtype=torch.float64), whole, torch.tensor([before]))

    def _inward(
        self, start: PenalisedSolution, i: int, lam: float, q: Array, space: tuple[Objective, int]
    ) -> Path:
        """Point i of a solution, in the coordinates of a metric."""
        metric = space[0].metrics[space[1]]
        finite = np.where(np.isfinite(q), q, 0)
        weights = torch.from_numpy(start.weights[i][:, self.present].T.astype(np.float64))
        # A class the start had no rows for comes with a bias of -30: too far out to begin at.
        bias = torch.from_numpy(start.biases[i, self.present].astype(np.float64).clip(-10))
        bias = bias + weights @ self._mean
        inner = (weights * torch.from_numpy(finite)) @ metric.basis.double().T
        at = torch.cat([inner, bias[:, None]], 1)[None].to(metric.basis.dtype)
        return self._path(at, lam, space[1], int(start.iterations[i]))

    def _outward(self, stop: Stopped, metric: Coordinates) -> tuple[Tensor, Tensor]:
        """Weights (k, d) and bias (k,) in float64, for the centred rows."""
        at = stop.path.at[0].double()
        return at[:, :-1] @ metric.basis.double(), at[:, -1]

    def _solution(
        self,
        lam: Array,
        q: Array,
        spaces: list[tuple[Objective, int]],
        ended: dict[int, Stopped],
        gap: float,
        certified: bool,
        max_iterations: int,
    ) -> PenalisedSolution:
        """The solution in the features as given, with absent classes put back."""
        weights = np.zeros((len(lam), self.d, self.classes), np.float32)
        biases = np.full((len(lam), self.classes), _ABSENT, np.float32)
        objectives, bounds, allowed = np.empty((3, len(lam)))
        for i in range(len(lam)):
            objective, number = spaces[i]
            metric = objective.metrics[number]
            if certified:
                ended[i], outer, bias, objectives[i], bounds[i], allowed[i] = self._polished(
                    objective, ended[i], metric, q[i], gap, max_iterations
                )
            else:
                outer, bias = self._outward(ended[i], metric)
                total, bound = ended[i].total, ended[i].bound
                objectives[i], bounds[i] = float(total), float(bound)
                allowed[i] = self._allowed(ended[i], total, bound)
            bias = bias - outer.double() @ self._mean
            weights[i][:, self.present] = outer.T.numpy()
            biases[i, self.present] = bias - bias.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(bounds > 0, bounds / np.maximum(allowed, 0), 0.0)
        met = relative <= gap
        if not certified:
            met |= np.array([ended[i].met for i in range(len(lam))])
        counts = np.array([int(ended[i].path.before) for i in range(len(lam))])
        remembered = self.k * self.d <= _REMEMBERED
        paths = [_Ended(s[0].metrics[s[1]], ended[i].path) for i, s in enumerate(spaces)]
        return PenalisedSolution(
            lam,
            q,
            weights,
            biases,
            objectives,
            bounds,
            relative,
            counts,
            met,
            self._passes(),
            tuple(paths) if remembered else (),
        )

    def _allowed(self, stop: Stopped, objective: Tensor, bound: Tensor) -> float:
        norm = stop.path.at[..., :-1].double().square().sum((1, 2))
        return float(allowed_excess(1.0, objective, self._flat, norm, stop.path.lam, bound))

    def _polished(
        self,
        objective: Objective,
        stop: Stopped,
        metric: Coordinates,
        q: Array,
        gap: float,
        max_iterations: int,
    ) -> tuple[Stopped, Tensor, Tensor, float, float, float]:
        """One point descended until its float64 bound is within the gap, or it gets no further: where it
        stopped, float32 weights (k, d), bias (k,), objective, bound, and the excess that gap 1 allows."""
        if self._certificate is None:
            self._certificate = Certificate(self._rows, self._prior)
        factors, aim = torch.from_numpy(q), 0.8 * gap
        lam = float(stop.path.lam)
        while True:
            outer, bias = self._outward(stop, metric)
            rounded = outer.float()
            at = self._certificate.evaluate(rounded, bias, lam, factors)
            dual = at.dual
            for attempt in range(2):
                bound = max(at.objective - dual, 0.0)
                value, width = torch.tensor([at.objective]).double(), torch.tensor([bound]).double()
                allowed = self._allowed(stop, value, width)
                if attempt or bound <= gap * allowed:
                    break
                # The predictions of the weights before rounding may bound the optimum more closely.
                dual = max(dual, self._certificate.evaluate(outer, bias, lam, factors).dual)
            if bound <= gap * allowed or not stop.met or stop.stuck:
                return stop, rounded, at.bias, at.objective, bound, allowed
            aim /= 2
            stop = descend(objective, stop.path, aim, True, max_iterations)[0]

    def _reset_passes(self) -> None:
        for likelihood in self._likelihoods():
            likelihood.passes = 0.0

    def _passes(self) -> float:
        return sum(likelihood.passes for likelihood in self._likelihoods())

    def _likelihoods(self) -> list[Likelihood]:
        inner = [objective.likelihood for objective, _ in self._spaces.values()]
        return list(dict.fromkeys([self._rows, *inner]))
