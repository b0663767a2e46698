"""What the study of sharing measures, with its statistics, the claims about it, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.errors import BenchError
from bench.report.text import interval_text
from bench.seeding import generator
from bench.solvers.towers import Run
from bench.statistics.intervals import Interval, student_interval
from bench.statistics.significance import difference_p, holm
from bench.studies.base import Claim
from bench.studies.parts.differences import interval_claim

RESAMPLES = 1000


def seed_mean(values: Array) -> Interval:
    """Mean of values (s,) over seeds, with Student's 95 % interval."""
    return student_interval([float(v) for v in values])


def settings_of(runs: Mapping[str, Run]) -> dict[str, dict[str, float]]:
    return {n: {"rate": r.rate, "decay": r.decay, "dropout": r.dropout} for n, r in runs.items()}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PairGains:
    """R2 of the first of two regressions with `labels` each: alone and with `full`, all labels (s,),
    shared by correlation (p, s); slope of `gains` on it, and the p-value of their equivalence to 0 at
    correlation 0."""

    correlations: Sequence[float]
    labels: tuple[int, int]
    alone: Array
    shared: Array
    full: Array
    slope: Interval
    equivalence: float
    settings: Mapping[str, Mapping[str, float]]

    @property
    def gains(self) -> Array:
        """log((1 - alone) / (1 - shared)), the log error ratio: (p, s)."""
        return np.asarray(np.log((1 - self.alone) / (1 - self.shared)))

    def claims(self, margin: float) -> list[Claim]:
        at_zero = seed_mean(self.gains[list(self.correlations).index(0.0)])
        return [
            interval_claim(
                "the more two tasks have in common, the more sharing gains: slope on their correlation",
                {"": self.slope},
            ),
            Claim(
                f"at correlation 0 there is no gain and no loss: within {margin:g} of log error ratio",
                (interval_text(at_zero, "+"), f"two one-sided tests: p = {self.equivalence:.2g}"),
                self.equivalence < 0.05,
            ),
        ]

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "gains": self.gains}


@dataclass(frozen=True, slots=True, eq=False)
class CouplingCurve:
    """Accuracies of an encoder by coupling, target and seed on validation and on test: (c, t, s)."""

    encoder: str
    targets: tuple[str, ...]
    couplings: Sequence[float]
    val: Array
    test: Array
    settings: Mapping[str, Mapping[str, float]]

    @property
    def names(self) -> list[str]:
        return ["inf" if math.isinf(c) else f"{c:g}" for c in self.couplings]

    @property
    def gains(self) -> Array:
        """Mean points over targets against coupling 0, on test: (c, s)."""
        return np.asarray(100 * (self.test - self.test[0]).mean(axis=1))

    @property
    def best(self) -> int:
        """Which coupling is best on validation, of equal ones the smallest."""
        return int(self.val.mean(axis=(1, 2)).argmax())

    def claims(self) -> list[Claim]:
        return [
            interval_claim(
                f"`{self.encoder}`: the coupling that is best on validation gains over separate towers",
                {f"{self.names[self.best]}:": seed_mean(self.gains[self.best])},
            ),
            interval_claim(
                f"`{self.encoder}`: one tower for all tasks is worse than a separate one for each",
                {"": seed_mean(self.gains[-1])},
                sign=-1,
            ),
        ]

    def json(self) -> dict[str, Any]:
        best = self.names[self.best]
        return {**asdict(self), "couplings": self.names, "gains": self.gains, "best": best}


@dataclass(frozen=True, slots=True, eq=False)
class LabelSweep:
    """Accuracies of the `first` target by its labels a class and by seed, (n, s): alone, with the other
    targets, and with shuffled labels of theirs; kappa: what sharing is worth, in labels."""

    encoder: str
    first: str
    labels: Sequence[float]
    alone: Array
    shared: Array
    shuffled: Array
    kappa: Sequence[Interval]
    settings: Mapping[str, Mapping[str, float]]

    def claim(self) -> Claim:
        gaps = zip(self.labels[:-1], (self.shared - self.shuffled)[:-1], strict=True)
        statement = (
            f"`{self.encoder}`: where labels of {self.first} are few, true labels of the others raise its "
            "accuracy more than shuffled ones"
        )
        return interval_claim(statement, {f"{n:g} a class:": seed_mean(100 * g) for n, g in gaps})

    def json(self) -> dict[str, Any]:
        # null: more than the curve of one target reaches; 0: less
        kappa = [
            {key: None if math.isinf(v) else v for key, v in asdict(interval).items()}
            for interval in self.kappa
        ]
        return {**asdict(self), "kappa": kappa}


@dataclass(frozen=True, slots=True, eq=False)
class TargetAffinity:
    """Accuracies (s,) of targets alone, and of the second of two trained together."""

    encoder: str
    alone: Mapping[str, Array]
    together: Mapping[tuple[str, str], Array]

    def gain(self, pair: tuple[str, str]) -> Array:
        """Points that the second target gains by being trained with the first: (s,)."""
        return np.asarray(100 * (self.together[pair] - self.alone[pair[1]]))

    @property
    def adjusted(self) -> dict[tuple[str, str], float]:
        """p-values of paired t-tests of all gains, with Holm's adjustment."""
        gains = [self.gain(pair) for pair in self.together]
        p = [difference_p(float(g.mean()), [(g.var(ddof=1) / len(g), len(g) - 1)]) for g in gains]
        return dict(zip(self.together, holm(p), strict=True))

    def claim(self) -> Claim:
        significant = [pair for pair, p in self.adjusted.items() if p < 0.05]
        losses = [f"{pair[1]} with {pair[0]}" for pair in significant if self.gain(pair).mean() < 0]
        counts = f"{len(losses)} of {len(self.together)} lose significantly"
        statement = f"`{self.encoder}`: no target loses by being trained with one other"
        return Claim(statement, (counts, *losses), not losses)

    def json(self) -> dict[str, Any]:
        adjusted, head = self.adjusted, ("with", "of", "accuracy", "gain", "adjusted")
        pairs = [
            (*pair, values, seed_mean(self.gain(pair)), adjusted[pair])
            for pair, values in self.together.items()
        ]
        together = [dict(zip(head, pair, strict=True)) for pair in pairs]
        return {"encoder": self.encoder, "alone": self.alone, "together": together}


@dataclass(frozen=True, slots=True, eq=False)
class SharingFindings:
    """All that was measured on a data set of so many test rows, every score seed by seed."""

    dataset: str
    rows: int
    pair: PairGains
    curves: Sequence[CouplingCurve]
    sweeps: Sequence[LabelSweep]
    affinity: TargetAffinity

    def claims(self, margin: float) -> list[Claim]:
        """Judged by intervals and adjusted p-values at 5 %."""
        return [
            *self.pair.claims(margin),
            *(claim for curve in self.curves for claim in curve.claims()),
            *(sweep.claim() for sweep in self.sweeps),
            self.affinity.claim(),
        ]


def slope(x: Sequence[float], gains: Array) -> Interval:
    """Least-squares slope of gains (k, s) on x (k,), with Student's interval over the slopes of the s
    seeds; its value is that of all points together, since every seed has all x."""
    away = np.asarray(x, dtype=float) - np.mean(x)
    return student_interval([float(v) for v in away @ gains / (away @ away)])


def equivalence(values: Sequence[float], margin: float) -> float:
    """p-value of two one-sided t-tests that the mean lies beyond `margin` of 0, on either side
    (Schuirmann 1987, doi:10.1007/BF01068419): small where it is practically 0.

    Raises BenchError for fewer than two values.
    """
    if len(values) < 2:
        raise BenchError(f"a test of equivalence needs two or more values; there are {len(values)}")
    from scipy.special import stdtr

    off, freedom = margin - abs(float(np.mean(values))), len(values) - 1
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if error == 0:
        return 0.0 if off > 0 else 1.0
    return float(stdtr(freedom, -off / error))


def label_multiplier(
    sizes: Sequence[float], alone: Sequence[float], shared: Sequence[float], *, least: float = 1e-6
) -> Array:
    """kappa (n,) = n' / n, where the curve of `alone` reaches at n' labels the accuracy (0 to 1) of
    `shared` at n: sharing is worth kappa times the labels.

    Between `sizes`, which rise, the logarithm of n is interpolated over that of the error, monotone
    and smooth (Fritsch and Carlson 1980, doi:10.1137/0717021), exact for a power law. Points that do not
    rise above all smaller sizes count as noise and are left out. Infinite where the curve never gets
    there, 0 where it is above from the start. Errors below `least` count as `least`. Raises BenchError
    for sizes that do not rise, or of another length.
    """
    from scipy.interpolate import PchipInterpolator

    if len(sizes) != len(alone) or len(sizes) != len(shared) or list(sizes) != sorted(set(sizes)):
        raise BenchError("a label multiplier needs rising sizes, and both accuracies at each")
    logs = np.log(np.asarray(sizes, dtype=float))
    height = -np.log(np.maximum(1 - np.asarray(alone, dtype=float), least))
    level = -np.log(np.maximum(1 - np.asarray(shared, dtype=float), least))
    rising = np.append(True, height[1:] > np.maximum.accumulate(height)[:-1])
    x, y = height[rising], logs[rising]
    # A single point has no curve: everything else is beyond it.
    inside = level.clip(x[0], x[-1])
    at = PchipInterpolator(x, y)(inside) if len(x) > 1 else np.full(len(level), y[0])
    kappa: Array = np.exp(at - logs)
    kappa[level > x[-1]] = np.inf
    kappa[level < x[0]] = 0.0
    return kappa


def label_worth(
    sizes: Sequence[float], alone: Array, shared: Array, *, least: float = 1e-6
) -> tuple[Interval, ...]:
    """`label_multiplier` of mean accuracies over seeds, (n, s) each, at each size; intervals are of
    percentiles over 1,000 draws of seeds, the same for both arms (Efron 1979), and as kappa itself
    infinite or 0 beyond the curve."""
    rng, count = generator(0, "label_worth"), alone.shape[1]

    def kappa(seeds: Any) -> Array:
        means = (arm[:, seeds].mean(axis=1) for arm in (alone, shared))
        return label_multiplier(sizes, *means, least=least)

    value = kappa(slice(None))
    draws = np.stack([kappa(rng.integers(0, count, count)) for _ in range(RESAMPLES)])
    # A percentile that is a draw: between a number and infinity there is nothing.
    low, high = np.percentile(draws, [2.5, 97.5], axis=0, method="inverted_cdf")
    return tuple(
        Interval(float(v), float(min(lo, v)), float(max(hi, v)))
        for v, lo, hi in zip(value, low, high, strict=True)
    )
