"""How many nominal 95 % intervals hold the truth, and how wide they are, as tables.

One replicate of 0/1 rows: exactly, over all counts. Several: by simulation, 4,000 data sets a number
unless `--draws` says otherwise. A row has a difficulty, equal for all seeds; each seed has its own skill.
Both are normal on the scale of log odds, centred so that the mean over all rows and seeds is the share p.
Spreads between seeds of the committed records are .02 in the median, .07 at the 95th percentile, and .13
at most.

python -m tests.statistics.coverage [--draws 4000]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from bench.statistics.intervals import Interval, mean_interval, paired_difference
from bench.statistics.variance import SHARE, Bounds, Scored, rows_part

SIZES = (20, 30, 50, 100, 300, 1000, 10_000)
SHARES = (0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995)
SPREADS = (0.0, 0.05, 0.1, 0.3)  # standard deviation between seeds, in log odds
DIFFICULTY = 2.0  # standard deviation between rows
EFFECTS = (0.0, 0.5)  # by how much the second of a pair is worse, in log odds


@dataclass(frozen=True)
class Line:
    """Coverage of intervals by n and share, their mean width, and that of the intervals of revision 2."""

    n: int
    p: float
    coverage: float
    width: float
    before: float


def one_replicate(n: int, p: float) -> Line:
    """Of 0/1 rows, over all counts whose probability is above 1e-12."""
    counts = np.arange(n + 1)
    chances = scipy.stats.binom.pmf(counts, n, p)
    counts, chances = counts[chances > 1e-12], chances[chances > 1e-12]
    intervals = [mean_interval((np.arange(n) < count)[None] * 1.0) for count in counts]
    before = np.diff(scipy.stats.binom.ppf([[0.025], [0.975]], n, counts / n), axis=0) / n
    return _line(n, p, p, intervals, before[0], chances)


def _rows_of(kind: str, n: int, rng: np.random.Generator) -> tuple[Any, float, Bounds]:
    """Row scores (n,) that are not 0/1, what they would be on average, and their bounds."""
    if kind == "exponential":
        return rng.exponential(size=n), 1.0, (0.0, np.inf)
    if kind == "log-normal":
        return rng.lognormal(size=n), float(np.exp(0.5)), (0.0, np.inf)
    if kind == "1 - chi-square":  # as R² of rows
        return 1 - 0.3 * rng.chisquare(1, size=n), 0.7, (-np.inf, 1.0)
    targets = int(
        kind.split()[0]
    )  # right, but for a tenth of the rows, of which half of them are wrong
    wrong = np.where(rng.random(n) < 0.1, 0.5, 0.005)
    return 1 - rng.binomial(targets, wrong) / targets, 1 - 0.1 * 0.5 - 0.9 * 0.005, SHARE


KINDS = ("2 targets", "5 targets", "40 targets", "1 - chi-square", "exponential", "log-normal")


def other_rows(kind: str, n: int, draws: int) -> Line:
    """Of one replicate of rows that are not 0/1."""
    rng = np.random.default_rng(n + 2)
    intervals, before = [], []
    for _ in range(draws):
        rows, truth, bounds = _rows_of(kind, n, rng)
        intervals.append(mean_interval(rows[None], bounds=bounds))
        before.append(2 * _welch_half(rows, []))
    return _line(n, 0.0, truth, intervals, np.array(before))


def several_seeds(
    n: int, p: float, spread: float, draws: int, *, seeds: int = 3, difficulty: float = DIFFICULTY
) -> Line:
    """Of `seeds` trainings on the same rows."""
    rng = np.random.default_rng(n)
    centre = _centre(p, spread, difficulty)
    intervals, before = [], []
    for _ in range(draws):
        rows = _trained(rng, rng.normal(0, difficulty, n), centre, spread, seeds)
        intervals.append(mean_interval(rows))
        before.append(2 * _welch_half(rows.mean(axis=0), Scored.of(rows).parts))
    return _line(n, p, p, intervals, np.array(before))


def paired(n: int, p: float, spread: float, effect: float, draws: int, *, seeds: int = 3) -> Line:
    """Of two encoders, the first with share p, on the same rows; `seeds` = 1: of one replicate each."""
    rng = np.random.default_rng(n + 1)
    centre = _centre(p, spread, DIFFICULTY)
    truth = p - _share(centre - effect, np.hypot(spread, DIFFICULTY))
    intervals, before = [], []
    for _ in range(draws):
        hard = rng.normal(0, DIFFICULTY, n)
        a, b = (_trained(rng, hard, centre - e, spread, seeds) for e in (0, effect))
        intervals.append(paired_difference(a, b)[0])
        parts = [*Scored.of(a).parts, *Scored.of(b).parts]
        before.append(2 * _welch_half(a.mean(axis=0) - b.mean(axis=0), parts))
    return _line(n, p, truth, intervals, np.array(before))


def _line(
    n: int, p: float, truth: float, intervals: list[Interval], before: Any, chances: Any = None
) -> Line:
    held = [i.low <= truth <= i.high for i in intervals]
    widths = [i.high - i.low for i in intervals]
    held, widths, before = (np.average(x, weights=chances) for x in (held, widths, before))
    return Line(n, p, float(held), float(widths), float(before))


def _trained(rng: np.random.Generator, hard: Any, centre: float, spread: float, seeds: int) -> Any:
    """0/1 rows (seeds, n) by the rows' difficulty (n,)."""
    skill = centre + spread * rng.standard_normal((seeds, 1), dtype=np.float32)
    chance = scipy.special.expit(skill + hard.astype(np.float32))
    return (rng.random(chance.shape, dtype=np.float32) < chance).astype(np.float64)


def _welch_half(rows: Any, parts: list[tuple[float, float]]) -> float:
    """Half the width of Student's interval with Welch's degrees of freedom, of rows (n,) and replicates.
    Of a single replicate about that of the percentiles of resampled rows."""
    parts = [rows_part(rows), *parts]
    variance = sum(v for v, _ in parts)
    below = sum(v**2 / f for v, f in parts)
    freedom = variance**2 / below if below and len(parts) > 1 else np.inf
    return float(scipy.stats.t.ppf(0.975, freedom) * variance**0.5) if variance else 0.0


_NODES, _WEIGHTS = scipy.special.roots_hermitenorm(150)


def _share(centre: float, spread: float) -> float:
    """The mean of the logistic function of a normal variable."""
    return float(scipy.special.expit(centre + spread * _NODES) @ _WEIGHTS / _WEIGHTS.sum())


def _centre(p: float, spread: float, difficulty: float) -> float:
    total = np.hypot(spread, difficulty)
    return float(scipy.optimize.brentq(lambda c: _share(c, total) - p, -60, 60))


def tables(draws: int) -> Iterator[tuple[str, list[Line]]]:
    """Titles and lines."""
    grid = [(n, p) for n in SIZES for p in SHARES]
    yield "one replicate", [one_replicate(n, p) for n, p in grid]
    for spread in SPREADS:
        for difficulty in (0.0, DIFFICULTY):
            lines = [several_seeds(n, p, spread, draws, difficulty=difficulty) for n, p in grid]
            yield f"three seeds, spread {spread:g}, difficulty {difficulty:g}", lines
    for effect in EFFECTS:
        lines = [paired(n, p, 0.0, effect, draws, seeds=1) for n, p in grid]
        yield f"difference of one replicate each, effect {effect:g}", lines
        for spread in SPREADS:
            lines = [paired(n, p, spread, effect, draws) for n, p in grid]
            yield f"difference of three seeds each, spread {spread:g}, effect {effect:g}", lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=4000, help="data sets a number")
    arguments = parser.parse_args()
    for title, lines in tables(arguments.draws):
        print(f"\n{title}; coverage, and the mean width (its ratio to that of revision 2)")
        print(f"{'n':>6}", *(f"{f'p = {p:g}':>19}" for p in SHARES))
        for n in SIZES:
            cells = [cell_text(line) for line in lines if line.n == n]
            print(f"{n:6}", *(f"{cell:>19}" for cell in cells), flush=True)
        print(f"lowest {min(line.coverage for line in lines):.3f}", flush=True)
    print("\none replicate of rows that are not 0/1; the same")
    print(f"{'n':>6}", *(f"{kind:>19}" for kind in KINDS))
    for n in SIZES:
        cells = [cell_text(other_rows(kind, n, arguments.draws)) for kind in KINDS]
        print(f"{n:6}", *(f"{cell:>19}" for cell in cells), flush=True)


def cell_text(line: Line) -> str:
    return f"{line.coverage:.3f}  {line.width:.4f} ({line.width / line.before:.2f})"


if __name__ == "__main__":
    main()
