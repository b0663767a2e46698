"""What is done, what is to do and why, and how long it will take by what was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.main import main
from bench.datasets.base import DataSets, known_facts
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.overview import plan_lines, plan_summary, status_lines, status_summary
from bench.results.record import Record, StoredPredictions
from bench.results.status import (
    STATISTICS,
    CellStatus,
    _task_digest,
    identities,
    run_order,
    status_of,
)
from bench.results.store import Store
from bench.running.cache import Cache, CacheFile
from bench.running.calibration import calibration_seconds, reference_speeds
from bench.running.forecast import Cost, Forecast, total
from bench.tasks.cell import Cell
from bench.tasks.files import load, suite, suites
from tests.kit import ROOT, records

DIGITS, MNIST = (known_facts()[name] for name in ("digits", "mnist"))
ALL = sum(DIGITS["rows"].values())
TRAIN = DIGITS["rows"]["train"]


def cell(encoder: str, task: str = "digits-knn") -> Cell:
    return Cell(load(task), resolve("encoders", encoder))


def record(
    encoder: str = "pca,dim=4",
    *,
    fit: float = 2.0,
    extract: float = 3.0,
    protocol: float = 4.0,
    seen: Sequence[int] = (1_000,),
    runs: int = 1,
    dim: int = 4,
    seeded: bool = False,
    task: str = "digits-knn",
    **changes: Any,
) -> Record:
    """A record of digits that took these seconds."""
    found = Record(
        owner="reptransfer",
        encoder=records.encoder(id=encoder, dim=dim, seeded=seeded),
        task=records.task(id=task),
        data=records.data(id="digits", digest=DIGITS["fingerprint"], rows=DIGITS["rows"]),
        protocol=records.protocol(id=load(task).resolved_protocol.text),
        status="ok",
        replicates=(records.replicate({}, n_train=TRAIN),) * runs,
        primary=records.primary(),
        training=tuple(records.training(images_seen=count, images=count) for count in seen),
        measured={"seconds": {"fit": fit, "extract": extract, "protocol": protocol, "total": 9.0}},
    )
    return replace(found, **changes)


# --- Seconds, against numbers worked out by hand


def test_training_goes_by_images_seen_encoding_by_images_protocols_by_rows_times_dimension() -> (
    None
):
    forecast = Forecast([record(fit=2.0, seen=[1_000], extract=3.594, protocol=4.528)], [])
    # 2 ms an image seen, 2 ms an image of 1,797, 1 ms a row and dimension.
    assert (ALL, TRAIN) == (1_797, 1_132)
    assert forecast.cost(cell("pca,dim=4")).parts == pytest.approx((2.264, 3.594, 4.528))
    rows = MNIST["rows"]
    found = forecast.cost(cell("pca,dim=4", "mnist-knn")).parts
    wanted = (0.002 * rows["train"], 0.002 * sum(rows.values()), 0.001 * rows["train"] * 4)
    assert found == pytest.approx(wanted)


def test_the_same_encoder_is_asked_before_others_of_its_kind_and_a_kind_gives_its_median() -> None:
    records = [
        record(f"pca,dim={dim}", fit=fit, seen=[TRAIN]) for dim, fit in ((4, 1), (5, 2), (6, 60))
    ]
    forecast = Forecast(records, [])
    assert forecast.cost(cell("pca,dim=6")).fit == pytest.approx(60)
    assert forecast.cost(cell("pca,dim=9")).fit == pytest.approx(2)
    assert forecast.cost(cell("autoencoder")).fit is None


def test_a_task_that_was_measured_goes_by_replicates_whatever_labels_they_are_granted() -> None:
    few = "fashion_mnist-finetune"  # 1,000 labels a class, of many more rows
    known = record("autoencoder~0", protocol=30.0, runs=3, dim=10, seeded=True, task=few)
    asked = replace(cell("autoencoder~0", few).task.replicates, seeds=6)
    task = replace(load(few), replicates=asked)
    found = Forecast([known], []).cost(Cell(task, resolve("encoders", "autoencoder~0"))).protocol
    assert found == pytest.approx(60.0)


def test_a_protocol_is_known_from_any_encoder_and_only_from_itself() -> None:
    forecast = Forecast([record("pca,dim=4", protocol=4.0), record("pixels", dim=64)], [])
    linear = forecast.cost(cell("pca,dim=4", "digits-linear"))
    assert linear.protocol is None and linear.fit is not None
    # pca: 4 s for 4 dimensions; pixels: 4 s for 64; the median is between them.
    assert forecast.cost(cell("pixels")).protocol == pytest.approx(64 * (4 / 4 + 4 / 64) / 2)


def test_what_draws_random_numbers_is_trained_once_a_seed_by_its_own_budget() -> None:
    done = record(
        "autoencoder~1k",
        seen=[1_000, 1_000],
        fit=4.0,
        extract=2 * 1.797,
        protocol=2 * 1.132,
        runs=2,
        dim=10,
        seeded=True,
    )
    forecast = Forecast([done], [])
    # 2 ms an image seen, 1 ms an image for one encoder, 0.1 ms a row and dimension.
    found = forecast.cost(cell("autoencoder~5k"), seeds=3)
    assert found.parts == pytest.approx((3 * 10.0, 3 * 1.797, 3 * 1.132))
    assert found.weights == (0, 3)
    seeds = load("digits-knn").replicates.seeds
    assert Forecast([done], []).cost(cell("autoencoder~5k")).fit == pytest.approx(10.0 * seeds)


def test_what_is_not_trained_takes_no_time_to_be() -> None:
    forecast = Forecast([record("pixels", fit=0.0, seen=[0], dim=64)], [])
    assert forecast.cost(cell("pixels")).fit == 0.0
    untrained = Forecast([], []).cost(cell("autoencoder~0"))
    assert (untrained.fit, untrained.weights) == (0.0, (0, 0))
    assert untrained.extract is None


def test_cells_of_one_encoder_and_data_set_pay_once() -> None:
    forecast = Forecast([record(), record("pixels", dim=64, task="digits-linear")], [])
    first, second = (forecast.cost(cell("pca,dim=4", t)) for t in ("digits-knn", "digits-linear"))
    assert first.fit and first.extract and (second.fit, second.extract) == (0.0, 0.0)
    assert second.protocol is not None and second.protocol > 0
    other = forecast.cost(cell("pca,dim=5"))
    assert other.fit and other.extract


def test_a_fit_on_a_named_source_is_paid_once_for_all_data_sets_and_encoding_by_each() -> None:
    forecast = Forecast([record("pca,dim=4@digits", fit=2.264, seen=[TRAIN], extract=1.797)], [])
    tasks = ("digits-knn", "mnist-knn")
    first, second = (forecast.cost(cell("pca,dim=4@digits", task)) for task in tasks)
    assert first.fit == pytest.approx(2.264)
    assert second.extract == pytest.approx(0.001 * sum(MNIST["rows"].values()))
    assert second.fit == 0.0


def test_nothing_is_known_of_what_was_never_measured_or_has_failed() -> None:
    failed = replace(record(), status="failed", reason="why")
    assert Forecast([failed], []).cost(cell("pca,dim=4")).parts == (None, None, None)
    assert Forecast([], []).cost(cell("pca,dim=4")).parts == (None, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": {}},
        {"measured": {"seconds": None}},
        {"measured": {"seconds": {"fit": None, "extract": None, "protocol": None}}},
        {"measured": {"seconds": {"fit": "1", "extract": "1", "protocol": "1"}}},
        {"data": {"id": "digits"}},
        {"data": {"id": "digits", "rows": {"train": "many"}}},
        {"encoder": {"id": "pca,dim=4"}},
        {"encoder": {"id": "pca,dim=4", "dim": "4"}},
        {"training": [{}]},
        {"replicates": [{}]},
    ],
    ids=str,
)
def test_what_a_forecast_reads_is_checked_with_the_record(changes: Mapping[str, Any]) -> None:
    """What it measured has no digest: it can be edited, and cannot be trusted."""
    kinds = {"label": ("classes", 10)}
    good = record(predictions=StoredPredictions(kinds=kinds)).to_json()  # type: ignore[dict-item]
    Record.from_json(good, "")
    with pytest.raises(BenchError):
        Record.from_json({**good, **changes}, "")


def test_parts_whose_seconds_a_record_lacks_are_not_forecast() -> None:
    forecast = Forecast([record(measured={"seconds": {"fit": 2.0, "total": 9.0}})], [])
    assert forecast.cost(cell("pca,dim=4")).parts == (pytest.approx(2.264), None, None)


@pytest.mark.skipif(
    not (ROOT / "results" / "reptransfer").is_dir(), reason="a source distribution has no records"
)
def test_the_reference_machine_s_times_are_those_of_the_committed_records() -> None:
    from tests.speed.reference_speeds import FILE, table

    assert json.loads(FILE.read_text(encoding="utf-8")) == table(), (
        "run tests/speed/reference_speeds.py"
    )


def test_what_no_record_has_measured_takes_as_long_as_elsewhere_by_the_speed_of_this_machine() -> (
    None
):
    asked: list[float] = []

    def slowness() -> float:
        asked.append(2.0)
        return 2.0

    known = [record("pca,dim=4"), record("pixels", dim=64, task="digits-linear")]
    forecast = Forecast(known, [], slowness=slowness)
    measured = forecast.cost(cell("pca,dim=4"))
    assert measured.parts == Forecast(known, []).cost(cell("pca,dim=4")).parts
    assert (measured.basis, asked) == ("earlier runs", [])
    new = forecast.cost(cell("autoencoder~1k"), seeds=1)
    reference = reference_speeds()
    assert new.fit == pytest.approx(2 * 1_000 * reference["fit"]["autoencoder"])
    assert new.extract == pytest.approx(2 * ALL * reference["extract"]["autoencoder"])
    assert (new.basis, new.calibrated) == ("calibration", True)
    forecast.cost(cell("hog"))
    assert asked == [2.0]


@pytest.mark.parametrize("suite_name", suites())
def test_a_first_plan_has_an_estimate_for_every_encoder_and_task_of_a_suite(
    suite_name: str,
) -> None:
    forecast = Forecast([], [], slowness=lambda: 1.0)
    chosen = suite(suite_name)
    for name in chosen.encoders:
        for task in chosen.tasks:
            if known_facts().get(load(task).dataset):
                cost = forecast.cost(cell(name, task))
                assert cost.seconds is not None and cost.seconds >= 0, (name, task)


def test_an_encoder_that_is_trained_for_each_class_split_is_fitted_as_often() -> None:
    known = record("autoencoder~1k", seen=[1_000], fit=2.0, dim=10, seeded=True)
    splits = len(load("digits-zeroshot").replicates.splits)
    fitted = Forecast([known], []).cost(cell("autoencoder~5k", "digits-zeroshot"), seeds=1)
    assert splits > 1 and fitted.fit == pytest.approx(10.0 * splits)
    elsewhere = Forecast([known], []).cost(cell("autoencoder@mnist~5k", "digits-zeroshot"), seeds=1)
    assert elsewhere.fit == pytest.approx(10.0)


def test_a_calibration_takes_a_second_and_positive_time() -> None:
    start = time.perf_counter()
    assert 0 < calibration_seconds() < 1
    assert time.perf_counter() - start < 5


# --- What the cache has


def entry(kind: str, encoder: str, *, seed: int | None, data: str, **notes: Any) -> CacheFile:
    training = resolve("encoders", encoder).training_digest
    told = {"spec": encoder, "training": training, "seed": seed, "data": data, **notes}
    return CacheFile(Path("x"), kind, told, 100, 0.0)


def test_kept_weights_of_some_seeds_leave_the_others_to_be_trained() -> None:
    done = record("autoencoder~1k", seen=[1_000], fit=2.0, dim=10, seeded=True)
    name = "autoencoder~5k"
    weights = [entry("weights", name, seed=seed, data=DIGITS["fingerprint"]) for seed in (0, 1, 2)]
    elsewhere = entry("weights", name, seed=0, data=MNIST["fingerprint"])
    for kept, fit in ((0, 30.0), (1, 20.0), (3, 0.0)):
        found = Forecast([done], [elsewhere, *weights[:kept]]).cost(cell(name), seeds=3)
        assert (found.weights, found.fit) == ((kept, 3), pytest.approx(fit))
        assert found.extract is not None and found.extract > 0


def test_kept_features_of_all_splits_and_seeds_need_no_encoding() -> None:
    done = record("autoencoder~1k", dim=10, seeded=True)
    name, digest = "autoencoder~5k", DIGITS["fingerprint"]
    passes = [
        entry("features", name, seed=seed, data=digest, split=split, level=level)
        for seed in (0, 1)
        for split in ("train", "val", "test")
        for level in ("trunk", "code")
    ]
    whole = Forecast([done], passes).cost(cell(name), seeds=2)
    assert (whole.features, whole.extract) == (True, 0.0)
    part = Forecast([done], passes[:-2]).cost(cell(name), seeds=2)
    assert not part.features and part.extract is not None and part.extract > 0


def test_the_notes_that_runs_leave_are_what_a_forecast_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench.running.workspace
    from bench.running.executor import run_cells

    monkeypatch.setattr(bench.running.workspace, "_WORTH", 0.0)
    cache = Cache(tmp_path / "cache")
    run_cells([cell("random_fourier,dim=8")], DataSets(tmp_path), cache=cache, seeds=2)
    forecast = Forecast([record("random_fourier,dim=8", seeded=True)], cache.entries())
    found = forecast.cost(cell("random_fourier,dim=8"), seeds=2)
    assert (found.weights, found.features, found.fit, found.extract) == ((2, 2), True, 0.0, 0.0)
    more = Forecast([record("random_fourier,dim=8", seeded=True)], cache.entries()).cost(
        cell("random_fourier,dim=8"), seeds=3
    )
    assert (more.weights, more.features) == ((2, 3), False)


# --- Totals and lines


def test_a_total_is_of_what_is_known_and_counts_what_is_not() -> None:
    costs = [
        Cost(1.0, 2.0, 3.5, (0, 1), False),
        Cost(0.0, 0.0, None, (1, 1), True),
        Cost(None, 1.0, 1.0, (0, 3), False),
    ]
    assert total(costs) == (8.5, 2)
    assert total([]) == (0.0, 0)
    due = [CellStatus(cell("pca,dim=4"), "missing")] * 3
    assert plan_summary([*due, CellStatus(cell("pixels"), "done")], costs) == (
        "3 of 4 cells to run: about 8.5 s, estimated from earlier runs; no estimate for 2 of them"
    )
    assert plan_summary(due, costs[1:]) == (
        "2 of 3 cells to run: no estimate, since nothing similar has been measured"
    )
    assert plan_summary(due, []) == "nothing to do"


def test_a_line_says_why_what_is_kept_and_how_long() -> None:
    due = [
        CellStatus(cell("pca,dim=4"), "missing"),
        CellStatus(cell("pixels"), "stale", "its task has changed"),
        CellStatus(cell("autoencoder"), "failed", "NaN"),
        CellStatus(cell("hog"), "stale", "statistics", rescored=True),
    ]
    costs = [
        Cost(1.0, 2.0, 3.5, (0, 1), False),
        Cost(None, 2.0, 3.5, (1, 1), True),
        Cost(100.0, 50.0, 0.0, (1, 3), False),
        Cost(1.0, 1.0, 1.0, (0, 0), True),
    ]
    assert plan_lines(due, costs) == [
        ("pca,dim=4", "digits-knn", "missing", "", "6.5 s"),
        ("pixels", "digits-knn", "stale: its task has changed", "weights, features", "?"),
        ("autoencoder", "digits-knn", "failed: NaN", "weights of 1 of 3 seeds", "2 min"),
        ("hog", "digits-knn", "stale: statistics", "features", "no computing"),
    ]


def test_status_lines_put_equal_reasons_together_and_leave_out_what_is_done() -> None:
    names = ("pca,dim=4", "pca,dim=5", "pca,dim=6", "pca,dim=7")
    found = [CellStatus(cell(name), "stale", "old") for name in names]
    found += [CellStatus(cell("pixels"), "done"), CellStatus(cell("hog"), "declined", "no data")]
    found += [CellStatus(cell("pixels", "digits-linear"), "missing")]
    assert status_lines(found) == [
        ("declined", "hog", "digits-knn", "no data"),
        ("stale", "pca,dim=4, pca,dim=5, pca,dim=6 and 1 more", "digits-knn", "old"),
        ("missing", "pixels", "digits-linear", ""),
    ]
    assert status_summary(found) == "7 cells: 1 done, 1 declined, 4 stale, 1 missing"
    assert status_summary([]) == "0 cells: none"


def test_the_order_is_that_of_data_sets_and_encoders_as_they_were_named(tmp_path: Path) -> None:
    names = [("b", "mnist-knn"), ("a", "digits-knn"), ("b", "digits-linear"), ("a", "mnist-linear")]
    specs = {"a": "pixels", "b": "hog"}
    due = [CellStatus(cell(specs[name], task), "missing") for name, task in names]
    store = Store(tmp_path)
    found = [(each.cell.name, each.cell.task.name) for each in run_order(due, store)]
    wanted = [("hog", "mnist-knn"), ("pixels", "mnist-linear")]
    wanted += [("hog", "digits-linear"), ("pixels", "digits-knn")]
    assert found == wanted
    with store.claimed("reptransfer", "hog", "mnist-knn"):  # another run is at it
        found = [(each.cell.name, each.cell.task.name) for each in run_order(due, store)]
    assert found == [*wanted[1:], wanted[0]]


# --- The commands


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an empty data root, to which nothing can be fetched."""
    monkeypatch.delenv("REPTRANSFER_DATA", raising=False)
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "here"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "MNIST").touch()
    monkeypatch.chdir(folder)
    return folder


BROKEN = '''
"""An encoder that cannot encode."""
from bench.encoders.base import Encoder
from bench.data.images import Input

TRAINING = "none"

class Broken(Encoder):
    seeded = False

    def __init__(self):
        super().__init__()
        self.input, self.dims = Input(size=(8, 8), channels=1), {"code": 2}

    def taps(self, images):
        raise ValueError("by design")

def build(*, source):
    return Broken()
'''
WHERE = ["--data", "data", "--results", "runs"]


def words(command: str, encoders: Sequence[str], tasks: Sequence[str], *options: str) -> list[str]:
    named = [word for encoder in encoders for word in ("--encoder", encoder)]
    asked = [word for task in tasks for word in ("--task", task)]
    return [command, *named, *asked, *WHERE, *options]


def told(capsys: pytest.CaptureFixture[str], command: Sequence[str], status: int = 0) -> str:
    capsys.readouterr()
    assert main(command) == status, capsys.readouterr().err
    return capsys.readouterr().out


def paths(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_status_lists_the_state_of_every_cell_and_why(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "broken.py").write_text(BROKEN)
    encoders, tasks = ("pixels", "broken.py", "pca,dim=4"), ("digits-knn", "mnist-knn")
    assert main(words("run", encoders[:2], tasks[:1], "--seeds", "1")) == 1
    assert main(words("run", encoders[:1], tasks)) == 0
    assert main(words("run", encoders[2:], tasks[:1])) == 0
    path = here / "runs" / "reptransfer" / "pca,dim=4" / "digits-knn.json"
    path.write_text(path.read_text().replace("record/1", "record/9"))
    before = paths(here)
    found = json.loads(told(capsys, words("status", encoders, tasks, "--json"), status=1))
    assert [(each["encoder"], each["task"], each["state"]) for each in found] == [
        ("pixels", "digits-knn", "done"),
        ("broken", "digits-knn", "failed"),
        ("pca,dim=4", "digits-knn", "stale"),
        ("pixels", "mnist-knn", "declined"),
        ("broken", "mnist-knn", "missing"),
        ("pca,dim=4", "mnist-knn", "missing"),
    ]
    reasons = [each["reason"] for each in found]
    assert reasons[0] == reasons[4] == reasons[5] == ""
    assert reasons[1] == "ValueError: by design"
    assert "unknown schema 'reptransfer.record/9'" in reasons[2]
    assert "mnist is not in the data root" in reasons[3]
    text = told(capsys, words("status", encoders, tasks), status=1)
    assert text.splitlines()[-1] == (
        "6 cells: 1 done, 1 declined, 1 failed, 1 stale, 2 missing, in runs"
    )
    for word in ("by design", "record/9", "not in the data root"):
        assert word in text
    # What is declined is no finding.
    told(capsys, words("status", encoders[:1], tasks))
    assert paths(here) == before


def test_status_of_a_folder_is_about_the_suite_that_its_records_are_of(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, ["status", *WHERE], status=1)
    assert "missing" in text.splitlines()[-1] and not (here / "runs").exists()
    found = json.loads(told(capsys, ["status", "--suite", "demo", *WHERE, "--json"], status=1))
    assert text.splitlines()[-1].startswith(f"{len(found)} cells: {len(found)} missing")


def test_a_cell_with_too_few_seeds_is_stale_and_says_how_many_it_has(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (["random_fourier,dim=8"], ["digits-knn"])
    assert main(words("run", *asked, "--seeds", "1")) == 0
    [few] = json.loads(told(capsys, words("status", *asked, "--seeds", "2", "--json"), status=1))
    assert (few["state"], few["reason"]) == ("stale", "it has 1 of 2 seeds")
    [same] = json.loads(told(capsys, words("status", *asked, "--seeds", "1", "--json")))
    assert same["state"] == "done"
    [line] = json.loads(told(capsys, words("plan", *asked, "--seeds", "2", "--json")))
    assert (line["why"], line["kept"]) == ("stale: it has 1 of 2 seeds", "weights of 1 of 2 seeds")


def measure(root: Path, **seconds: float) -> None:
    """Let all records have taken these seconds."""
    for path in Store(root).paths():
        value = json.loads(path.read_text())
        value["measured"]["seconds"] = {**seconds, "total": sum(seconds.values())}
        path.write_text(json.dumps(value))


def test_a_plan_adds_up_what_records_have_measured(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ("digits-knn", "digits-linear")
    assert main(words("run", ("pca,dim=4",), tasks)) == 0
    measure(here / "runs", fit=2.0, extract=3.0, protocol=4.0)
    before = paths(here.parent)
    asked = ("pca,dim=4", "pca,dim=5", "hog")
    found = json.loads(told(capsys, words("plan", asked, tasks, "--json")))
    assert [(line["encoder"], line["task"], line["why"]) for line in found] == [
        (encoder, task, "missing") for encoder in asked[1:] for task in tasks
    ]
    # pca saw the 1,132 training images: the next one does too, once for both tasks.
    wanted = {"fit": 2.0, "extract": 3.0, "protocol": 4.0}
    assert found[0]["seconds"] == pytest.approx(wanted)
    assert found[1]["seconds"] == pytest.approx({**wanted, "fit": 0.0, "extract": 0.0})
    assert [line["estimated_from"] for line in found] == [
        "earlier runs",
        "earlier runs",
        "calibration",
        "earlier runs",
    ]
    # hog was never measured here.
    assert found[2]["seconds"]["fit"] == 0.0 and min(found[2]["seconds"].values()) >= 0
    assert found[2]["seconds"]["extract"] > 0 and found[3]["seconds"]["extract"] == 0.0
    last = told(capsys, words("plan", asked, tasks)).splitlines()[-1]
    assert last.startswith("4 of 6 cells to run: about ")
    assert last.endswith(
        " estimated from the speed of this machine and times measured on another (1 of them) and from "
        "earlier runs"
    )
    # With a new results folder the weights are still kept.
    [line] = json.loads(
        told(capsys, words("plan", ("pca,dim=4",), tasks[:1], "--results", "other", "--json"))
    )
    assert (line["kept"], line["seconds"]["fit"]) == ("weights", 0.0)
    assert told(capsys, words("plan", ("pca,dim=4",), tasks)) == "nothing to do\n"
    assert json.loads(told(capsys, words("plan", ("pca,dim=4",), tasks, "--json"))) == []
    assert paths(here.parent) == before


def test_what_needs_no_computing_adds_no_time_and_pays_for_no_other(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ("digits-knn", "digits-linear")
    assert main(words("run", ("pca,dim=4",), tasks)) == 0
    measure(here / "runs", fit=2.0, extract=3.0, protocol=4.0)
    older = Cell(load(tasks[0]), resolve("encoders", "pca,dim=4"))
    store = Store(here / "runs")
    [path] = [path for path in store.paths() if path.stem == tasks[0]]
    old = store.read(path)
    digest = _task_digest(older.task, STATISTICS - 1)
    store.write(replace(old, task=replace(old.task, digest=digest)), store.predictions(old))
    assert status_of(older, store).rescored
    (path.parent / f"{tasks[1]}.json").unlink()
    [light, heavy] = json.loads(told(capsys, words("plan", ("pca,dim=4",), tasks, "--json")))
    assert "made anew from its predictions" in light["why"]
    assert sum(light["seconds"].values()) == 0
    # The weights are kept, the features are not: whoever comes first encodes.
    assert heavy["seconds"]["extract"] == pytest.approx(3.0)
    assert "no computing" in told(capsys, words("plan", ("pca,dim=4",), tasks))


def test_what_only_looks_brings_no_pytorch_and_writes_nothing(here: Path) -> None:
    code = (
        "import sys; from bench.cli.main import main;"
        "names = ['--encoder', 'pca,dim=4', '--task', 'digits-*', '--results', 'runs'];"
        "found = [main(['plan', *names]), main(['status', *names]), main(['cache', 'ls'])];"
        "print(found, [m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    before = paths(here.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[0, 1, 0] []"
    assert paths(here.parent) == before


# --- How a cell stands


def test_data_that_have_come_make_a_declined_cell_due_only_where_they_are_looked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "MNIST").touch()
    store, asked = Store(tmp_path / "runs"), cell("pixels", "mnist-knn")
    wanted = identities(asked)
    declined = Record(
        owner="reptransfer",
        encoder=wanted.encoder,
        task=wanted.task,
        data=replace(wanted.data, digest=None),
        protocol=wanted.protocol,
        status="declined",
        reason="mnist is not in the data root",
    )
    store.write(declined, {})
    assert status_of(asked, store).state == "declined"
    assert status_of(asked, store, datasets=DataSets(tmp_path / "none")).state == "declined"

    class Here(DataSets):
        def __call__(self, spec: str) -> Any:
            return Known()

    found = status_of(asked, store, datasets=Here(tmp_path))
    assert (found.state, found.reason) == ("stale", "its data were absent")


class Known:
    """MNIST, by what is known of it."""

    fingerprint, test_in_train = MNIST["fingerprint"], 0

    def split(self, name: str) -> Any:
        return np.zeros(MNIST["rows"][name])
