"""A folder of images and the results of two encoders on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.cli.main import main

ENCODERS = ("pixels,size=4", "pixels,size=6")


def photographed(root: Path, classes: str, *, semantics: bool = False) -> Path:
    """Make the images `root/photos/CLASS/*.png`, 12 a class, and run the encoders on them; gives `root`,
    which then has `results`. semantics: with a table of the classes, of five or more."""
    rng = np.random.default_rng(0)
    for level, name in enumerate(classes):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = (rng.integers(0, 120, (8, 8)) + 60 * level % 130).astype(np.uint8)
            Image.fromarray(pixels).save(root / "photos" / name / f"{number:03}.png")
    words = [word for spec in ENCODERS for word in ("--encoder", spec)]
    words += ["--cache", str(root / "cache"), "--results", str(root / "results")]
    if semantics:
        table = root / "photos.toml"
        rows = [f"{name} = [{i % 2}, {i // 2 % 2}, {i}]" for i, name in enumerate(classes)]
        table.write_text('attributes = ["x", "y", "z"]\n[classes]\n' + "\n".join(rows) + "\n")
        words += ["--semantics", str(table)]
    assert main(["run", "--images", str(root / "photos"), *words]) == 0
    return root
