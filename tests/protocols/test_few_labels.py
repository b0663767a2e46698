"""Few labels: what a fit may read, how it chooses without validation, its curve, and the board."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from bench.data.samples import Samples
from bench.datasets.base import DataSets
from bench.naming.specs import resolve
from bench.protocols.linear import LinearProbe
from bench.protocols.parts import probe
from bench.protocols.parts.probe import FEW_LABELS_PENALTY, FINAL_GAP, GRID, Scaler, fit_few
from bench.report.sections.few_labels import labels_for
from bench.results.record import Record
from bench.results.store import Store
from bench.running import runner
from bench.running.cache import Cache
from bench.running.executor import run_cells
from bench.running.inputs import Inputs
from bench.running.runner import run_cell
from bench.running.workspace import Workspace
from bench.tasks.cell import Cell
from bench.tasks.grants import grant
from bench.tasks.task import Coords, Primary, Replicates, Task
from tests.kit import TOYS
from tests.kit.boards import rendered
from tests.report.test_leaderboard import ODD, places

Array = npt.NDArray[Any]
QUADRANTS = f"{TOYS / 'quadrants'}.py"
SIZES = (1, 2, 6)


def few(*sizes: int, subsets: int = 2, **changes: Any) -> Task:
    defaults: dict[str, Any] = {
        "name": "few",
        "family": "few_labels",
        "dataset": QUADRANTS,
        "targets": ("label",),
        "protocol": "linear",
        "validation": False,
        "chance": 0.25,
        "replicates": Replicates(seeds=3, per_class=sizes, subsets=subsets),
        "primary": Primary(target="label", reduction="log_area"),
    }
    return Task(**{**defaults, **changes})


def ran(
    workspace: Workspace, question: Task, encoder: str = "pixels"
) -> tuple[Record, dict[str, Array]]:
    record, arrays = run_cell(Cell(question, resolve("encoders", encoder)), workspace)
    assert record.status == "ok", record.reason
    return record, arrays


# --- What a fit may read


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Samples, Samples | None]]:
    """What every fit of the linear probe was given."""
    seen: list[tuple[Samples, Samples | None]] = []
    usual = LinearProbe.fit

    def fit(self: LinearProbe, train: Samples, val: Samples | None) -> LinearProbe:
        seen.append((train, val))
        return usual(self, train, val)

    monkeypatch.setattr(LinearProbe, "fit", fit)
    return seen


def test_the_probe_gets_all_features_the_granted_labels_and_no_validation(
    tmp_path: Path, fits: list[tuple[Samples, Samples | None]]
) -> None:
    workspace, question = Workspace(DataSets(tmp_path)), few(*SIZES, 0)
    record, _ = ran(workspace, question)
    dataset = workspace.dataset(QUADRANTS)
    train, val = dataset.split("train"), dataset.split("val")
    targets = {"label": dataset.meta.targets["label"]}
    assert len(fits) == len(record.replicates) == 7
    for (seen_train, seen_val), replicate in zip(fits, record.replicates, strict=True):
        expected = grant(question, targets, train, val, replicate.coords)
        assert seen_val is None
        assert len(np.asarray(seen_train.x)) == len(train)
        np.testing.assert_array_equal(seen_train.y["label"], expected.train_labels["label"])
        assert (seen_train.y["label"] >= 0).sum() == replicate.n_train


@pytest.mark.parametrize("encoder", ["pixels", f"{TOYS / 'small_trunk'}.py~1k"])
def test_no_label_outside_the_subset_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    """Once the rows are drawn, every other label may be another: no prediction moves a bit."""
    plain, question = DataSets(tmp_path)(QUADRANTS), few(*SIZES, subsets=1)
    train, val = plain.split("train"), plain.split("val")
    targets = {"label": plain.meta.targets["label"]}
    largest = grant(question, targets, train, val, Coords(per_class=max(SIZES), subset=0))
    label = np.where(largest.labelled, train.y["label"], (train.y["label"] + 1) % 4)
    assert (label != train.y["label"]).sum() == len(train) - 4 * max(SIZES)

    class Turned:
        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

        def split(self, name: Any) -> Samples:
            actual = plain.split(name)
            if name == "test":
                return actual
            turned = label if name == "train" else (actual.y["label"] + 1) % 4
            return dataclasses.replace(actual, y={**actual.y, "label": turned})

    def as_drawn(task: Task, targets: Any, _train: Samples, _val: Samples, at: Coords) -> Any:
        return grant(task, targets, train, val, at)

    _, expected = ran(Workspace(DataSets(tmp_path)), question, encoder)
    monkeypatch.setattr(runner, "grant", as_drawn)
    _, actual = ran(Workspace(lambda _: Turned()), question, encoder)  # type: ignore[arg-type, return-value]
    assert actual.keys() == expected.keys() and len(expected) > 3
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values)


def test_that_test_sees_a_probe_that_reads_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Inputs.samples

    def samples(self: Inputs, granted: Any) -> Any:
        train, val = usual(self, granted)
        return dataclasses.replace(train, y=self.dataset.split("train").y), val

    monkeypatch.setattr(Inputs, "samples", samples)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        test_no_label_outside_the_subset_is_read(tmp_path, monkeypatch, "pixels")


def test_a_record_depends_on_no_global_random_state_and_no_warm_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.workspace._WORTH", -1.0)
    trunk = f"{TOYS / 'small_trunk'}.py~1k"
    question = few(1, 4, 0)
    expected, _ = ran(Workspace(DataSets(tmp_path)), question, trunk)
    workspace = Workspace(DataSets(tmp_path), cache=Cache(tmp_path / "cache"))
    ran(workspace, few(3, 4, 1, subsets=3), trunk)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    assert ran(workspace, question, trunk)[0].digest == expected.digest
    again = Workspace(DataSets(tmp_path), cache=Cache(tmp_path / "cache"))
    assert ran(again, question, trunk)[0].digest == expected.digest


def test_labels_go_into_an_encoder_only_from_another_data_set(tmp_path: Path) -> None:
    workspace, question = Workspace(DataSets(tmp_path)), few(*SIZES)
    for task, source in ((question, ""), (few(*SIZES, dataset="digits"), "@digits")):
        cell = Cell(task, resolve("encoders", f"supervised,width=8{source}~256"))
        record, _ = run_cell(cell, workspace)
        assert record.status == "declined" and "supervised@mnist" in str(record.reason)
    record, _ = ran(workspace, question, "supervised,width=8@digits~256")
    assert record.supervision == "labels elsewhere"
    assert len(record.training) == 3  # one for each seed, whatever the subset


# --- How it chooses


def overlapping(
    per_class: int, *, dim: int = 4, classes: int = 3, seed: int = 0
) -> tuple[Array, Array]:
    """Rows (classes * each, dim) of classes that no plane parts, in a drawn order."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(classes), per_class))
    x = rng.standard_normal((len(y), dim)) + 0.8 * rng.standard_normal((classes, dim))[y]
    return (5 * x + 3).astype(np.float32), y


def theirs(x: Array, y: Array, penalty: float) -> LogisticRegression:
    return LogisticRegression(C=1 / (penalty * len(y)), tol=1e-8, max_iter=20_000).fit(x, y)


def log_p(x: Array, y: Array, weights: Array, biases: Array) -> tuple[float, float]:
    """Accuracy and mean log-likelihood of weights (d, k), biases (k,), in float64."""
    actual = log_softmax(x.astype(float) @ weights.astype(float) + biases, axis=1)
    return float((actual.argmax(1) == y).mean()), float(actual[np.arange(len(y)), y].mean())


def objective(x: Array, y: Array, weights: Array, biases: Array, penalty: float) -> float:
    return (
        penalty / 2 * float(np.square(weights.astype(float)).sum())
        - log_p(x, y, weights, biases)[1]
    )


def held_out(x: Array, y: Array, penalty: float) -> tuple[float, float]:
    """Accuracy and log-likelihood over five folds: the i-th row of its class lies in fold i mod 5."""
    counts, fold = dict[int, int](), []
    for c in y.tolist():
        fold.append(counts.get(c, 0) % 5)
        counts[c] = counts.get(c, 0) + 1
    right = likelihood = 0.0
    for held in range(5):
        out = np.array(fold) == held
        model = theirs(x[~out], y[~out], penalty)
        actual = log_p(x[out], y[out], model.coef_.T, model.intercept_)
        right, likelihood = right + actual[0] * out.mean(), likelihood + actual[1] * out.mean()
    return right, likelihood


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("solved", [True, False], ids=["solved", "as it is"])
def test_the_penalty_and_the_optimum_are_those_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, solved: bool, seed: int
) -> None:
    """Trials solved to the end choose the very same; as they are, to 0.01 nats, they cost a row held out
    at most."""
    if solved:
        monkeypatch.setattr(probe, "CHOOSE_GAP", 1e-6)
    x, y = overlapping(14, seed=seed)
    fitted = fit_few(x, y, 3, Scaler.of(x))
    x = (x - x.mean(0, dtype=float)) / x.std(0, dtype=float)
    trials = {penalty: held_out(x, y, penalty) for penalty in GRID}
    penalty = fitted.report["penalty"]
    best = max(GRID, key=lambda p: (round(trials[p][0], 9), trials[p][1], p))
    assert trials[penalty][0] > trials[best][0] - 1.01 / len(y)
    if solved:
        assert penalty == best
        for p, accuracy, nll in fitted.report["trials"]:
            assert accuracy == pytest.approx(trials[p][0], abs=1.01 / len(y)), p
            if p >= 1e-3:  # below that likelihood moves far where the loss hardly does
                assert -nll == pytest.approx(trials[p][1], abs=1e-3), p
    model = theirs(x, y, penalty)
    expected = objective(x, y, model.coef_.T, model.intercept_, penalty)
    actual = objective(x, y, fitted.final.weights[0], fitted.final.biases[0], penalty)
    assert expected - 1e-6 < actual < expected + FINAL_GAP
    assert fitted.report["certificate"]["gap"] <= FINAL_GAP
    assert fitted.final is fitted.train_only and fitted.temperature is None


@pytest.mark.parametrize("shape", [(50, 1), (50, 127), (50, 128), (3000, 193)])
def test_mean_and_scale_are_those_of_the_whole_array_bit_for_bit(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * 7 + 3
    x[:, 5:7] = 1
    scaler, scale = Scaler.of(x), x.std(axis=0, dtype=np.float64)
    varying = scale > 1e-6 * np.median(scale[scale > 0])
    np.testing.assert_array_equal(scaler.varying, varying)
    mean = x.mean(axis=0, dtype=np.float64)[varying].astype(np.float32)
    np.testing.assert_array_equal(scaler.mean, mean)
    np.testing.assert_array_equal(scaler.scale, scale[varying].astype(np.float32))


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_from_rows_that_are_alike_the_shares_of_the_classes_are_learnt(rows: int) -> None:
    x, y = np.full((rows, 5), 2.5, np.float32), np.arange(rows) % 2
    predicted = fit_few(x, y, 2, Scaler.of(x)).log_probability(np.eye(5, dtype=np.float32))
    assert np.ptp(predicted, axis=0).max() == 0
    share = np.exp(predicted[0])
    assert share == pytest.approx(np.bincount(y, minlength=2) / rows, abs=0.02)


def test_features_are_standardised_by_rows_that_have_no_label_too() -> None:
    x, y = overlapping(40)
    scaler, chosen = Scaler.of(x), np.arange(0, 120, 3)
    actual = fit_few(x[chosen], y[chosen], 3, scaler).log_probability(x)
    moved = np.where(np.isin(np.arange(120), chosen)[:, None], x, 2 * x + 7)
    otherwise_scaled = fit_few(x[chosen], y[chosen], 3, Scaler.of(moved)).log_probability(x)
    assert np.abs(actual - otherwise_scaled).max() > 1e-3


@pytest.mark.parametrize("least", [1, 4])
def test_a_class_with_fewer_than_five_rows_takes_the_frozen_penalty(least: int) -> None:
    x, y = overlapping(12)
    rows = np.concatenate([np.flatnonzero(y == 0)[:least], np.flatnonzero(y > 0)])
    scaler = Scaler.of(x)
    x, y = x[rows], y[rows]
    fitted = fit_few(x, y, 3, scaler)
    assert fitted.report["penalty"] == FEW_LABELS_PENALTY and fitted.report["trials"] == []
    x = scaler(x)
    model = theirs(x, y, FEW_LABELS_PENALTY)
    expected = objective(x, y, model.coef_.T, model.intercept_, FEW_LABELS_PENALTY)
    actual = objective(x, y, fitted.final.weights[0], fitted.final.biases[0], FEW_LABELS_PENALTY)
    assert expected - 1e-6 < actual < expected + FINAL_GAP


@pytest.mark.parametrize(
    ("per_class", "held"), [(5, [3] * 5), (1666, [1002] + [999] * 4), (1667, [501])]
)
def test_up_to_5_000_rows_are_all_held_out_in_turn_of_more_a_tenth(
    monkeypatch: pytest.MonkeyPatch, per_class: int, held: list[int]
) -> None:
    x, y = overlapping(per_class, dim=2)
    seen: list[Array] = []
    solver = probe.SoftmaxPath

    def spy(x: Array, y: Array, classes: int) -> Any:
        seen.append(y)
        return solver(x, y, classes)

    monkeypatch.setattr(probe, "SoftmaxPath", spy)
    fit_few(x, y, 3, Scaler.of(x))
    *parts, whole = seen
    np.testing.assert_array_equal(whole, y)
    assert [len(y) - len(part) for part in parts] == held
    for part, out in zip(parts, held, strict=True):
        assert (per_class - np.bincount(part)).tolist() == [out // 3] * 3


# --- The curve


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three real records, never changed."""
    root = tmp_path_factory.mktemp("few")
    specs = ("pixels", "pca,dim=2", "random_fourier,dim=96")
    cells = [Cell(EASY, resolve("encoders", spec)) for spec in specs]
    results = Store(root / "results")
    outcome = run_cells(cells, DataSets(root), store=results)
    assert outcome.count("ok") == 3, [r.reason for r in outcome.records]
    return results


EASY = few(
    *SIZES, 0, dataset="digits", subsets=3, train_limit=300, name="easy", chance=0.10185185185185185
)


def curves(record: Record) -> Array:
    """Accuracies (seeds, subsets, sizes), the fit on all labels in every subset's last place."""
    seeds = sorted({r.coords.encoder_seed for r in record.replicates})
    accuracies = np.full((len(seeds), 3, 4), np.nan)
    for r in record.replicates:
        at = r.coords
        seed, subset = seeds.index(at.encoder_seed), at.subset
        size = (*SIZES, None).index(at.per_class)
        accuracies[seed, slice(None) if subset is None else subset, size] = r.scores["label"][
            "accuracy"
        ]
    assert not np.isnan(accuracies).any()
    return accuracies


def record_of(store: Store, spec: str) -> Record:
    return store.read(store.path("reptransfer", spec, EASY.name))


@pytest.mark.slow
def test_the_curve_rises_where_the_data_are_easy(store: Store) -> None:
    for spec in ("pixels", "pca,dim=2"):
        mean = curves(record_of(store, spec)).mean(axis=(0, 1))
        assert (np.diff(mean) > 0).all()
        assert mean[0] > 1.5 * EASY.chance
    assert curves(record_of(store, "pixels"))[..., -1].mean() > 0.9


@pytest.mark.parametrize("spec", ["pixels", "random_fourier,dim=96"])
def test_the_headline_is_the_area_under_the_curves(store: Store, spec: str) -> None:
    record = record_of(store, spec)
    whole = next(r.n_train for r in record.replicates if r.coords.per_class is None)
    x = [0.0, 1.0, math.log2(6), math.log2(whole / 10)]
    areas = [
        sum((x[i + 1] - x[i]) * (curve[i] + curve[i + 1]) / 2 for i in range(3)) / x[3]
        for curve in curves(record).reshape(-1, 4)
    ]
    assert record.primary is not None
    assert record.primary.value == pytest.approx(np.mean(areas))


# --- The board


@pytest.mark.parametrize(
    ("sizes", "accuracies", "expected"),
    [
        ([1, 4, 16], [0.2, 0.6, 1.0], 2**3.5),  # 0.9 is three quarters of the way from 4 to 16
        ([1, 2, 8, 64], [0.1, 0.5, 0.3, 0.5], 2**0.875),  # first, though the curve falls again
        ([5, 50], [0.45, 0.5], None),
        ([1, 100], [0.0, 1.0], 100**0.9),
        ([1, 10], [0.0, 0.0], None),
    ],
)
def test_labels_that_are_nearly_enough(
    sizes: list[float], accuracies: list[float], expected: float | None
) -> None:
    actual = labels_for(sizes, accuracies)
    assert actual is None if expected is None else actual == pytest.approx(expected)


def few_table(text: str, task: str = EASY.name) -> list[list[str]]:
    """The cells of a task's table, the head first."""
    part = text.partition(f"### {task}\n")[2].partition("\n#")[0]
    rows = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[:1] + rows[2:]]


def test_the_board_shows_the_curves_best_first(store: Store) -> None:
    text = rendered(store, {EASY.name: EASY}, overall=())
    assert text.index("# Few labels") < text.index("### easy") < text.index("## Data")
    head, *lines = few_table(text)
    assert head == ["encoder", "1", "2", "6", "all", "labels per class for 90 %"]
    assert len(lines) == 3
    values = {line[0].partition(" (")[0]: line[1:] for line in lines}
    headline = [record_of(store, name).score.value for name in values]
    assert headline == sorted(headline, reverse=True)
    for name, line in values.items():
        record = record_of(store, name)
        actual = curves(record)
        mean = actual.mean(axis=(0, 1))
        for cell, expected in zip(line[:4], mean, strict=True):
            assert cell.partition(" ")[0] == f"{100 * expected:.2f}"
            value, low, high = (float(end.strip("[],")) for end in cell.split())
            assert 0 <= low <= value <= high <= 100
        whole = next(r.n_train for r in record.replicates if r.coords.per_class is None)
        enough = labels_for([*SIZES, whole / 10], mean.tolist())
        assert enough is not None and float(line[4]) == pytest.approx(enough, abs=0.5)


def test_without_a_fit_on_all_labels_nothing_is_nearly_enough(tmp_path: Path) -> None:
    question, results = few(1, 4), Store(tmp_path / "results")
    cells = [Cell(question, resolve("encoders", "pixels"))]
    assert run_cells(cells, DataSets(tmp_path), store=results).count("ok") == 1
    head, line = few_table(rendered(results, {"few": question}, overall=()), "few")
    assert head[1:3] == ["1", "4"] and line[-1] == ""
    easy = few(4, 8, 0)
    assert (
        run_cells([Cell(easy, cells[0].encoder)], DataSets(tmp_path), store=results).count("ok")
        == 1
    )
    assert few_table(rendered(results, {"few": easy}, overall=()), "few")[1][-1] == "at most 4"


@pytest.mark.parametrize("start", [None, 0, 1])
def test_no_stranger_breaks_the_curves_with_an_odd_record(
    store: Store, tmp_path: Path, start: int | None
) -> None:
    """Each part of its replicates in turn missing (start None) or of another kind."""
    shutil.copytree(store.root / "reptransfer" / "pixels", tmp_path / "reptransfer" / "pixels")
    shutil.copytree(store.root / "reptransfer" / "pixels", tmp_path / "stranger" / "pixels")
    path, results = tmp_path / "stranger" / "pixels" / "easy.json", Store(tmp_path)
    good = json.loads(path.read_text())
    good["owner"] = "stranger"
    good.pop("digest")
    table = few_table(rendered(store, {EASY.name: EASY}, overall=()))
    [expected] = [line for line in table if line[0] == "pixels (control)"]
    path.write_text(json.dumps({**good, "digest": Record.from_json(dict(good), "").digest}))
    assert len(few_table(rendered(results, {EASY.name: EASY}, overall=()))) == 3
    for number, place in enumerate(places(good["replicates"])):
        value = json.loads(json.dumps(good))
        inner = value["replicates"]
        for key in place[:-1]:
            inner = inner[key]
        if start is None:
            del inner[place[-1]]
        else:
            inner[place[-1]] = ODD[(number + start) % len(ODD)]
        path.write_text(json.dumps(value))
        _, *lines = few_table(rendered(results, {EASY.name: EASY}, overall=()))
        assert expected in lines, place
