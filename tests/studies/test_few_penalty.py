"""The penalty of very few labels is the one that its study finds, on validation alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.protocols.parts.probe import FEW_LABELS_PENALTY, GRID
from bench.studies import few_penalty
from bench.studies.base import Setting
from tests.kit import ROOT


def setting(folder: Path) -> Setting:
    return Setting(DataSets(Path("nowhere")), folder)


def test_the_committed_study_found_the_penalty_that_is_used() -> None:
    stored = json.loads((ROOT / "results/studies/few_penalty/report.json").read_text())
    means = np.mean([curve["accuracies"] for curve in stored["curves"]], axis=0)
    assert stored["grid"] == pytest.approx(GRID)
    assert (
        stored["used"]
        == FEW_LABELS_PENALTY
        == stored["best"]
        == stored["grid"][int(means.argmax())]
    )


def test_it_runs_and_reads_no_test_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = setting(tmp_path)
    dataset: Any = place.datasets("digits")
    read: list[str] = []
    real = type(dataset).split

    def spy(self: Any, name: Any) -> Any:
        read.append(name)
        return real(self, name)

    monkeypatch.setattr(type(dataset), "split", spy)
    report = few_penalty.run(setting=place, datasets="digits", subsets=2)
    assert set(read) == {"train", "val"}
    assert [(e["control"], e["per_class"]) for e in report.data["curves"]] == [
        (control, size) for control in few_penalty.CONTROLS for size in few_penalty.SIZES
    ]
    accuracies = np.array([curve["accuracies"] for curve in report.data["curves"]])
    assert accuracies.shape == (6, 17) and (accuracies.max(axis=1) > 0.25).all()
    assert "Best on average" in report.text


def test_no_subset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="subsets=0"):
        few_penalty.run(setting=setting(tmp_path), subsets=0)
