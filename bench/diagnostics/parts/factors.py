"""The generative factors of a data set's images, as targets and as discrete levels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.samples import Array, Target

BINS = 10


def independent(factors: Mapping[str, Target]) -> dict[str, Target]:
    """Targets of kind classes or number, without classes that have signatures: those are combinations of
    other factors."""
    return {
        name: target
        for name, target in factors.items()
        if target.kind in ("classes", "number") and target.semantics is None
    }


def levels(factors: Mapping[str, Target], labels: Mapping[str, Array]) -> dict[str, Array]:
    """Factor -> its level (n,), integers from 0; every column of a number is one factor, in ten bins of
    equal counts."""
    discrete: dict[str, Array] = {}
    for name, target in independent(factors).items():
        values = np.asarray(labels[name])
        if target.kind == "classes":
            discrete[name] = values
            continue
        for column, part in zip(target.names, values.reshape(len(values), -1).T, strict=True):
            edges = np.quantile(part, np.arange(1, BINS) / BINS)
            discrete[column] = np.searchsorted(edges, part, side="right")
    return discrete
