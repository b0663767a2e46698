"""The study of dimensions: on codes with known answers, and the whole on digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.running.cache import Cache
from bench.studies import dimension
from bench.studies.base import Report, Setting
from bench.studies.dimension import CodeScores, report


def known(method: str, dim: int, right: float, lost: float, rank: float) -> CodeScores:
    hits = (np.random.default_rng(0).random((1, 4000)) < right).astype(float)
    ones = np.ones(1)
    return CodeScores(method, dim, hits, lost * ones, lost * ones, rank * ones, rank * ones)


def test_enough_is_the_first_within_a_point_and_claims_are_judged_by_what_is_so() -> None:
    values = [
        known("pca", 2, 0.50, 0.5, 2),
        known("pca", 8, 0.70, 0.3, 7),
        known("pca", 32, 0.80, 0.1, 20),
        known("autoencoder", 2, 0.60, 0.4, 2),
        known("autoencoder", 8, 0.80, 0.2, 8),
        known("autoencoder", 32, 0.80, 0.15, 9),
        known("vae", 2, 0.6, 0.4, 2),
        known("vae", 8, 0.9, 0.45, 8),
        known("vae", 32, 0.85, 0.45, 5),
    ]
    data = report(values, {"dataset": "x", "budget": "1k", "seeds": 1, "dims": [2, 8, 32]}).data
    assert data["enough"] == {"pca": 32, "autoencoder": 8, "vae": 8}
    held = [claim["holds"] for claim in data["claims"]]
    assert held[:3] == [True, False, False], "accuracy at every step"
    assert held[3:6] == [True, True, False], "reconstruction at every step"
    assert held[6:] == [False, True], "pca rebuilds better at 32; the vae varies less"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("dimension")
    setting = Setting(DataSets(Path("nowhere")), folder, cache=Cache(folder / "cache"))
    with pytest.MonkeyPatch.context() as patch:
        small = {"pca": "pca,dim={d}", "vae": "vae,code={d},width=8,level=code~{budget}"}
        patch.setattr(dimension, "METHODS", small)
        return dimension.run(setting=setting, dataset="digits", dims="16 4", budget="640")


def test_the_study_runs_on_digits(study: Report) -> None:
    rows = {(row["method"], row["dim"]): row for row in study.data["rows"]}
    assert set(rows) == {(m, d) for m in ("pca", "vae") for d in (4, 16)}
    assert rows["pca", 16]["accuracy"]["value"] > rows["pca", 4]["accuracy"]["value"]
    assert study.figures["dimension.svg"].startswith(b"<svg")
    json.dumps(study.data, allow_nan=False)


def test_what_pca_loses_is_what_scikit_learn_says(study: Report) -> None:
    """Of its own training images, all of them; the study looks at 1,000 of another sample."""
    rows = {row["dim"]: row for row in study.data["rows"] if row["method"] == "pca"}
    ratios = PCA(16).fit(load_digits().data).explained_variance_ratio_
    for d, row in rows.items():
        assert row["train"][0] == pytest.approx(1 - ratios[:d].sum(), abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dims": "2"}, "two or more"),
        ({"dims": "2 -8"}, "above 0"),
        ({"dims": "2 few"}, "above 0"),
        ({"seeds": 0}, "1 or more"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        dimension.run(setting=Setting(DataSets(Path("x")), Path("x")), **arguments)  # type: ignore[arg-type]
