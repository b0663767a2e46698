"""The speed of this machine, and the times that a reference machine took.

`reference_speeds.json` holds medians over records, by spec or name of the component, or, in brackets, over
all of one kind of training: `fit` seconds an image seen, `extract` seconds an image, `task` seconds a
replicate and dimension, `protocol` seconds a training row and dimension, `dim` the dimension of features.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

LIMIT = 1.0  # seconds that a calibration takes


@cache
def reference_speeds() -> Mapping[str, Mapping[str, float]]:
    """By part and name, and the reference machine's own `calibration`."""
    path = Path(__file__).with_name("reference_speeds.json")
    speeds: Mapping[str, Mapping[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return speeds


def calibration_seconds() -> float:
    """Seconds of a fixed piece of work: the geometric mean of a matrix product (512 x 512, float32) and
    of exponentials (a million, float32), each the fastest of all that half of LIMIT allows."""
    square = np.full((512, 512), 0.5, np.float32)
    row = np.linspace(0, 1, 1_000_000, dtype=np.float32)
    works: tuple[Callable[[], object], ...] = (lambda: square @ square, lambda: np.exp(row))
    return float(np.sqrt(np.prod([_fastest(work, LIMIT / len(works)) for work in works])))


def _fastest(work: Callable[[], object], limit: float) -> float:
    end, best = time.perf_counter() + limit, float("inf")
    while True:
        start = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - start)
        if now + best > end:
            return best
