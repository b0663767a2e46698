"""The test firewall: test labels reach the scorer alone, test images are read once a replicate, and
nothing that a protocol or an encoder is given leads to either."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.samples import Samples
from bench.naming.specs import resolve
from bench.results.record import Record
from bench.results.store import Store
from bench.running import runner
from bench.running.cache import Cache
from bench.running.inputs import Inputs
from bench.running.workspace import Workspace
from bench.tasks.cell import Cell
from bench.tasks.task import Primary, Replicates, Task
from tests.kit import ROOT
from tests.kit.audit import TOYS, Audit


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    return Audit(tmp_path, monkeypatch)


def toy(name: str, arguments: str = "") -> str:
    return f"{TOYS / name}.py{arguments}"


TASK = Task(
    name="audited",
    family="probe",
    dataset=toy("quadrants"),
    targets=("label",),
    protocol="linear",
    chance=0.3,
    primary=Primary(target="label"),
    replicates=Replicates(seeds=2),
)
ZERO = replace(
    TASK,
    family="zeroshot",
    replicates=Replicates(seeds=1, splits=((0, 1), (2, 3))),
    primary=Primary(metric="seen", target="label", interval="replicates"),
)
TRUNK = toy("small_trunk", "~1k")
SHIFTS = Replicates(seeds=1, shifts=("noise", "inversion"), strengths=(0.2, 1.0))
FEW = Replicates(seeds=1, per_class=(2, 4), subsets=2)

# What is asked -> (the task, the encoder, how often each test image is read).
CELLS: dict[str, tuple[Task, str, int]] = {
    "linear": (TASK, "pixels", 1),
    "linear, two trainings": (TASK, TRUNK, 2),
    "linear, an encoder that learns from labels": (TASK, toy("small_trunk", ",uses_labels=true~1k"), 2),
    "linear, an encoder on another": (TASK, toy("squared", ",inner=pca%2Cdim%3D3"), 1),
    "knn": (replace(TASK, protocol="knn"), "pixels", 1),
    "four head seeds share one pass": (
        replace(TASK, protocol=toy("means"), replicates=Replicates(seeds=4)), "pixels", 1,
    ),
    "shifted copies are replicates": (replace(TASK, protocol="knn", replicates=SHIFTS), "pixels", 5),
    "few labels": (
        replace(TASK, family="few_labels", protocol="knn", validation=False, replicates=FEW), "pixels", 1,
    ),
    "a protocol that chooses": (replace(TASK, protocol=toy("choosing")), "pixels", 1),
    "a control": (
        replace(TASK, protocol="knn", replicates=Replicates(controls=("shuffled_labels",))), "pixels", 1,
    ),
    "a sweep": (replace(ZERO, protocol=toy("sweeping"), transductive=True), TRUNK, 1),
    "a sweep that chooses": (replace(TASK, protocol=toy("least_squares")), "pixels", 1),
    "a training for each split": (replace(ZERO, protocol=toy("means")), TRUNK, 2),
    "a trunk that is tuned": (
        replace(TASK, family="finetune", input="images", protocol=toy("tuning")), TRUNK, 2,
    ),
    "blocks that are tuned": (
        replace(TASK, family="finetune", input="activations", protocol=toy("tuning", ",blocks=2")),
        TRUNK, 2,
    ),
    "a diagnostic": (replace(TASK, protocol=toy("means"), diagnostics=(toy("head_bias"),)), "pixels", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_test_labels_reach_the_scorer_alone_and_test_images_are_read_once(
    name: str, audit: Audit
) -> None:
    question, encoder, reads = CELLS[name]
    record = audit.run(question, encoder)
    assert record.status == "ok", record.reason
    assert set(audit.dataset.readers) == {"bench.scoring.scorer"}
    assert sorted(set(audit.leaks)) == []
    assert audit.reads == {reads}
    assert audit.looked["protocols build"] >= 2 and audit.looked["encoders build"] >= 1
    assert audit.looked["protocols fit"] + audit.looked["protocols sweep"] >= 1


def test_a_second_cell_reads_no_test_image_again(audit: Audit) -> None:
    for protocol in ("linear", "knn"):
        assert audit.run(replace(TASK, protocol=protocol), TRUNK).status == "ok"
    assert audit.reads == {2}  # two trainings, whatever is built on them


def test_features_kept_from_an_earlier_run_bring_no_second_look_at_test_images(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a run that was stopped between train and test, or a cache that was cleared in part."""
    monkeypatch.setattr("bench.running.workspace._WORTH", -1.0)
    audit.workspace = Workspace(audit.workspace.dataset, cache=Cache(tmp_path / "cache"))
    assert audit.run(replace(TASK, protocol="knn")).status == "ok"
    for entry in Cache(tmp_path / "cache").entries():
        if entry.notes.get("split") == "test":
            entry.path.unlink()
    assert audit.reads == {1}
    audit.workspace = Workspace(audit.workspace.dataset, cache=Cache(tmp_path / "cache"))
    assert audit.run(replace(TASK, protocol="knn")).status == "ok"
    assert audit.reads == {2}


# --- Looks


def test_the_look_is_written_down_before_the_first_test_label_is_read(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, store = list[tuple[Store, int]](), Store(tmp_path / "results")

    def add_look(store: Store, record: Record, replicates: int) -> None:
        assert not audit.dataset.readers and record.data.digest == audit.dataset.fingerprint
        looks.append((store, replicates))

    monkeypatch.setattr(runner, "add_look", add_look)
    record, _ = runner.run_cell(
        Cell(TASK, resolve("encoders", TRUNK)), audit.workspace, store=store
    )
    assert record.status == "ok" and audit.dataset.readers
    assert looks == [(store, 2)]


def test_every_run_of_a_cell_says_whose_ledger_it_is_for() -> None:
    """A new way to run cells cannot leave out the line by not naming the results folder."""
    calls = [
        (path.name, [keyword.arg for keyword in node.keywords])
        for path in (ROOT / "bench").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("run_cell", "Scorer")
    ]
    assert sorted(calls) == [("executor.py", ["seeds", "store"]), ("runner.py", ["before"])]


# --- The audit sees what is planted


def leaks(audit: Audit, protocol: str = "knn", encoder: str = "pixels") -> set[str]:
    audit.run(replace(TASK, protocol=protocol), encoder)
    return set(audit.leaks)


def test_the_audit_sees_test_samples_handed_to_predict(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Inputs.x

    def x(self: Inputs, split: Any, rows: Any, shift: Any = None) -> Any:
        samples = usual(self, split, rows, shift)
        test = self.dataset.split("test")
        return Samples(samples, test.y, test.rows) if split == "test" else samples

    monkeypatch.setattr(Inputs, "x", x)
    assert leaks(audit) == {"protocols predict: test labels"}


def test_the_audit_sees_copies_of_test_labels_among_others(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Inputs.samples

    def samples(self: Inputs, granted: Any) -> Any:
        train, val = usual(self, granted)
        assert val is not None
        labels = np.concatenate([val.y["label"], self.dataset.split("test").y["label"]])
        return train, Samples(val.x, {**val.y, "more": labels}, val.rows)

    monkeypatch.setattr(Inputs, "samples", samples)
    assert leaks(audit) == {"protocols fit: test labels"}
    assert set(audit.dataset.readers) == {"bench.scoring.scorer", __name__}


def test_the_audit_sees_test_images_in_fit(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Inputs.samples

    def samples(self: Inputs, granted: Any) -> Any:
        train, val = usual(self, granted)
        assert val is not None
        x = np.asarray(val.x).copy()
        x[0] = np.asarray(self.x("test", None))[3]
        return train, Samples(x, val.y, val.rows)

    monkeypatch.setattr(Inputs, "samples", samples)
    assert leaks(audit) == {"protocols fit: test images"}


PEEKING = '''
"""Takes what its trunk leads to."""
from tests.kit.toys.means import Means


class Peeking(Means):
    def predict(self, x):
        found = super().predict(x)
        found["label"][range(len(x)), self.trunk.dataset.split("test").y["label"]] = 0.0
        return found


def build(*, meta, trunk, seed):
    return Peeking(meta, trunk, seed, 0, -1)
'''


class Leading:
    def __init__(self, trunk: Any, dataset: Any) -> None:
        self.trunk, self.dataset = trunk, dataset


def test_the_audit_sees_a_trunk_that_leads_to_the_data_set(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "peeking.py").write_text(PEEKING)
    usual = Inputs.trunk

    def trunk(self: Inputs) -> Any:
        return Leading(usual(self), self.dataset)

    monkeypatch.setattr(Inputs, "trunk", trunk)
    leaking = leaks(audit, f"{tmp_path / 'peeking.py'}")
    assert {"protocols build: test labels", "protocols build: test images"} <= leaking
    assert any("peeking" in name for name in audit.dataset.readers)


def test_the_audit_sees_labels_handed_to_an_encoder(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = runner.fitted_encoder

    def fitted(cell: Any, workspace: Workspace, granted: Any, **seed: int) -> Any:
        dataset = workspace.dataset(cell.task.dataset)
        labels = {**granted.encoder_labels, "other": dataset.split("test").y["label"]}
        return usual(cell, workspace, replace(granted, encoder_labels=labels), **seed)

    monkeypatch.setattr(runner, "fitted_encoder", fitted)
    leaking = leaks(audit, "knn", toy("small_trunk", ",uses_labels=true~1k"))
    assert leaking == {"encoders fit: test labels"}


def test_the_audit_sees_a_second_pass_over_the_test_images(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Workspace.features

    def features(self: Workspace, *args: Any, **options: Any) -> Any:
        self.forget()
        return usual(self, *args, **options)

    monkeypatch.setattr(Workspace, "features", features)
    question = replace(TASK, protocol=toy("means"), replicates=Replicates(seeds=3))
    assert audit.run(question).status == "ok"
    assert audit.reads == {3}
