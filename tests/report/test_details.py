"""Tables of details: each score has its interval, and what is none says so."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from tests.kit import ROOT

BOARD = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "results/boards").glob("*.md"))
)
INTERVAL = re.compile(r"(\d+\.\d+) \[(\d+\.\d+), (\d+\.\d+)\]")


def table(title: str) -> tuple[list[str], dict[str, list[str]]]:
    """Columns, and cells by encoder, of the first table below a line that starts so."""
    lines = iter(BOARD.split(f"\n{title}")[1].splitlines())
    lines = itertools.takewhile(
        lambda line: line.startswith("|"),
        itertools.dropwhile(lambda x: not x.startswith("|"), lines),
    )
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    return rows[0], {row[0]: row for row in rows[2:]}


@pytest.mark.parametrize(
    "title",
    ["### fashion_mnist-shift", "### fashion_mnist-few_labels", "### fashion_mnist-few_tuned"],
)
def test_scores_of_parts_of_a_task_have_intervals(title: str) -> None:
    head, rows = table(title)
    columns = [i for i, name in enumerate(head) if name != "encoder" and "labels per" not in name]
    assert len(rows) > 1 and len(columns) > 2
    for row in rows.values():
        for i in columns:
            assert INTERVAL.fullmatch(row[i]), (row[0], head[i], row[i])


def test_the_interval_of_one_training_is_that_of_its_test_images() -> None:
    head, rows = table("### fashion_mnist-shift")
    for name in ("pixels (control)", "hog (control)", "pca"):
        for column, cell in zip(head[1:], rows[name][1:], strict=True):
            match = INTERVAL.fullmatch(cell)
            assert match, (name, column, cell)
            value, low, high = (float(number) / 100 for number in match.groups())
            half = 1.96 * (value * (1 - value) / 10_000) ** 0.5
            assert (high - low) / 2 == pytest.approx(half, abs=0.0007)


def test_zero_shot_scores_have_intervals_and_shuffled_ones_say_what_they_have() -> None:
    head, rows = table("### fashion_mnist-zeroshot:")
    rows.pop("chance")
    for row in rows.values():
        for name in ("T1", "U", "S", "H", "AUSUC"):
            assert INTERVAL.fullmatch(row[head.index(name)]), (row[0], name)
    assert "± is the standard deviation over splits and shuffles, which is no interval" in BOARD
    assert " +- " not in BOARD


@pytest.mark.skipif(
    not (ROOT / "results" / "reptransfer").is_dir(), reason="a source distribution has no records"
)
def test_readme_counts_the_records_without_predictions_of_every_row() -> None:
    results, counts, scored = Path(__file__).parents[2] / "results", 0, 0
    for path in results.glob("*/*/*.json"):
        if path.with_suffix(".npz").is_file() and path.parts[-3] != "studies":
            with np.load(path.with_suffix(".npz")) as arrays:
                scored += 1
                counts += any(name.endswith("/counts") for name in arrays.files)
    readme = (results.parent / "README.md").read_text(encoding="utf-8")
    assert f"{counts} of the {scored} committed" in " ".join(readme.split())
