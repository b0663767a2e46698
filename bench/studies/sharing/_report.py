"""What the study of sharing says: its tables, its claims, its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.report.text import interval_text, table
from bench.solvers.towers import Run
from bench.statistics.intervals import Interval, difference_p, student_interval
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, judged

__all__ = ["Affinity", "Curve", "Found", "Pair", "Sweep", "report"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pair:
    """R2 of the first of two regressions with `labels` each: alone and with `full`, all labels (s,),
    shared by correlation (p, s); slope of `gains` on it, and the p-value that there is none at 0."""

    correlations: Sequence[float]
    labels: tuple[int, int]
    alone: Array
    shared: Array
    full: Array
    slope: Interval
    equivalence: float
    settings: Mapping[str, Run]

    @property
    def gains(self) -> Array:
        """Logarithm of the error alone over the error shared: (p, s)."""
        found: Array = np.log((1 - self.alone) / (1 - self.shared))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Accuracies of an encoder by coupling, target and seed on validation and on test: (c, t, s)."""

    encoder: str
    targets: tuple[str, ...]
    couplings: Sequence[float]
    val: Array
    test: Array
    setting: Run

    @property
    def names(self) -> list[str]:
        return ["inf" if math.isinf(c) else f"{c:g}" for c in self.couplings]

    @property
    def gains(self) -> Array:
        """Mean points over targets against coupling 0, on test: (c, s)."""
        found: Array = 100 * (self.test - self.test[0]).mean(axis=1)
        return found

    @property
    def best(self) -> int:
        """Which coupling is best on validation, of equal ones the smallest."""
        return int(self.val.mean(axis=(1, 2)).argmax())


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Accuracies of the `first` target by its labels a class and by seed, (n, s): alone, with the other
    targets, and with shuffled labels of theirs; kappa: what sharing is worth, in labels."""

    encoder: str
    first: str
    labels: Sequence[float]
    alone: Array
    shared: Array
    shuffled: Array
    kappa: Sequence[Interval]
    settings: Mapping[str, Run]


@dataclass(frozen=True, slots=True, eq=False)
class Affinity:
    """Accuracies (s,) of targets alone, and of the second of two trained together."""

    encoder: str
    alone: Mapping[str, Array]
    together: Mapping[tuple[str, str], Array]

    def gains(self, pair: tuple[str, str]) -> Array:
        found: Array = 100 * (self.together[pair] - self.alone[pair[1]])
        return found

    @property
    def adjusted(self) -> dict[tuple[str, str], float]:
        """p-values of paired t-tests of all gains, with Holm's adjustment."""
        gains = [self.gains(pair) for pair in self.together]
        p = [difference_p(float(g.mean()), [(g.var(ddof=1) / len(g), len(g) - 1)]) for g in gains]
        return dict(zip(self.together, holm(p), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """All that was measured on a data set of so many test rows."""

    dataset: str
    rows: int
    pair: Pair
    curves: Sequence[Curve]
    sweeps: Sequence[Sweep]
    affinity: Affinity


def report(
    found: Found, claims: Sequence[Claim], figures: Mapping[str, bytes], *, asked: Mapping[str, Any]
) -> Report:
    """The study's answer; asked: `seeds`, `epochs`, and the `margin` of log error ratio that counts as
    no gain."""
    few, many = found.pair.labels
    first, targets = found.sweeps[0].first, ", ".join(found.curves[0].targets)
    shown, told = judged(claims)
    parts = [
        "# What sharing between tasks is worth",
        f"{asked['seeds']} seeds a line, equal ones on both sides of each difference, with Student's 95 % "
        "interval over them. Settings are chosen on validation; scores are of test images. A log error "
        "ratio is the logarithm of the error alone over the error shared: above 0 sharing gains. Unless "
        "said, one tower for several targets has as many parameters as towers of their own.",
        "## Where the answer is known",
        f"Two regressions of known correlation (Ma et al. 2018), {few:,} labels of the first and "
        f"{many:,} of the second, each on rows of its own, {len(found.pair.alone)} draws; R2 of the "
        "first, which is the same at every correlation. The last line is the first alone with all "
        "labels: what an equal task could give.",
        _pair_table(found.pair),
        f"Slope of the log error ratio on the correlation: {interval_text(found.pair.slope, '+')}.",
        f"## By coupling, on {found.dataset}",
        f"Towers of {targets}, held together by their squared distance, from their own (0) to one no "
        f"wider than each (inf), {asked['epochs']} epochs at the setting that suits those of their own; "
        "mean over targets, in points of accuracy against coupling 0.",
        "![by coupling](sharing.svg)",
        _curve_table(found.curves),
        f"## By labels of {first}",
        f"Few labels of {first}, drawn anew for each seed, and all of the others; in points of accuracy "
        f"against {first} alone, each arm at the setting that suits it at these labels. Shuffled: the "
        "others' labels tell nothing, and what is gained there too is no transfer. Worth: the number "
        f"of labels at which {first} alone is as good, over the number that there are, with its 95 % "
        "interval over draws of seeds.",
        "![by labels](labels.svg)",
        _sweep_table(found.sweeps),
        "## Pair by pair",
        f"`{found.affinity.encoder}`: points of accuracy that a target gains by being trained with one "
        "other, at the setting that suits towers of their own. p is adjusted by Holm over the "
        f"{len(found.affinity.together)} differences.",
        "![pair by pair](affinity.svg)",
        _affinity_table(found.affinity),
        "## What is said of them",
        shown,
    ]
    data = {"dataset": found.dataset, "rows": found.rows, **asked, **_json(found), "claims": told}
    return Report("\n\n".join(parts), data, figures)


def _mean(values: Array) -> Interval:
    return student_interval([float(v) for v in values])


def _pair_table(pair: Pair) -> str:
    rows = [
        [f"{p:g}", interval_text(_mean(shared)), interval_text(_mean(gains), "+")]
        for p, shared, gains in zip(pair.correlations, pair.shared, pair.gains, strict=True)
    ]
    full = np.log((1 - pair.alone) / (1 - pair.full))
    return table(
        ["correlation", "R2", "log error ratio"],
        [
            ["alone", interval_text(_mean(pair.alone)), ""],
            *rows,
            ["all labels", interval_text(_mean(pair.full)), interval_text(_mean(full), "+")],
        ],
    )


def _curve_table(curves: Sequence[Curve]) -> str:
    rows = []
    for curve in curves:
        cells = [interval_text(_mean(gains), "+") for gains in curve.gains[1:]]
        accuracy = interval_text(_mean(100 * curve.test[0].mean(axis=0)))
        rows.append([curve.encoder, accuracy, *cells, curve.names[curve.best]])
    head = ["encoder", "accuracy at 0", *curves[0].names[1:], "best on validation"]
    return table(head, rows)


def _sweep_table(sweeps: Sequence[Sweep]) -> str:
    rows = []
    for s in sweeps:
        for n, alone, shared, shuffled, kappa in zip(
            s.labels, s.alone, s.shared, s.shuffled, s.kappa, strict=True
        ):
            rows.append(
                [
                    s.encoder,
                    f"{n:g}",
                    interval_text(_mean(100 * alone)),
                    interval_text(_mean(100 * (shared - alone)), "+"),
                    interval_text(_mean(100 * (shuffled - alone)), "+"),
                    _worth(kappa, n, s.labels),
                ]
            )
    return table(["encoder", "labels a class", "alone", "shared", "shuffled", "worth"], rows)


def _worth(kappa: Interval, n: float, labels: Sequence[float]) -> str:
    """Beyond the curve of one task only a bound is known."""

    def text(value: float) -> str:
        if math.isinf(value):
            return f"over {labels[-1] / n:.2f}"
        return f"{value:.2f}" if value else f"under {labels[0] / n:.2f}"

    return f"{text(kappa.value)} [{text(kappa.low)}, {text(kappa.high)}]"


def _affinity_table(affinity: Affinity) -> str:
    adjusted, rows = affinity.adjusted, []
    for one in affinity.alone:
        cells = [
            ""
            if other == one
            else f"{interval_text(_mean(affinity.gains((one, other))), '+')}, "
            f"p = {adjusted[one, other]:.2g}"
            for other in affinity.alone
        ]
        rows.append([f"with {one}", *cells])
    alone = [interval_text(_mean(100 * values)) for values in affinity.alone.values()]
    return table(["", *affinity.alone], [["accuracy alone", *alone], *rows])


def _json(found: Found) -> dict[str, Any]:
    """Every score, seed by seed, and what was made of them."""
    pair, affinity = found.pair, found.affinity
    return {
        "pair": {
            "correlations": [*pair.correlations],
            "labels": [*pair.labels],
            **{name: getattr(pair, name).tolist() for name in ("alone", "shared", "full", "gains")},
            "slope": asdict(pair.slope),
            "equivalence": pair.equivalence,
            "settings": _settings(pair.settings),
        },
        "curves": [
            {
                "encoder": c.encoder,
                "targets": [*c.targets],
                "couplings": c.names,
                **{name: getattr(c, name).tolist() for name in ("val", "test", "gains")},
                "best": c.names[c.best],
                "settings": _settings({"own": c.setting}),
            }
            for c in found.curves
        ],
        "sweeps": [
            {
                "encoder": s.encoder,
                "first": s.first,
                "labels": [*s.labels],
                **{name: getattr(s, name).tolist() for name in ("alone", "shared", "shuffled")},
                # null: more than the curve of one target tells; 0: less
                "kappa": [
                    {k: None if math.isinf(v) else v for k, v in asdict(each).items()}
                    for each in s.kappa
                ],
                "settings": _settings(s.settings),
            }
            for s in found.sweeps
        ],
        "affinity": {
            "encoder": affinity.encoder,
            "alone": {name: values.tolist() for name, values in affinity.alone.items()},
            "together": [
                {
                    "with": one,
                    "of": other,
                    "accuracy": values.tolist(),
                    "gain": asdict(_mean(affinity.gains((one, other)))),
                    "adjusted": affinity.adjusted[one, other],
                }
                for (one, other), values in affinity.together.items()
            ],
        },
    }


def _settings(some: Mapping[str, Run]) -> dict[str, Any]:
    return {n: {"rate": r.rate, "decay": r.decay, "dropout": r.dropout} for n, r in some.items()}
