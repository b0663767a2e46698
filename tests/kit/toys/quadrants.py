"""Tiny grey images of four classes, one bright quadrant each; targets of every kind, some missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench import Meta, SplitDataSet, Target

REVISION = 1


def build(*, root: Path, partial: bool = False) -> SplitDataSet:
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for split, count in (("train", 160), ("val", 60), ("test", 80)):
        label = np.arange(count, dtype=np.int64) % 4
        size = rng.random((count, 1), dtype=np.float32)
        pixels = rng.integers(0, 90, (count, 1, 6, 6))
        for i, c in enumerate(label):
            row, column = 3 * (c // 2), 3 * (c % 2)
            pixels[i, 0, row : row + 3, column : column + 3] += int(80 + 80 * size[i, 0])
        tag = np.stack([label // 2, label % 2], axis=1)
        if partial and split == "train":
            tag[::3] = -1
            size[::7] = np.nan
            label = np.where(np.arange(count) % 5 == 0, -1, label)
        images[split] = pixels.clip(0, 255).astype(np.uint8)
        labels[split] = {"label": label, "tag": tag, "size": size}
    semantics = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    targets = {
        "label": Target("classes", 4, ("nw", "ne", "sw", "se"), semantics=semantics),
        "tag": Target("binary", 2, ("south", "east")),
        "size": Target("number", 1, ("brightness",)),
    }
    return SplitDataSet.of(
        "quadrants",
        meta=Meta(targets),
        licence="CC0-1.0",
        flips=False,
        images=images,
        labels=labels,
    )
