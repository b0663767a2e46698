"""Data sets of features: one encoder passes them on, the others are declined, the check kit reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import testing
from bench.data import semantics
from bench.data.samples import Samples
from bench.datasets import xlsa
from bench.datasets.base import DataSets, SplitDataSet
from bench.encoders.pretrained import given_features
from bench.errors import Declined
from bench.naming.specs import resolve
from bench.results.record import Record
from bench.running.features import encode_features, images_of, source_info
from bench.running.inputs import Inputs, fitted_encoder
from bench.running.rules import check_allowed, trained_per_split
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.tasks.cell import Cell
from bench.tasks.grants import grant, task_targets
from bench.tasks.task import Primary, Replicates, Task
from bench.testing.datasets import dataset_checks
from tests.datasets.test_xlsa import files, plant
from tests.kit import TOYS

QUADRANTS = str(TOYS / "quadrants.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    plant(tmp_path, files())
    return tmp_path


def task(root: Path, **changes: Any) -> Task:
    """The proposed split of the planted files, as a study would derive it."""
    table = xlsa.semantics(root)
    semantics.write_semantics(table, root / "awa2.toml")
    unseen = tuple(table.classes.index(name) for name in table.splits["proposed"])
    plain = Task(
        name="features",
        family="probe",
        dataset="xlsa",
        targets=("class",),
        protocol="knn,k=1",
        chance=0.2,
        primary=Primary(target="class"),
    )
    return plain.derive(
        **{
            "family": "zeroshot",
            "protocol": "prototypes",
            "semantics": str(root / "awa2.toml"),
            "replicates": Replicates(seeds=1, splits=(unseen,)),
            "primary": Primary(metric="ausuc", target="class", interval="classes"),
            "chance": 0.0,
            **changes,
        }
    )


def run(root: Path, question: Task, encoder: str) -> Record:
    return run_cell(Cell(question, resolve("encoders", encoder)), Workspace(DataSets(root)))[0]


@pytest.mark.parametrize("protocol", ["prototypes", "dap", "conse", "nearest_seen"])
def test_given_features_on_a_zero_shot_task_are_a_record(root: Path, protocol: str) -> None:
    record = run(root, task(root, protocol=protocol), "given_features")
    assert record.status == "ok", record.reason
    assert record.primary is not None and 0 <= record.primary.value <= 1
    assert record.supervision == "labels elsewhere"
    assert record.encoder.pretrained_on == ("imagenet-1k",)
    assert (record.encoder.read_out, record.encoder.dim) == ("given", 6)
    assert len(record.replicates) == 1 and not record.encoder.seeded


def test_the_protocol_gets_the_features_of_the_files(root: Path) -> None:
    workspace = Workspace(DataSets(root))
    question = task(root)
    cell = Cell(question, resolve("encoders", "given_features"))
    data = workspace.dataset("xlsa")
    check_allowed(cell, source_info(data))
    train, val = data.split("train"), data.split("val")
    [at] = question.coords(seeds=1, seeded=(False, False), per_split=trained_per_split(cell))
    granted = grant(question, task_targets(question, data.meta), train, val, at)
    inputs = Inputs(cell, workspace, fitted_encoder(cell, workspace, granted, seed=0))
    samples, _ = inputs.samples(granted)
    np.testing.assert_array_equal(samples.x, np.asarray(train.x)[granted.train])
    np.testing.assert_array_equal(inputs.x("test", None), data.split("test").x)


@pytest.mark.parametrize(
    ("changes", "encoder", "why"),
    [
        ({}, "pixels", "xlsa holds features, not images: use given_features"),
        ({}, "autoencoder~1k", "xlsa holds features, not images: use given_features"),
        ({"protocol": "knn"}, "pca@digits", "xlsa holds features, not images: use given_features"),
        ({"dataset": "digits"}, "given_features", "digits holds images, not features"),
        ({"dataset": "digits"}, "pca@xlsa", "xlsa holds features, not images"),
        ({"input": "images", "protocol": "finetune"}, "given_features", "cannot be fine-tuned"),
        (
            {"family": "shift", "replicates": Replicates(shifts=("noise",), strengths=(0.5,))},
            "given_features",
            "xlsa holds features: only images can be shifted",
        ),
    ],
)
def test_what_cannot_be_is_declined_in_one_line(
    root: Path, changes: dict[str, Any], encoder: str, why: str
) -> None:
    plain: dict[str, Any] = {
        "family": "probe", "protocol": "knn,k=1", "semantics": None, "replicates": Replicates(seeds=1),
        "targets": () if changes.get("dataset") == "digits" else ("class",), "primary": Primary(),
    }  # fmt: skip
    record = run(root, task(root, **{**plain, **changes}), encoder)
    assert record.status == "declined", record.reason
    assert why in str(record.reason) and "\n" not in str(record.reason)


def test_an_object_is_declined_too(root: Path) -> None:
    toy = testing.tiny_encoder(resolve("encoders", "pixels"))
    record, _ = run_cell(Cell(task(root), toy), Workspace(DataSets(root)))
    assert record.status == "declined" and "use given_features" in str(record.reason)


def test_what_is_known_of_the_features_is_reported(root: Path) -> None:
    data = DataSets(root)("xlsa")
    info = source_info(data)
    assert (info.channels, info.height, info.width, info.features) == (1, 1, 6, True)
    encoder = given_features.build(source=info)
    assert encoder.dims == {"given": 6} and encoder.pretrained_on == ("imagenet-1k",)
    x = data.split("val").x
    assert isinstance(x, np.ndarray)
    np.testing.assert_array_equal(
        encode_features(encoder, x, name="val features").levels["given"], x
    )
    with pytest.raises(Declined, match="features, not images"):
        images_of(data.split("val"))
    images = source_info(DataSets(root)(QUADRANTS))
    assert not images.features and images.pretrained_on == ()


def test_the_check_kit_reads_data_sets_of_features(root: Path) -> None:
    data = DataSets(root)("xlsa")
    assert all(not check["finding"] for check in testing.run_checks(dataset_checks(), data))


def changed(data: SplitDataSet, split: Any, x: Any) -> SplitDataSet:
    old = data.splits[split]
    return replace(data, splits={**data.splits, split: Samples(x, old.y, old.rows)})


@pytest.mark.parametrize(
    ("check", "word", "change"),
    [
        ("splits", "features for 4 rows", lambda d, x: changed(d, "val", x[1:])),
        ("images", "NaN", lambda d, x: changed(d, "val", np.where(x > 1, np.nan, x))),
        ("images", "one d for all", lambda d, x: changed(d, "val", x[:, 1:])),
        ("images", "float64", lambda d, x: changed(d, "val", x.astype(np.float64))),
        ("images", "pretrained_on", lambda d, x: replace(d, pretrained_on="imagenet-1k")),
        ("disjoint", "2 validation images", None),
        ("disjoint", "counted 0", lambda d, x: replace(d, test_in_train=1)),
    ],
)
def test_a_fault_of_features_is_caught_by_its_own_check(
    root: Path, check: str, word: str, change: Any
) -> None:
    data: Any = DataSets(root)("xlsa")
    x = data.splits["val"].x
    if change is None:
        both = np.concatenate([data.splits["train"].x[:2], x[2:]])
        data = changed(data, "val", both)
    else:
        data = change(data, x)
    findings = [
        report_of_check
        for report_of_check in testing.run_checks(dataset_checks(), data)
        if report_of_check["finding"]
    ]
    assert findings[0]["check"] == f"dataset_{check}", findings
    assert word in findings[0]["finding"]
