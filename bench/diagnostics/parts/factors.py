"""The factors that a data set's images are made of, as numbers and as classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.samples import Target

__all__ = ["independent", "levels"]

Array = npt.NDArray[Any]
BINS = 10


def independent(factors: Mapping[str, Target]) -> dict[str, Target]:
    """Classes and numbers, but for classes that have signatures of their own: these are combinations of
    others."""
    return {
        name: target
        for name, target in factors.items()
        if target.kind in ("classes", "number") and target.semantics is None
    }


def levels(factors: Mapping[str, Target], labels: Mapping[str, Array]) -> dict[str, Array]:
    """Each factor's level (n,) as whole numbers from 0; every column of a number is a factor of its own,
    in ten bins of equal counts."""
    found: dict[str, Array] = {}
    for name, target in independent(factors).items():
        values = np.asarray(labels[name])
        if target.kind == "classes":
            found[name] = values
            continue
        for column, part in zip(target.names, values.reshape(len(values), -1).T, strict=True):
            edges = np.quantile(part, np.arange(1, BINS) / BINS)
            found[column] = np.searchsorted(edges, part, side="right")
    return found
