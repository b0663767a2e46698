"""Do two triples of training seeds of one encoder tie, as they should?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.scoring.scorer import primary_rows
from bench.seeding import generator
from bench.statistics.intervals import Interval, Scored
from bench.statistics.ranking import pairwise_p, tie_groups
from bench.studies.base import Report, Setting, measured
from bench.tasks.cell import Cell
from bench.tasks.files import load

__all__ = ["run"]

REVISION = 1
TRIPLE = 3

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Found:
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
    each judged as the board does, and as many pairs simulated with fresh seeds of the same spread.

    Real pairs share seeds, so their interval is a jackknife over seeds (Efron and Stein 1981); simulated
    ones are independent, theirs is Clopper and Pearson's. Of a fair test 95 in 100 tie. Raises BenchError
    for fewer than 7 seeds, and where the cell is not ok.
    """
    if seeds < 2 * TRIPLE + 1 or pairs < 1:
        raise BenchError(f"seed_ties: seeds={seeds}, pairs={pairs}; 7 and 1 or more are wanted")
    asked = load(task)
    asked = asked.derive(replicates=replace(asked.replicates, seeds=seeds, encoder_seeds=None))
    store, [record] = measured([Cell(asked, resolve("encoders", encoder))], setting)
    rows = np.stack(list(primary_rows(record, asked, store.predictions(record)).values()))
    found = judge(rows, pairs)
    return Report(_text(found, encoder, task), {**asdict(found), "encoder": encoder, "task": task})


def judge(rows: Array, pairs: int) -> Found:
    """From the row scores (s, n) of s trainings of one encoder."""
    means = rows.mean(axis=1)
    deviation = _seed_deviation(rows)
    return Found(
        seeds=len(rows),
        mean=float(means.mean()),
        seed_deviation=deviation,
        pairs=pairs,
        real=_real(rows, pairs),
        simulated=_simulated(rows.mean(axis=0), deviation, pairs),
    )


def ties(a: Array, b: Array) -> bool:
    """Do two encoders, by the row scores (r, n) of their trainings, fall into one tie group?"""
    both = [Scored.of(a), Scored.of(b)]
    return tie_groups([each.value for each in both], pairwise_p([both], [1.0])) == [1, 1]


def _real(rows: Array, pairs: int) -> Interval:
    """Share of tied pairs of disjoint triples, with a jackknife interval over the seeds."""
    rng, count = generator(0, "triples"), len(rows)
    drawn = [rng.permutation(count)[: 2 * TRIPLE] for _ in range(pairs)]
    tied = np.array([ties(rows[six[:TRIPLE]], rows[six[TRIPLE:]]) for six in drawn], dtype=float)
    # Without seed k: the pairs that do not have it.
    holds = np.zeros((count, pairs), dtype=bool)
    for number, six in enumerate(drawn):
        holds[six, number] = True
    without = [tied[~held].mean() for held in holds if not held.all()]
    spread = float(np.sqrt((count - 1) / count * np.square(without - np.mean(without)).sum()))
    from scipy.special import stdtrit

    share, half = float(tied.mean()), float(stdtrit(count - 1, 0.975)) * spread
    return Interval(share, max(0.0, share - half), min(1.0, share + half))


def _simulated(chances: Array, deviation: float, pairs: int) -> Interval:
    """Share of tied pairs of triples whose seeds and test rows are fresh: rows drawn again from those
    that there are, each right by its chance (n,), which a seed moves for all of its rows."""
    rng, n, tied = generator(0, "simulated"), len(chances), 0
    for _ in range(pairs):
        own = chances[rng.integers(n, size=n)]
        moved = own + deviation * rng.standard_normal((2 * TRIPLE, 1))
        right = (rng.random((2 * TRIPLE, n)) < moved).astype(float)
        tied += ties(right[:TRIPLE], right[TRIPLE:])
    from scipy.stats import binomtest

    exact = binomtest(tied, pairs).proportion_ci(method="exact")
    return Interval(tied / pairs, float(exact.low), float(exact.high))


def _seed_deviation(rows: Array) -> float:
    """Standard deviation of a seed's accuracy beyond what n rows alone make of it."""
    chance = rows.mean(axis=0)
    by_rows = float((chance * (1 - chance)).mean()) / rows.shape[1]
    return math.sqrt(max(0.0, float(rows.mean(axis=1).var(ddof=1)) - by_rows))


def _text(found: Found, encoder: str, task: str) -> str:
    def told(interval: Interval) -> str:
        values = (100 * v for v in (interval.value, interval.low, interval.high))
        return "{:.1f} % [{:.1f}, {:.1f}]".format(*values)

    return "\n\n".join(
        [
            "# Do two triples of seeds of one encoder tie?",
            f"{found.seeds} trainings of `{encoder}` on `{task}`: accuracy {100 * found.mean:.2f} %, "
            f"standard deviation between seeds {100 * found.seed_deviation:.2f} points.",
            f"- {found.pairs} random pairs of disjoint triples of these seeds: {told(found.real)} fall "
            "into one tie group (interval: jackknife over seeds).",
            f"- {found.pairs} simulated pairs with fresh seeds of the same spread and fresh test rows: "
            f"{told(found.simulated)} (Clopper and Pearson).",
            f"A fair test ties 95 in 100. {_verdict([found.real, found.simulated])}",
        ]
    )


def _verdict(intervals: Sequence[Interval]) -> str:
    below = any(interval.high < 0.95 for interval in intervals)
    return "Too few tie: seeds are told apart too often." if below else "Neither lies below that."
