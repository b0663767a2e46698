"""Batched L-BFGS for softmax regression at several penalties and factors of them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.solvers._coordinates import Coordinates
from bench.solvers._curvature import ClassCurvature, sampled
from bench.solvers._likelihood import Likelihood, Value

REVISION = 1

_PAIRS = 12
_LONG_PAIRS = 30  # for a certificate: with 12 it takes nearly twice as many iterations
_LONG_SIZE = 10**5  # coordinates of a point, at most, for so long a memory
_ARMIJO = 1e-4
_WARM_UP = 6  # iterations before the trend of the objective is trusted
_DOUBT = 10.0  # what the trend says remains to be gained is taken this many times
_SURE = 0.02  # of the allowed excess, where class curvature alone says what remains to be gained
# A relative gap so small is asked of the bound alone: where it is tight, convergence is fast.
_TIGHT = 1e-4
_STALE = 3.0  # a penalty smaller by this factor has its curvature estimated anew
_BLOCKS = 5 * 10**7  # entries of the curvature of all classes, at most


@dataclass(slots=True, eq=False)
class Objective:
    """Mean cross-entropy + lambda / 2 * |A|^2 at l points (l, k, r + 1): coordinates A, then the bias.

    With `mapped` the likelihood reads features to which a metric maps coordinates; without, it reads
    the rows' coordinates themselves.
    """

    likelihood: Likelihood
    metrics: list[Coordinates]
    mapped: bool
    flat: Tensor  # the objective (1,) float64 of the best biases alone
    prior: Tensor  # (k,) shares of the classes
    covariance: Tensor | None = None  # (d, d) of the features read, if curvature may be estimated
    curvature: ClassCurvature | None = None  # the latest,
    penalty: float = math.inf  # at about this penalty

    def renew_curvature(self, path: Path) -> None:
        """Estimate the curvature of the classes at the points of a path."""
        p = self.likelihood.spread(self.outer(path.at, path.which), path.at[..., -1])
        assert self.covariance is not None
        self.curvature = ClassCurvature(self.likelihood.x, self.covariance, p)
        self.penalty = float(path.lam.log().mean().exp())

    def is_stale(self, path: Path) -> bool:
        """Whether curvature is known and was estimated at a far larger penalty."""
        penalty = float(path.lam.log().mean().exp())
        return self.curvature is not None and penalty * _STALE < self.penalty

    def factors(self, path: Path) -> list[Tensor] | None:
        """Cholesky factors of the curvature for every point of a path, if there is one."""
        if self.curvature is None:
            return None
        points = zip(path.lam.tolist(), path.which.tolist(), strict=True)
        plain = self.prior.new_ones(len(self.metrics[0].variances))
        scales = [metric.root if self.mapped else plain for metric in self.metrics]
        factors = [self.curvature.factored(scales[w], lam) for lam, w in points]
        usable = [factor for factor in factors if factor is not None]
        return usable if len(usable) == len(factors) else None

    def renewal_cost(self, points: int) -> float:
        """About how many reads of all rows for one point a renewal for this many points costs."""
        n, d = self.likelihood.x.shape
        if self.covariance is None or self.likelihood.k * d * d > _BLOCKS:
            return math.inf
        return sampled(n, d) * d / (4 * n) + points * d * d / (12 * n)

    def outer(self, at: Tensor, which: Tensor) -> Tensor:
        """Weights (l, k, d) that the likelihood reads, of points with metrics numbered `which` (l,)."""
        if not self.mapped:
            return at[..., :-1]
        return self._by_metric(at[..., :-1], which, [metric.basis for metric in self.metrics])

    def evaluate(self, at: Tensor, which: Tensor) -> Value:
        """Loss and gradient at points (l, k, r + 1): one read of the features for all."""
        loss, slope, shift = self.likelihood.read(self.outer(at, which), at[..., -1])
        if self.mapped:
            slope = self._by_metric(slope, which, [metric.basis.T for metric in self.metrics])
        return Value(loss, torch.cat([slope, shift[..., None]], 2))

    @staticmethod
    def _by_metric(values: Tensor, which: Tensor, maps: list[Tensor]) -> Tensor:
        """Values (l, k, r) by the matrix of each point's metric."""
        numbers = set(which.tolist())
        if len(numbers) == 1:
            mapped: Tensor = values @ maps[numbers.pop()]
            return mapped
        result = torch.empty_like(values)
        for number in numbers:
            points = which == number
            result[points] = values[points] @ maps[number]
        return result


@dataclass(slots=True)
class Path:
    """l points with their penalties, metrics and L-BFGS memory."""

    at: Tensor  # (l, k, r + 1)
    lam: Tensor  # (l,) float64
    which: Tensor  # (l,) the number of the metric
    before: Tensor  # (l,) iterations spent on the way to the first point
    steps: list[Tensor] = field(default_factory=list)  # of (l, k, r + 1), oldest first
    turns: list[Tensor] = field(default_factory=list)  # changes of the gradient over those steps
    # Objectives of the iterates, of (l,) float64, and Cholesky factors (k, d + 1, d + 1) for each point.
    totals: list[Tensor] = field(default_factory=list)
    factors: list[Tensor] | None = None

    def take(self, points: Tensor) -> Path:
        return Path(
            self.at[points],
            self.lam[points],
            self.which[points],
            self.before[points],
            [v[points] for v in self.steps],
            [v[points] for v in self.turns],
            [v[points] for v in self.totals],
            None if self.factors is None else [self.factors[i] for i in points.tolist()],
        )

    def handed_to(self, lam: float, beyond: Path | None = None) -> Path:
        """The start for another penalty with the same metric, of the path (1,) that ended; between it and
        one with a penalty on the other side, in log lambda, where there is one."""
        change = torch.full_like(self.at[:1, :1], lam - float(self.lam[0]))
        change[..., -1] = 0
        # Only the penalty changes the curvature: by (lambda - old lambda) I, exactly.
        turns = [turn + change * s for s, turn in zip(self.steps, self.turns, strict=True)]
        new, at = torch.full_like(self.lam, lam), self.at
        if beyond is not None:
            at = at.lerp(beyond.at, float((new / self.lam).log() / (beyond.lam / self.lam).log()))
        return Path(at.clone(), new, self.which, self.before, list(self.steps), turns)

    @classmethod
    def beside(cls, paths: list[Path]) -> Path:
        """Paths as one; memory as long as the shortest."""
        pairs = min(len(path.steps) for path in paths)
        return cls(
            torch.cat([path.at for path in paths]),
            torch.cat([path.lam for path in paths]),
            torch.cat([path.which for path in paths]),
            torch.cat([path.before for path in paths]),
            [torch.cat([p.steps[len(p.steps) - pairs + i] for p in paths]) for i in range(pairs)],
            [torch.cat([p.turns[len(p.turns) - pairs + i] for p in paths]) for i in range(pairs)],
        )


@dataclass(slots=True)
class Stopped:
    """One point (1,) where the descent stopped."""

    path: Path
    total: Tensor  # (1,) float64, the objective
    bound: Tensor  # (1,) float64, on objective - optimum
    met: bool
    stuck: bool


def curvature(path: Path) -> Tensor:
    """Second derivative (l, 1, r + 1) of the penalty by each coordinate; 0 for the bias."""
    result = path.lam.to(path.at)[:, None, None].expand(-1, 1, path.at.shape[2]).clone()
    result[..., -1] = 0
    return result


def total(path: Path, value: Value) -> Tensor:
    """The objective (l,) float64."""
    return value.loss + path.lam / 2 * path.at[..., :-1].double().square().sum((1, 2))


def allowed_excess(
    gap: float, objective: Tensor, flat: Tensor, norm: Tensor, lam: Tensor, bound: Tensor
) -> Tensor:
    """The greatest objective - optimum (l,) within the relative gap: a share of what the weights gain over
    none, and of the objective.

    Where the gain is lost in rounding, a lower bound serves: lambda / 2 |A*|^2 <= flat - optimum by strong
    convexity, and |A - A*| <= sqrt(2 bound / lambda).
    """
    by_norm = lam / 2 * (norm.sqrt() - (2 * bound / lam).sqrt()).clamp_min(0).square() - bound
    rounding = 4 * torch.finfo(torch.float32).eps * flat
    gain = torch.maximum(flat - objective - rounding, by_norm)
    # The floor is for rows that are all alike: no weights gain anything.
    return gap * torch.maximum(torch.minimum(gain, objective), 1e-9 * flat)


def descend(
    objective: Objective, path: Path, gap: float, certified: bool, max_iterations: int
) -> list[Stopped]:
    """L-BFGS (Nocedal & Wright 7.4) for l points at once; those that have met the gap leave the batch."""
    ended: dict[int, Stopped] = {}
    active = torch.arange(len(path.lam))
    if objective.is_stale(path):
        objective.renew_curvature(path)
    path.factors = objective.factors(path)
    value = objective.evaluate(path.at, path.which)
    stuck = torch.zeros(len(path.lam), dtype=torch.bool)
    fall = torch.full_like(path.lam, -torch.inf)
    spent = 0
    for iteration in range(max_iterations + 1):
        now = total(path, value)
        path.totals.append(now)
        slope = (value.slope + curvature(path) * path.at).double().square()
        # The bound for an exact bias; that of the bias itself is second order in its slope.
        bound = slope[..., :-1].sum((1, 2)) / (2 * path.lam)
        bound += (slope[..., -1] / objective.prior).sum(1)
        norm = path.at[..., :-1].double().square().sum((1, 2))
        allowed = allowed_excess(gap, now, objective.flat, norm, path.lam, bound)
        done = bound <= (1 if certified else min(1, _TIGHT / gap)) * allowed
        if not certified and iteration >= _WARM_UP:
            done |= (_remaining(path.totals) <= allowed) & (-fall <= 0.25 * allowed)
        if not certified and iteration and path.factors is not None:
            done |= -fall <= _SURE * allowed
        leave = done | stuck | (iteration == max_iterations)
        for i in leave.nonzero().flatten().tolist():
            point = torch.tensor([i])
            stopped = path.take(point)
            stopped.before = stopped.before + iteration
            stopped.factors = None
            ended[int(active[i])] = Stopped(
                stopped, now[point], bound[point], bool(done[i]), bool(stuck[i])
            )
        stay = (~leave).nonzero().flatten()
        if not len(stay):
            break
        if len(stay) < len(active):
            path, value, active = path.take(stay), value.take(stay), active[stay]
            fall = fall[stay]
        spent += len(stay)
        if spent > objective.renewal_cost(len(stay)):
            objective.renew_curvature(path)
            path.factors, spent = objective.factors(path), -spent
        value, stuck, fall = _advance(objective, path, value)
        pairs = _LONG_PAIRS if certified and path.at[0].numel() <= _LONG_SIZE else _PAIRS
        del path.steps[:-pairs], path.turns[:-pairs]
    return [ended[i] for i in range(len(ended))]


def _remaining(totals: list[Tensor]) -> Tensor:
    """An estimate (l,) of what is still to be gained, with doubt: the gain of the last third of the
    iterations continued as a geometric series whose ratio is that to the gain of the third before."""
    third = (len(totals) - 1) // 3
    late = (totals[-1 - third] - totals[-1]).clamp_min(0)
    earlier = (totals[-1 - 2 * third] - totals[-1 - third]).clamp_min(1e-30)
    ratio = (late / earlier).clamp(0.1, 0.99)
    return _DOUBT * late * ratio / (1 - ratio)


def _advance(objective: Objective, path: Path, value: Value) -> tuple[Value, Tensor, Tensor]:
    """One step with Armijo backtracking for every point; which of them could not move, bool (l,), and the
    slope (l,) along the direction, minus twice what Newton's method would expect to gain."""
    extra = curvature(path)
    slope = value.slope + extra * path.at
    direction = _direction(objective, path, slope, extra)
    fall = _dot(slope, direction).flatten().double()
    start = total(path, value)
    rounding = 2 * torch.finfo(path.at.dtype).eps
    length = torch.ones_like(path.lam)
    before, path.at = path.at, path.at + direction
    new = objective.evaluate(path.at, path.which)
    for _ in range(12):
        rise = total(path, new) - start
        bad = ~(rise <= _ARMIJO * length * fall + rounding * start)
        redo = bad.nonzero().flatten()
        if not len(redo):
            break
        # The minimiser of the parabola through both values and the slope at the start.
        lower = -fall * length.square() / (2 * (rise - fall * length))
        length = torch.where(bad, lower.nan_to_num(0).clamp(0.1 * length, 0.5 * length), length)
        path.at[redo] = (before + length.to(before)[:, None, None] * direction)[redo]
        new.put(redo, objective.evaluate(path.at[redo], path.which[redo]))
    else:
        path.at[redo] = before[redo]
        new.put(redo, value.take(redo))
    path.steps.append(path.at - before)
    path.turns.append(new.slope + extra * path.at - slope)
    return new, bad, fall


def _direction(objective: Objective, path: Path, slope: Tensor, extra: Tensor) -> Tensor:
    """The two-loop recursion, from the inverse Hessian at zero, 1 / (variance / k + lambda)."""
    variances = torch.stack([metric.variances for metric in objective.metrics])[path.which]
    # The floor scales steps and not the objective: smaller ones are rounding in float32.
    variances = torch.maximum(variances, variances[:, -1:] * 1e-7).clamp_min(1e-12)
    diagonal = torch.cat([variances, torch.ones_like(variances[:, :1])], 1)[:, None]
    diagonal = diagonal / objective.likelihood.k + extra
    dots = [_dot(s, y) for s, y in zip(path.steps, path.turns, strict=True)]
    # A pair without positive curvature (rounding) has no weight.
    rates = [torch.where(dot > 0, 1 / dot, 0) for dot in dots]
    pairs = list(zip(path.steps, path.turns, rates, strict=True))
    result, shares = slope.clone(), []
    for step, turn, rate in reversed(pairs):
        shares.append(rate * _dot(step, result))
        result -= shares[-1] * turn
    turn = path.turns[-1] if pairs else result
    if path.factors is not None:
        result, scaled = _solved(objective, path, path.factors, torch.stack([result, turn]))
    else:
        result, scaled = result / diagonal, turn / diagonal
    if pairs:
        size = dots[-1] / _dot(turn, scaled)
        result = torch.where(rates[-1] > 0, size, 1) * result
    for (step, turn, rate), share in zip(pairs, reversed(shares), strict=True):
        result += (share - rate * _dot(turn, result)) * step
    return -result


def _solved(objective: Objective, path: Path, factors: list[Tensor], slopes: Tensor) -> Tensor:
    """The inverse of the curvature by class, times slopes (m, l, k, r + 1)."""
    result = torch.empty_like(slopes)
    for i, (factor, number) in enumerate(zip(factors, path.which.tolist(), strict=True)):
        rotation, at = objective.metrics[number].rotation, slopes[:, i]
        scaled = at
        if objective.mapped:
            scaled = torch.cat([at[..., :-1] @ rotation, at[..., -1:]], 2)
        # All m at once: the factors are read from memory once.
        step = torch.cholesky_solve(scaled.permute(1, 2, 0), factor).permute(2, 0, 1)
        if objective.mapped:
            step = torch.cat([step[..., :-1] @ rotation.T, step[..., -1:]], 2)
        result[:, i] = step
    return result


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot products (l, 1, 1) of points (l, k, r + 1)."""
    return (a * b).sum((1, 2), keepdim=True)
