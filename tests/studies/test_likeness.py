"""The study of likeness: on members with known answers, and the whole on digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.running.cache import Cache
from bench.solvers.cka import pairwise_cka
from bench.studies import likeness
from bench.studies.base import Report, Setting
from bench.studies.likeness import LABELLED, UNLABELLED, Likeness, Member, order, report


def known(other_training: float) -> Report:
    """Six representations of 400 rows, each the first with noise of its own; the second training has
    `other_training` of it."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((400, 8))
    noise = {"a, seed 0": 0.0, "start": 2.0, "b": 0.7, "s": 4.0, "given": 4.2}
    features = [base + by * rng.standard_normal((400, 8)) for by in noise.values()]
    features[4] = features[3] + 0.5 * rng.standard_normal((400, 8))
    features.append(base + other_training * rng.standard_normal((400, 8)))
    kinds = [UNLABELLED, "not trained", UNLABELLED, LABELLED, "trained on pictures", UNLABELLED]
    members = [
        Member(name, kind, 8, kind in (UNLABELLED, LABELLED))
        for name, kind in zip([*noise, "a, seed 1"], kinds, strict=True)
    ]
    members_cka = Likeness(members, *pairwise_cka(features, 20))
    return report(
        members_cka, first=0, start=1, parameters={"dataset": "x", "images": 400, "seed": 0}
    )


def test_claims_are_judged_by_what_is_so() -> None:
    near, far = known(0.1).data["claims"], known(1.5).data["claims"]
    assert [claim["holds"] for claim in near] == [True, True, True, True]
    assert [claim["holds"] for claim in far] == [False, True, True, True]


def test_like_ones_stand_together() -> None:
    values = np.eye(5)
    for a, b, alike in ((0, 3, 0.9), (1, 4, 0.8), (2, 4, 0.3)):
        values[a, b] = values[b, a] = alike
    ordered = order(values)
    assert sorted(ordered) == list(range(5))
    place = {member: where for where, member in enumerate(ordered)}
    assert abs(place[0] - place[3]) == 1 and abs(place[1] - place[4]) == 1
    assert abs(place[2] - place[4]) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("likeness")


def test_the_study_runs_on_digits(folder: Path) -> None:
    setting = Setting(DataSets(Path("nowhere")), folder, cache=Cache(folder / "cache"))
    names = ("pixels", "pca,dim=8", "autoencoder,width=8~640", "supervised,width=8~640")
    report = likeness.run(
        setting=setting, dataset="digits", encoders=" ".join(names), twice=names[2], images=60
    )
    members = [m["name"] for m in report.data["members"]]
    assert members == [*names[:2], f"{names[2]}, seed 0", names[3], f"{names[2]}, seed 1"]
    assert len(report.data["pairs"]) == 10
    pair = next(p for p in report.data["pairs"] if {p["a"], p["b"]} == set(members[:2]))
    assert 0.7 < pair["value"] <= 1 and pair["low"] <= pair["value"] <= pair["high"]
    assert set(report.figures) == {"likeness.svg", "map.svg"}
    for figure in report.figures.values():
        assert b"pca,dim=8" in figure and figure.startswith(b"<svg")
    json.dumps(report.data, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"images": 39}, "40 to"),
        ({"images": 10_000}, "40 to"),
        ({"encoders": "pixels pca"}, "three or more"),
        ({"twice": "hog"}, "one of them twice"),
        ({"encoders": "pixels pca nothing"}, "no encoder"),
    ],
)
def test_wrong_arguments_are_refused(folder: Path, arguments: dict[str, object], said: str) -> None:
    setting = Setting(DataSets(Path("nowhere")), folder)
    options: dict[str, object] = {"encoders": "pixels pca gmm", "twice": "pca", "images": 60}
    with pytest.raises(BenchError, match=said):
        likeness.run(setting=setting, dataset="digits", **{**options, **arguments})  # type: ignore[arg-type]
