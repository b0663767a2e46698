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
    measured_record = Record(
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
    return replace(measured_record, **changes)


# --- Seconds, against numbers worked out by hand


def test_training_goes_by_images_seen_encoding_by_images_protocols_by_rows_times_dimension() -> (
    None
):
    forecast = Forecast([record(fit=2.0, seen=[1_000], extract=3.594, protocol=4.528)], [])
    # 2 ms an image seen, 2 ms an image of 1,797, 1 ms a row and dimension.
    assert (ALL, TRAIN) == (1_797, 1_132)
    assert forecast.cost(cell("pca,dim=4")).parts == pytest.approx((2.264, 3.594, 4.528))
    rows = MNIST["rows"]
    seconds = forecast.cost(cell("pca,dim=4", "mnist-knn")).parts
    expected = (0.002 * rows["train"], 0.002 * sum(rows.values()), 0.001 * rows["train"] * 4)
    assert seconds == pytest.approx(expected)


def test_the_same_encoder_is_asked_before_others_of_its_kind_and_a_kind_gives_its_median() -> None:
    records = [
        record(f"pca,dim={dim}", fit=fit, seen=[TRAIN]) for dim, fit in ((4, 1), (5, 2), (6, 60))
    ]
    forecast = Forecast(records, [])
    assert forecast.cost(cell("pca,dim=6")).fit == pytest.approx(60)
    assert forecast.cost(cell("pca,dim=9")).fit == pytest.approx(2)
    assert forecast.cost(cell("autoencoder")).fit is None


def test_a_task_that_was_measured_goes_by_replicates_whatever_labels_they_are_granted() -> None:
    task_name = "fashion_mnist-finetune"  # 1,000 labels a class, of many more rows
    measured = record("autoencoder~0", protocol=30.0, runs=3, dim=10, seeded=True, task=task_name)
    replicates = replace(cell("autoencoder~0", task_name).task.replicates, seeds=6)
    task = replace(load(task_name), replicates=replicates)
    seconds = (
        Forecast([measured], []).cost(Cell(task, resolve("encoders", "autoencoder~0"))).protocol
    )
    assert seconds == pytest.approx(60.0)


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
    cost = forecast.cost(cell("autoencoder~5k"), seeds=3)
    assert cost.parts == pytest.approx((3 * 10.0, 3 * 1.797, 3 * 1.132))
    assert cost.weights == (0, 3)
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
    cost = forecast.cost(cell("pca,dim=5"))
    assert cost.fit and cost.extract


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
    calibrations: list[float] = []

    def slowness() -> float:
        calibrations.append(2.0)
        return 2.0

    records = [record("pca,dim=4"), record("pixels", dim=64, task="digits-linear")]
    forecast = Forecast(records, [], slowness=slowness)
    measured = forecast.cost(cell("pca,dim=4"))
    assert measured.parts == Forecast(records, []).cost(cell("pca,dim=4")).parts
    assert (measured.basis, calibrations) == ("earlier runs", [])
    new = forecast.cost(cell("autoencoder~1k"), seeds=1)
    reference = reference_speeds()
    assert new.fit == pytest.approx(2 * 1_000 * reference["fit"]["autoencoder"])
    assert new.extract == pytest.approx(2 * ALL * reference["extract"]["autoencoder"])
    assert (new.basis, new.calibrated) == ("calibration", True)
    forecast.cost(cell("hog"))
    assert calibrations == [2.0]


def test_a_small_task_says_nothing_of_a_large_one_that_the_reference_machine_has_measured() -> None:
    small = record("pca,dim=16", dim=16, protocol=20.0, task="digits-linear")
    large = cell("pixels", "mnist-linear")
    alone = Forecast([], [], slowness=lambda: 2.0).cost(large)
    assert alone.protocol
    assert Forecast([small], [], slowness=lambda: 2.0).cost(large).protocol == alone.protocol


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
    measured = record("autoencoder~1k", seen=[1_000], fit=2.0, dim=10, seeded=True)
    splits = len(load("digits-zeroshot").replicates.splits)
    fitted = Forecast([measured], []).cost(cell("autoencoder~5k", "digits-zeroshot"), seeds=1)
    assert splits > 1 and fitted.fit == pytest.approx(10.0 * splits)
    elsewhere = Forecast([measured], []).cost(
        cell("autoencoder@mnist~5k", "digits-zeroshot"), seeds=1
    )
    assert elsewhere.fit == pytest.approx(10.0)


def test_a_calibration_takes_a_second_and_positive_time() -> None:
    start = time.perf_counter()
    assert 0 < calibration_seconds() < 1
    assert time.perf_counter() - start < 5


# --- What the cache has


def entry(kind: str, encoder: str, *, seed: int | None, data: str, **notes: Any) -> CacheFile:
    training = resolve("encoders", encoder).training_digest
    provenance = {"spec": encoder, "training": training, "seed": seed, "data": data, **notes}
    return CacheFile(Path("x"), kind, provenance, 100, 0.0)


def test_kept_weights_of_some_seeds_leave_the_others_to_be_trained() -> None:
    done = record("autoencoder~1k", seen=[1_000], fit=2.0, dim=10, seeded=True)
    name = "autoencoder~5k"
    weights = [entry("weights", name, seed=seed, data=DIGITS["fingerprint"]) for seed in (0, 1, 2)]
    elsewhere = entry("weights", name, seed=0, data=MNIST["fingerprint"])
    for count, fit in ((0, 30.0), (1, 20.0), (3, 0.0)):
        cost = Forecast([done], [elsewhere, *weights[:count]]).cost(cell(name), seeds=3)
        assert (cost.weights, cost.fit) == ((count, 3), pytest.approx(fit))
        assert cost.extract is not None and cost.extract > 0


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
    cost = forecast.cost(cell("random_fourier,dim=8"), seeds=2)
    assert (cost.weights, cost.features, cost.fit, cost.extract) == ((2, 2), True, 0.0, 0.0)
    with_another_seed = Forecast(
        [record("random_fourier,dim=8", seeded=True)], cache.entries()
    ).cost(cell("random_fourier,dim=8"), seeds=3)
    assert (with_another_seed.weights, with_another_seed.features) == ((2, 3), False)


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
    statuses = [CellStatus(cell(name), "stale", "old") for name in names]
    statuses += [CellStatus(cell("pixels"), "done"), CellStatus(cell("hog"), "declined", "no data")]
    statuses += [CellStatus(cell("pixels", "digits-linear"), "missing")]
    assert status_lines(statuses) == [
        ("declined", "hog", "digits-knn", "no data"),
        ("stale", "pca,dim=4, pca,dim=5, pca,dim=6 and 1 more", "digits-knn", "old"),
        ("missing", "pixels", "digits-linear", ""),
    ]
    assert status_summary(statuses) == "7 cells: 1 done, 1 declined, 4 stale, 1 missing"
    assert status_summary([]) == "0 cells: none"


def test_the_order_is_that_of_data_sets_and_encoders_as_they_were_named(tmp_path: Path) -> None:
    names = [("b", "mnist-knn"), ("a", "digits-knn"), ("b", "digits-linear"), ("a", "mnist-linear")]
    specs = {"a": "pixels", "b": "hog"}
    due = [CellStatus(cell(specs[name], task), "missing") for name, task in names]
    store = Store(tmp_path)
    order = [(status.cell.name, status.cell.task.name) for status in run_order(due, store)]
    expected = [("hog", "mnist-knn"), ("pixels", "mnist-linear")]
    expected += [("hog", "digits-linear"), ("pixels", "digits-knn")]
    assert order == expected
    with store.claimed("reptransfer", "hog", "mnist-knn"):  # another run is at it
        order = [(status.cell.name, status.cell.task.name) for status in run_order(due, store)]
    assert order == [*expected[1:], expected[0]]


# --- The commands


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an empty data root, to which nothing can be fetched."""
    monkeypatch.delenv("REPTRANSFER_DATA", raising=False)
    monkeypatch.setenv("REPTRANSFER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "workdir"
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
    chosen = [word for task in tasks for word in ("--task", task)]
    return [command, *named, *chosen, *WHERE, *options]


def output_of(capsys: pytest.CaptureFixture[str], command: Sequence[str], status: int = 0) -> str:
    capsys.readouterr()
    assert main(command) == status, capsys.readouterr().err
    return capsys.readouterr().out


def paths(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_status_lists_the_state_of_every_cell_and_why(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "broken.py").write_text(BROKEN)
    encoders, tasks = ("pixels", "broken.py", "pca,dim=4"), ("digits-knn", "mnist-knn")
    assert main(words("run", encoders[:2], tasks[:1], "--seeds", "1")) == 1
    assert main(words("run", encoders[:1], tasks)) == 0
    assert main(words("run", encoders[2:], tasks[:1])) == 0
    path = workdir / "runs" / "reptransfer" / "pca,dim=4" / "digits-knn.json"
    path.write_text(path.read_text().replace("record/1", "record/9"))
    before = paths(workdir)
    cells = json.loads(output_of(capsys, words("status", encoders, tasks, "--json"), status=1))
    assert [(row["encoder"], row["task"], row["state"]) for row in cells] == [
        ("pixels", "digits-knn", "done"),
        ("broken", "digits-knn", "failed"),
        ("pca,dim=4", "digits-knn", "stale"),
        ("pixels", "mnist-knn", "declined"),
        ("broken", "mnist-knn", "missing"),
        ("pca,dim=4", "mnist-knn", "missing"),
    ]
    reasons = [row["reason"] for row in cells]
    assert reasons[0] == reasons[4] == reasons[5] == ""
    assert reasons[1] == "ValueError: by design"
    assert "unknown schema 'reptransfer.record/9'" in reasons[2]
    assert "mnist is not in the data root" in reasons[3]
    text = output_of(capsys, words("status", encoders, tasks), status=1)
    assert text.splitlines()[-1] == (
        "6 cells: 1 done, 1 declined, 1 failed, 1 stale, 2 missing, in runs"
    )
    for word in ("by design", "record/9", "not in the data root"):
        assert word in text
    # What is declined is no finding.
    output_of(capsys, words("status", encoders[:1], tasks))
    assert paths(workdir) == before


def test_status_of_a_folder_is_about_the_suite_that_its_records_are_of(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output_of(capsys, ["status", *WHERE], status=1)
    assert "missing" in text.splitlines()[-1] and not (workdir / "runs").exists()
    cells = json.loads(output_of(capsys, ["status", "--suite", "demo", *WHERE, "--json"], status=1))
    assert text.splitlines()[-1].startswith(f"{len(cells)} cells: {len(cells)} missing")


def test_a_cell_with_too_few_seeds_is_stale_and_says_how_many_it_has(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = (["random_fourier,dim=8"], ["digits-knn"])
    assert main(words("run", *cells, "--seeds", "1")) == 0
    [status] = json.loads(
        output_of(capsys, words("status", *cells, "--seeds", "2", "--json"), status=1)
    )
    assert (status["state"], status["reason"]) == ("stale", "it has 1 of 2 seeds")
    [same] = json.loads(output_of(capsys, words("status", *cells, "--seeds", "1", "--json")))
    assert same["state"] == "done"
    [line] = json.loads(output_of(capsys, words("plan", *cells, "--seeds", "2", "--json")))
    assert (line["why"], line["kept"]) == ("stale: it has 1 of 2 seeds", "weights of 1 of 2 seeds")


def measure(root: Path, **seconds: float) -> None:
    """Let all records have taken these seconds."""
    for path in Store(root).paths():
        value = json.loads(path.read_text())
        value["measured"]["seconds"] = {**seconds, "total": sum(seconds.values())}
        path.write_text(json.dumps(value))


def test_a_plan_adds_up_what_records_have_measured(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ("digits-knn", "digits-linear")
    assert main(words("run", ("pca,dim=4",), tasks)) == 0
    measure(workdir / "runs", fit=2.0, extract=3.0, protocol=4.0)
    before = paths(workdir.parent)
    encoders = ("pca,dim=4", "pca,dim=5", "hog")
    lines = json.loads(output_of(capsys, words("plan", encoders, tasks, "--json")))
    assert [(line["encoder"], line["task"], line["why"]) for line in lines] == [
        (encoder, task, "missing") for encoder in encoders[1:] for task in tasks
    ]
    # pca saw the 1,132 training images: the next one does too, once for both tasks.
    expected = {"fit": 2.0, "extract": 3.0, "protocol": 4.0}
    assert lines[0]["seconds"] == pytest.approx(expected)
    assert lines[1]["seconds"] == pytest.approx({**expected, "fit": 0.0, "extract": 0.0})
    assert [line["estimated_from"] for line in lines] == [
        "earlier runs",
        "earlier runs",
        "calibration",
        "earlier runs",
    ]
    # hog was never measured here.
    assert lines[2]["seconds"]["fit"] == 0.0 and min(lines[2]["seconds"].values()) >= 0
    assert lines[2]["seconds"]["extract"] > 0 and lines[3]["seconds"]["extract"] == 0.0
    last = output_of(capsys, words("plan", encoders, tasks)).splitlines()[-1]
    assert last.startswith("4 of 6 cells to run: about ")
    assert last.endswith(
        " estimated from the speed of this machine and times measured on another (1 of them) and from "
        "earlier runs"
    )
    # With a new results folder the weights are still kept.
    [line] = json.loads(
        output_of(capsys, words("plan", ("pca,dim=4",), tasks[:1], "--results", "other", "--json"))
    )
    assert (line["kept"], line["seconds"]["fit"]) == ("weights", 0.0)
    assert output_of(capsys, words("plan", ("pca,dim=4",), tasks)) == "nothing to do\n"
    assert json.loads(output_of(capsys, words("plan", ("pca,dim=4",), tasks, "--json"))) == []
    assert paths(workdir.parent) == before


def test_what_needs_no_computing_adds_no_time_and_pays_for_no_other(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ("digits-knn", "digits-linear")
    assert main(words("run", ("pca,dim=4",), tasks)) == 0
    measure(workdir / "runs", fit=2.0, extract=3.0, protocol=4.0)
    older = Cell(load(tasks[0]), resolve("encoders", "pca,dim=4"))
    store = Store(workdir / "runs")
    [path] = [path for path in store.paths() if path.stem == tasks[0]]
    old = store.read(path)
    digest = _task_digest(older.task, STATISTICS - 1)
    store.write(replace(old, task=replace(old.task, digest=digest)), store.predictions(old))
    assert status_of(older, store).rescored
    (path.parent / f"{tasks[1]}.json").unlink()
    [light, heavy] = json.loads(output_of(capsys, words("plan", ("pca,dim=4",), tasks, "--json")))
    assert "made anew from its predictions" in light["why"]
    assert sum(light["seconds"].values()) == 0
    # The weights are kept, the features are not: whoever comes first encodes.
    assert heavy["seconds"]["extract"] == pytest.approx(3.0)
    assert "no computing" in output_of(capsys, words("plan", ("pca,dim=4",), tasks))


def test_what_only_looks_brings_no_pytorch_and_writes_nothing(workdir: Path) -> None:
    code = (
        "import sys; from bench.cli.main import main;"
        "names = ['--encoder', 'pca,dim=4', '--task', 'digits-*', '--results', 'runs'];"
        "statuses = [main(['plan', *names]), main(['status', *names]), main(['cache', 'ls'])];"
        "print(statuses, [m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    before = paths(workdir.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**variables, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[0, 1, 0] []"
    assert paths(workdir.parent) == before


# --- How a cell stands


def test_data_that_have_come_make_a_declined_cell_due_only_where_they_are_looked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "MNIST").touch()
    store, mnist_cell = Store(tmp_path / "runs"), cell("pixels", "mnist-knn")
    expected = identities(mnist_cell)
    declined = Record(
        owner="reptransfer",
        encoder=expected.encoder,
        task=expected.task,
        data=replace(expected.data, digest=None),
        protocol=expected.protocol,
        status="declined",
        reason="mnist is not in the data root",
    )
    store.write(declined, {})
    assert status_of(mnist_cell, store).state == "declined"
    assert status_of(mnist_cell, store, datasets=DataSets(tmp_path / "none")).state == "declined"

    class KnownMnist(DataSets):
        def __call__(self, spec: str) -> Any:
            return Known()

    status = status_of(mnist_cell, store, datasets=KnownMnist(tmp_path))
    assert (status.state, status.reason) == ("stale", "its data were absent")


class Known:
    """MNIST, by what is known of it."""

    fingerprint, test_in_train = MNIST["fingerprint"], 0

    def split(self, name: str) -> Any:
        return np.zeros(MNIST["rows"][name])
