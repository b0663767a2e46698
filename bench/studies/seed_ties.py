"""Do two triples of training seeds of one encoder tie, as they should?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from bench.data.samples import Array
from bench.naming.specs import resolve
from bench.seeding import generator
from bench.statistics.intervals import Interval
from bench.statistics.ranking import pairwise_p, tie_groups
from bench.statistics.variance import Scored
from bench.studies.base import Report, Setting, measure, require
from bench.tasks.cell import Cell
from bench.tasks.files import load

REVISION = 1
TRIPLE = 3


@dataclass(frozen=True, slots=True)
class SeedTies:
    """Accuracy over the seeds, and the share of pairs of triples that fall into one tie group."""

    seeds: int
    mean: float
    seed_deviation: float
    pairs: int
    real: Interval
    simulated: Interval


def run(
    *,
    setting: Setting,
    encoder: str = "autoencoder~60k",
    task: str = "cifar10_jpeg-linear",
    seeds: int = 24,
    pairs: int = 1000,
) -> Report:
    """An A/A test: `pairs` of disjoint triples out of `seeds` trainings of one `encoder` on one `task`,
    each tested as the board does, and as many pairs simulated with fresh seeds of the same spread.

    Real pairs share seeds, so their interval is a jackknife over seeds (Efron and Stein 1981); simulated
    ones are independent, theirs is Clopper and Pearson's. Of a fair test 95 in 100 tie. Raises BenchError
    for fewer than 7 seeds, and where the cell is not ok.
    """
    require("seed_ties", 2 * TRIPLE + 1, seeds=seeds)
    require("seed_ties", 1, pairs=pairs)
    plain = load(task)
    repeated = plain.derive(replicates=replace(plain.replicates, seeds=seeds, encoder_seeds=None))
    cell = Cell(repeated, resolve("encoders", encoder))
    return report(measure_ties(measure([cell], setting).rows(cell), pairs), encoder, task)


def measure_ties(rows: Array, pairs: int) -> SeedTies:
    """From the row scores (s, n) of s trainings of one encoder."""
    means = rows.mean(axis=1)
    deviation = _seed_deviation(rows)
    return SeedTies(
        seeds=len(rows),
        mean=float(means.mean()),
        seed_deviation=deviation,
        pairs=pairs,
        real=_real(rows, pairs),
        simulated=_simulated(rows.mean(axis=0), deviation, pairs),
    )


def ties(a: Array, b: Array) -> bool:
    """Do two encoders, by the row scores (r, n) of their trainings, fall into one tie group?"""
    encoders = [Scored.of(a), Scored.of(b)]
    return tie_groups([e.value for e in encoders], pairwise_p([encoders], [1.0])) == [1, 1]


def _real(rows: Array, pairs: int) -> Interval:
    """Share of tied pairs of disjoint triples, with a jackknife interval over the seeds."""
    rng, count = generator(0, "triples"), len(rows)
    drawn = [rng.permutation(count)[: 2 * TRIPLE] for _ in range(pairs)]
    tied = np.array([ties(rows[six[:TRIPLE]], rows[six[TRIPLE:]]) for six in drawn], dtype=float)
    # Without seed k: the pairs that do not have it.
    has_seed = np.zeros((count, pairs), dtype=bool)
    for number, six in enumerate(drawn):
        has_seed[six, number] = True
    without = [tied[~has].mean() for has in has_seed if not has.all()]
    spread = float(np.sqrt((count - 1) / count * np.square(without - np.mean(without)).sum()))
    from scipy.special import stdtrit

    share, half = float(tied.mean()), float(stdtrit(count - 1, 0.975)) * spread
    return Interval(share, max(0.0, share - half), min(1.0, share + half))


def _simulated(chances: Array, deviation: float, pairs: int) -> Interval:
    """Share of tied pairs of triples whose seeds and test rows are fresh: rows drawn again from those
    that there are, each right by its chance (n,), which a seed moves for all of its rows."""
    rng, n, tied = generator(0, "simulated"), len(chances), 0
    for _ in range(pairs):
        resampled = chances[rng.integers(n, size=n)]
        moved = resampled + deviation * rng.standard_normal((2 * TRIPLE, 1))
        right = (rng.random((2 * TRIPLE, n)) < moved).astype(float)
        tied += ties(right[:TRIPLE], right[TRIPLE:])
    from scipy.stats import binomtest

    exact = binomtest(tied, pairs).proportion_ci(method="exact")
    return Interval(tied / pairs, float(exact.low), float(exact.high))


def _seed_deviation(rows: Array) -> float:
    """Standard deviation of the accuracy between seeds, without what the draw of n rows adds to it."""
    chance = rows.mean(axis=0)
    by_rows = float((chance * (1 - chance)).mean()) / rows.shape[1]
    return math.sqrt(max(0.0, float(rows.mean(axis=1).var(ddof=1)) - by_rows))


def report(result: SeedTies, encoder: str, task: str) -> Report:
    below = any(interval.high < 0.95 for interval in (result.real, result.simulated))
    verdict = "Too few tie: seeds differ too often." if below else "Neither is below that."
    return Report.of(
        "Do two triples of seeds of one encoder tie?",
        [
            f"{result.seeds} trainings of `{encoder}` on `{task}`: accuracy {100 * result.mean:.2f} %, "
            f"standard deviation between seeds {100 * result.seed_deviation:.2f} points.",
            f"- {result.pairs} random pairs of disjoint triples of these seeds: {_text(result.real)} fall "
            "into one tie group (interval: jackknife over seeds).",
            f"- {result.pairs} simulated pairs with fresh seeds of the same spread and fresh test rows: "
            f"{_text(result.simulated)} (Clopper and Pearson).",
            f"A fair test ties 95 in 100. {verdict}",
        ],
        {**asdict(result), "encoder": encoder, "task": task},
    )


def _text(share: Interval) -> str:
    value, low, high = (100 * end for end in (share.value, share.low, share.high))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"
