"""The range of a score whose predictions are stored rounded: of width 0 for classes and yes/no labels, by
1/16 nat for a log-probability, by the steps of fp16 for numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bench.data.samples import Array, Target, missing
from bench.results.predictions import decode
from bench.statistics.metrics import METRICS

ROUNDING = 1e-9  # of sums in another order


class Range(NamedTuple):
    """Least and largest value that a score can have had; of several scores (...)."""

    low: Any
    high: Any

    def holds(self, value: float) -> bool:
        return bool(self.low - ROUNDING <= value <= self.high + ROUNDING)


def row_ranges(target: Target, parts: Mapping[str, Array]) -> dict[str, Range]:
    """Metric -> its range, of one replicate's stored predictions of a target of which no class is unseen.
    parts: as `parts_of` gives them."""
    stored = decode(target.kind, parts, parts["truth"])
    stored["labelled"] = ~missing(target, stored["truth"])
    ranges: dict[str, Range] = {}
    for metric, definition in METRICS.items():
        formula = definition.formula(target.kind)
        if formula.rows is None or not set(formula.stored) <= set(parts):
            continue
        error = _ROUNDED[metric](stored) if metric in _ROUNDED else Range(0.0, 0.0)
        value = float(formula.rows(stored).mean())
        ranges[metric] = Range(value + error.low, value + error.high)
    if "top" in parts:
        ranges["ece"] = _ece_range(parts, stored)
    return ranges


def _nll_error(stored: Mapping[str, Array]) -> Range:
    """A stored log-probability is rounded to 1/16 nat; the lowest stands for all below."""
    lowest = (stored["true"] <= -255 / 16)[stored["labelled"]].mean()
    return Range(-1 / 32, 1 / 32 + 1e4 * float(lowest))


def _number_error(stored: Mapping[str, Array]) -> Range:
    """Truth and value in fp16: relative steps of 2**-11."""
    truth, value = np.nan_to_num(stored["truth"]), stored["value"]
    step = 2.0**-10 * (np.abs(truth) + np.abs(value)) + 2.0**-23
    width = float((2 * np.abs(truth - value) * step + step**2).mean() * 2)
    return Range(-width, width)


def _r2_error(stored: Mapping[str, Array]) -> Range:
    variance = np.nanvar(stored["truth"], axis=0)
    varies = variance > 0
    error = _number_error({name: stored[name][:, varies] for name in ("truth", "value")})
    width = error.high / float(variance[varies].min())
    return Range(-width, width)


_ROUNDED: Mapping[str, Callable[[Mapping[str, Array]], Range]] = {
    "nll": _nll_error,
    "mse": _number_error,
    "r2": _r2_error,
}


def _ece_range(parts: Mapping[str, Array], stored: Mapping[str, Array]) -> Range:
    """The confidence is stored in steps of 1/255: rows at the edge of one of the 15 bins may lie in the
    next one, where they move two gaps by at most 1 each."""
    labelled = stored["labelled"]
    top = parts["top"][labelled].astype(np.float64)
    right = (stored["class"] == stored["truth"])[labelled]
    low, high = ((top + half).clip(0, 255) / 255 * 15 for half in (-0.5, 0.5))
    first, last = np.minimum(low.astype(int), 14), np.minimum(high.astype(int), 14)
    gaps = np.bincount(first, weights=top / 255 - right, minlength=15)
    value = float(np.abs(gaps).sum() / len(top))
    width = 1 / 510 + 2 * float((first != last).mean())
    return Range(max(0.0, value - width), value + width)
