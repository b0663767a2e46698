"""What the study of sharing reports: its tables and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from bench.data.samples import Array
from bench.drawing.charts import heat, lines
from bench.report.text import interval_text, table
from bench.statistics.intervals import Interval
from bench.studies.base import Report
from bench.studies.sharing._findings import (
    CouplingCurve,
    LabelSweep,
    PairGains,
    SharingFindings,
    TargetAffinity,
    seed_mean,
)

GAIN = "gain, points"


def report(findings: SharingFindings, *, parameters: Mapping[str, Any]) -> Report:
    """The study's answer; `parameters`: `seeds`, `epochs`, and the `margin` of log error ratio that counts
    as no gain."""
    pair, curves, sweeps = findings.pair, findings.curves, findings.sweeps
    (few, many), first, targets = pair.labels, sweeps[0].first, ", ".join(curves[0].targets)
    parts = [
        f"{parameters['seeds']} seeds a line, equal ones on both sides of each difference, with Student's "
        "95 % interval over them. Settings are chosen on validation; scores are of test images. A log "
        "error ratio is the logarithm of the error alone over the error shared: above 0 sharing gains. "
        "Except where stated, one tower for several targets has as many parameters as separate ones.",
        "## A pair of known correlation",
        f"Two regressions of known correlation (Ma et al. 2018), {few:,} labels of the first and "
        f"{many:,} of the second, on separate rows, {len(pair.alone)} draws; R2 of the "
        "first, which is the same at every correlation. The last line is the first alone with all "
        "labels: the upper bound, which sharing with an equal task could reach.",
        _pair_table(pair),
        f"Slope of the log error ratio on the correlation: {interval_text(pair.slope, '+')}.",
        f"## By coupling, on {findings.dataset}",
        f"Towers of {targets}, coupled by a penalty on their squared distance, from separate towers (0) "
        f"to one as wide as each of them (inf), {parameters['epochs']} epochs at the best setting of "
        "separate towers; mean over targets, in points of accuracy against coupling 0.",
        "![by coupling](sharing.svg)",
        _curve_table(curves),
        f"## By labels of {first}",
        f"Few labels of {first}, drawn anew for each seed, and all labels of the others; in points of "
        f"accuracy against {first} alone, each arm at its best setting for that number of labels. "
        "Shuffled: the labels of the others are shuffled, and a gain there is not transfer. Worth: the "
        f"number of labels with which {first} alone is as accurate, over the number used, with its "
        "95 % interval over draws of seeds.",
        "![by labels](labels.svg)",
        _sweep_table(sweeps),
        "## Pairs of targets",
        f"`{findings.affinity.encoder}`: points of accuracy that a target gains by being trained with one "
        "other, at the best setting of separate towers. p is adjusted by Holm over the "
        f"{len(findings.affinity.together)} differences.",
        "![pairs of targets](affinity.svg)",
        _affinity_table(findings.affinity),
    ]
    return Report.of(
        "What sharing between tasks is worth",
        parts,
        {**parameters, **{f.name: getattr(findings, f.name) for f in fields(findings)}},
        claims=findings.claims(parameters["margin"]),
        figures={
            "sharing.svg": _curve_figure(curves),
            "labels.svg": _sweep_figure(sweeps),
            "affinity.svg": _affinity_figure(findings.affinity),
        },
    )


def _text(values: Array, sign: str = "") -> str:
    return interval_text(seed_mean(values), sign)


def _pair_table(pair: PairGains) -> str:
    rows = [
        [f"{p:g}", _text(shared), _text(gains, "+")]
        for p, shared, gains in zip(pair.correlations, pair.shared, pair.gains, strict=True)
    ]
    ratio = np.log((1 - pair.alone) / (1 - pair.full))
    alone = ["alone", _text(pair.alone), ""]
    full = ["all labels", _text(pair.full), _text(ratio, "+")]
    return table(["correlation", "R2", "log error ratio"], [alone, *rows, full])


def _curve_table(curves: Sequence[CouplingCurve]) -> str:
    rows = []
    for curve in curves:
        cells = [_text(gains, "+") for gains in curve.gains[1:]]
        accuracy = _text(100 * curve.test[0].mean(axis=0))
        rows.append([curve.encoder, accuracy, *cells, curve.names[curve.best]])
    return table(["encoder", "accuracy at 0", *curves[0].names[1:], "best on validation"], rows)


def _sweep_table(sweeps: Sequence[LabelSweep]) -> str:
    rows = [
        [
            s.encoder,
            f"{n:g}",
            _text(100 * alone),
            _text(100 * (shared - alone), "+"),
            _text(100 * (shuffled - alone), "+"),
            _worth(kappa, n, s.labels),
        ]
        for s in sweeps
        for n, alone, shared, shuffled, kappa in zip(
            s.labels, s.alone, s.shared, s.shuffled, s.kappa, strict=True
        )
    ]
    return table(["encoder", "labels a class", "alone", "shared", "shuffled", "worth"], rows)


def _worth(kappa: Interval, n: float, labels: Sequence[float]) -> str:
    """Beyond the curve of one task there is only a bound."""

    def text(value: float) -> str:
        if math.isinf(value):
            return f"over {labels[-1] / n:.2f}"
        return f"{value:.2f}" if value else f"under {labels[0] / n:.2f}"

    return f"{text(kappa.value)} [{text(kappa.low)}, {text(kappa.high)}]"


def _affinity_table(affinity: TargetAffinity) -> str:
    adjusted, targets = affinity.adjusted, list(affinity.alone)
    gains = {pair: _text(affinity.gain(pair), "+") for pair in adjusted}
    cells = {pair: f"{gains[pair]}, p = {p:.2g}" for pair, p in adjusted.items()}
    rows = [[f"with {a}", *(cells.get((a, b), "") for b in targets)] for a in targets]
    alone = [_text(100 * values) for values in affinity.alone.values()]
    return table(["", *targets], [["accuracy alone", *alone], *rows])


def _curve_figure(curves: Sequence[CouplingCurve]) -> bytes:
    points = [
        {
            "encoder": curve.encoder,
            "coupling": name,
            "side": f"mean over {len(curve.targets)} targets",
            **_drawn(gains),
        }
        for curve in curves
        for name, gains in zip(curve.names, curve.gains, strict=True)
    ]
    return lines(points, x="coupling", y=GAIN, ends=("low", "high"), line="encoder", side="side")


def _sweep_figure(sweeps: Sequence[LabelSweep]) -> bytes:
    x, line = f"labels a class of {sweeps[0].first}", "labels of the others"
    points = [
        {line: kind, x: f"{n:g}", "encoder": s.encoder, **_drawn(gains)}
        for s in sweeps
        for kind, arm in (("true", s.shared), ("shuffled", s.shuffled))
        for n, gains in zip(s.labels, 100 * (arm - s.alone), strict=True)
    ]
    return lines(points, x=x, y=GAIN, ends=("low", "high"), line=line, side="encoder")


def _drawn(gains: Array) -> dict[str, float]:
    interval = seed_mean(gains)
    return {GAIN: interval.value, **asdict(interval)}


def _affinity_figure(affinity: TargetAffinity) -> bytes:
    cells = []
    for partner in affinity.alone:
        for target, alone in affinity.alone.items():
            value, label = 0.0, f"{100 * alone.mean():.2f}\nalone"
            if target != partner:
                gain = seed_mean(affinity.gain((partner, target)))
                value = gain.value
                label = f"{value:+.2f}\n{gain.low:+.2f} to {gain.high:+.2f}"
            names = {"trained with": partner, "gain of": target, "side": affinity.encoder}
            cells.append({**names, GAIN: value, "label": label})
    return heat(cells, x="gain of", y="trained with", side="side", colour=GAIN, label="label")
