"""What is said of sharing, and whether it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from bench.report.text import interval_text
from bench.statistics.intervals import Interval, student_interval
from bench.studies.base import Claim

if TYPE_CHECKING:
    from bench.studies.sharing._report import Affinity, Curve, Found, Pair, Sweep

__all__ = ["claims"]

Array = npt.NDArray[Any]


def claims(found: Found, margin: float) -> list[Claim]:
    """Judged by intervals and adjusted p-values at 5 %."""
    return [
        *_of_pair(found.pair, margin),
        *(claim for curve in found.curves for claim in _of_curve(curve)),
        *(_of_sweep(sweep) for sweep in found.sweeps),
        _of_affinity(found.affinity),
    ]


def _of_pair(pair: Pair, margin: float) -> list[Claim]:
    none = _mean(pair.gains[list(pair.correlations).index(0.0)])
    return [
        Claim(
            "the more two tasks have in common, the more sharing gains: slope on their correlation",
            (interval_text(pair.slope, "+"),),
            pair.slope.low > 0,
        ),
        Claim(
            f"at correlation 0 there is no gain and no loss: within {margin:g} of log error ratio",
            (interval_text(none, "+"), f"two one-sided tests: p = {pair.equivalence:.2g}"),
            pair.equivalence < 0.05,
        ),
    ]


def _of_curve(curve: Curve) -> list[Claim]:
    best, tied = _mean(curve.gains[curve.best]), _mean(curve.gains[-1])
    return [
        Claim(
            f"`{curve.encoder}`: the coupling that is best on validation gains over none",
            (f"{curve.names[curve.best]}: {interval_text(best, '+')}",),
            best.low > 0,
        ),
        Claim(
            f"`{curve.encoder}`: one tower for all tasks is worse than one each",
            (interval_text(tied, "+"),),
            tied.high < 0,
        ),
    ]


def _of_sweep(sweep: Sweep) -> Claim:
    gaps = [_mean(100 * gap) for gap in (sweep.shared - sweep.shuffled)[:-1]]
    return Claim(
        f"`{sweep.encoder}`: where labels of {sweep.first} are few, true labels of the others help it "
        "more than shuffled ones",
        tuple(
            f"{n:g} a class: {interval_text(gap, '+')}"
            for n, gap in zip(sweep.labels[:-1], gaps, strict=True)
        ),
        bool(gaps) and all(gap.low > 0 for gap in gaps),
    )


def _of_affinity(affinity: Affinity) -> Claim:
    sure = [pair for pair, p in affinity.adjusted.items() if p < 0.05]
    lost = [f"{other} with {one}" for one, other in sure if affinity.gains((one, other)).mean() < 0]
    return Claim(
        f"`{affinity.encoder}`: no target loses by being trained with one other",
        (f"{len(lost)} of {len(affinity.together)} lose beyond doubt", *lost),
        not lost,
    )


def _mean(values: Array) -> Interval:
    return student_interval([float(v) for v in values])
