"""What the study of sharing measures, with the claims about it and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from bench.solvers.towers import Run
from bench.statistics.intervals import Interval, difference_p, student_interval
from bench.statistics.significance import holm
from bench.studies.base import Array, Claim
from bench.studies.parts.differences import interval_claim, interval_text


def seed_mean(values: Array) -> Interval:
    """Mean of values (s,) over seeds, with Student's 95 % interval."""
    return student_interval([float(v) for v in values])


def settings_of(runs: Mapping[str, Run]) -> dict[str, dict[str, float]]:
    return {n: {"rate": r.rate, "decay": r.decay, "dropout": r.dropout} for n, r in runs.items()}


def _fields(finding: Any) -> dict[str, Any]:
    return {f.name: getattr(finding, f.name) for f in fields(finding)}


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
                (
                    interval_text(at_zero, "+"),
                    f"two one-sided tests: p = {self.equivalence:.2g}",
                ),
                self.equivalence < 0.05,
            ),
        ]

    def json(self) -> dict[str, Any]:
        return {**_fields(self), "gains": self.gains}


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
                f"`{self.encoder}`: the coupling that is best on validation gains over none",
                {f"{self.names[self.best]}:": seed_mean(self.gains[self.best])},
            ),
            interval_claim(
                f"`{self.encoder}`: one tower for all tasks is worse than one each",
                {"": seed_mean(self.gains[-1])},
                sign=-1,
            ),
        ]

    def json(self) -> dict[str, Any]:
        best = self.names[self.best]
        return {**_fields(self), "couplings": self.names, "gains": self.gains, "best": best}


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
            f"`{self.encoder}`: where labels of {self.first} are few, true labels of the others help it "
            "more than shuffled ones"
        )
        return interval_claim(statement, {f"{n:g} a class:": seed_mean(100 * g) for n, g in gaps})

    def json(self) -> dict[str, Any]:
        # null: more than the curve of one target reaches; 0: less
        kappa = [
            {key: None if math.isinf(v) else v for key, v in asdict(interval).items()}
            for interval in self.kappa
        ]
        return {**_fields(self), "kappa": kappa}


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
        return {
            "encoder": self.encoder,
            "alone": self.alone,
            "together": [
                {
                    "with": partner,
                    "of": target,
                    "accuracy": values,
                    "gain": seed_mean(self.gain((partner, target))),
                    "adjusted": self.adjusted[partner, target],
                }
                for (partner, target), values in self.together.items()
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class SharingFindings:
    """All that was measured on a data set of so many test rows."""

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

    def json(self) -> dict[str, Any]:
        """Every score, seed by seed, and what follows from them."""
        return {
            "dataset": self.dataset,
            "rows": self.rows,
            "pair": self.pair.json(),
            "curves": [curve.json() for curve in self.curves],
            "sweeps": [sweep.json() for sweep in self.sweeps],
            "affinity": self.affinity.json(),
        }
