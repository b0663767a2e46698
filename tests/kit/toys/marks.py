"""Tiny grey images of one bright pixel: three targets that are classes, row and column bound to side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench import Meta, SplitDataSet, Target

REVISION = 1


def build(*, root: Path) -> SplitDataSet:
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for split, count in (("train", 90), ("val", 40), ("test", 60)):
        place = rng.permutation(count) % 9
        row, column = np.divmod(place, 3)
        pixels = rng.integers(0, 120, (count, 1, 6, 6))
        pixels[np.arange(count), 0, 2 * row, 2 * column] += 90
        images[split] = pixels.astype(np.uint8)
        labels[split] = {"row": row, "column": column, "side": (column > row).astype(np.int64)}
    return SplitDataSet.of(
        "marks",
        meta=Meta(
            {
                "row": Target("classes", 3, ("top", "middle", "bottom")),
                "column": Target("classes", 3, ("left", "middle", "right")),
                "side": Target("classes", 2, ("below", "above")),
            }
        ),
        licence="CC0-1.0",
        flips=False,
        images=images,
        labels=labels,
    )
