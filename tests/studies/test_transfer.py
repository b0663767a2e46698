"""The study of transfer on two small data sets: its cells, its differences by hand, its figure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.datasets.base import DataSets
from bench.drawing.charts import heat
from bench.errors import BenchError
from bench.results.predictions import unpack
from bench.results.record import Record
from bench.results.store import Store
from bench.statistics.intervals import paired_difference
from bench.statistics.significance import holm
from bench.studies import base, transfer
from bench.studies.base import MeasuredCells, Report, Setting
from bench.studies.parts.differences import Difference
from bench.studies.transfer import NONE, Transfer, TransferScores, weighted
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Task

ENCODERS = ("autoencoder,width=8", "supervised,width=8")  # half the usual, for speed
UNTRAINED = "autoencoder,width=8~0"
NAMES = ("digits", "sprites")


def small(name: str) -> Task:
    """Few rows, two trainings, and a protocol that takes no time."""
    task = load(name)
    fewer = replace(task.replicates, seeds=2)
    return replace(task, train_limit=200, protocol="knn,k=5", replicates=fewer)


def study(folder: Path) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "load", small)
        patch.setattr(transfer, "ENCODERS", ENCODERS)
        patch.setattr(transfer, "UNTRAINED", UNTRAINED)
        setting = Setting(DataSets(Path("nowhere")), folder)
        return transfer.run(setting=setting, datasets=" ".join(NAMES), budget="64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return study(folder)


def place(report: Report, encoder: str, source: str | None, target: str) -> Any:
    expected = {"encoder": encoder, "source": source, "target": target}
    [match] = [cell for cell in report.data["cells"] if expected.items() <= cell.items()]
    return match


def rows(folder: Path, spec: str, task: str) -> Any:
    """Rights and wrongs (r, n) from the stored classes alone."""
    [path] = (folder / "cells").glob(f"*/{spec}/{task}.npz")
    with np.load(path) as file:
        stored = unpack(dict(file))
    [target] = [key for key in stored if key.startswith("truth/")]
    name = target.removeprefix("truth/")
    return np.stack([stored[f"{i}/{name}/class"] == stored[target] for i in (0, 1)]).astype(float)


@pytest.mark.slow
def test_cells_off_the_diagonal_name_their_source_and_those_on_it_are_bare(
    report: Report, folder: Path
) -> None:
    records = [r for r in Store(folder / "cells").records() if isinstance(r, Record)]
    assert {(r.encoder.id, r.task.id) for r in records} == {
        *((f"{e}~64", f"{name}-linear") for e in ENCODERS for name in NAMES),
        *((f"{e}@sprites~64", "digits-linear") for e in ENCODERS),
        *((f"{e}@digits~64", "sprites-linear") for e in ENCODERS),
        *((UNTRAINED, f"{name}-linear") for name in NAMES),
    }
    assert len(report.data["cells"]) == 12  # the untrained ones under both encoders


def test_by_default_the_plain_tasks_are_asked_at_the_usual_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Cell] = []

    def stop(cells: Any, _: Setting) -> Any:
        requests.extend(cells)
        raise BenchError("enough")

    monkeypatch.setattr(transfer, "measure", stop)
    with pytest.raises(BenchError, match="enough"):
        transfer.run(setting=Setting(DataSets(Path("nowhere")), tmp_path))
    names = {cell.name for cell in requests}
    both, sources = ("autoencoder", "supervised"), ("mnist", "fashion_mnist", "cifar10_jpeg")
    off = {f"{e}@{s}" for e in both for s in sources}
    assert names == {*both, *off, "autoencoder~0"}
    assert len({(c.name, c.task.name) for c in requests}) == 21
    assert all(c.task == load(c.task.name) for c in requests)
    assert all(f"@{c.task.dataset}" not in c.name for c in requests)


@pytest.mark.slow
def test_accuracies_are_those_of_the_stored_predictions(report: Report, folder: Path) -> None:
    for cell in report.data["cells"]:
        accuracy = rows(folder, cell["spec"], f"{cell['target']}-linear").mean()
        assert cell["accuracy"]["value"] == pytest.approx(accuracy)
        assert cell["accuracy"]["low"] <= accuracy <= cell["accuracy"]["high"]


@pytest.mark.slow
def test_a_difference_is_students_of_rows_and_trainings_by_hand(
    report: Report, folder: Path
) -> None:
    away = rows(folder, "supervised,width=8@digits~64", "sprites-linear")
    scores = rows(folder, "supervised,width=8~64", "sprites-linear")
    n = scores.shape[1]
    gap = away.mean(axis=0) - scores.mean(axis=0)
    of_rows = gap.var() / n + 2 / n**2  # with one more row that differs either way
    parts = [away.mean(axis=1).var(ddof=1) / 2, scores.mean(axis=1).var(ddof=1) / 2]
    of_trainings = sum(parts)
    welch = of_trainings**2 / sum(v**2 for v in parts)
    variance = of_rows + of_trainings
    freedom = variance / (of_rows / (n - 1) + of_trainings / welch)
    half = stats.t.ppf(0.975, freedom) * variance**0.5
    difference = place(report, ENCODERS[1], "digits", "sprites")["minus_own"]
    assert difference["value"] == pytest.approx(gap.mean())
    assert (difference["low"], difference["high"]) == pytest.approx(
        (gap.mean() - half, gap.mean() + half)
    )
    assert difference["p"] == pytest.approx(
        2 * stats.t.sf(abs(gap.mean()) / variance**0.5, freedom)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("minus_own", 4), ("minus_untrained", 8)])
def test_every_difference_is_paired_and_holms_adjustment_is_over_its_kind(
    report: Report, folder: Path, kind: str, count: int
) -> None:
    compared = [cell for cell in report.data["cells"] if cell[kind]]
    assert len(compared) == count
    for cell in compared:
        reference = f"{cell['encoder']}~64" if kind == "minus_own" else UNTRAINED
        task = f"{cell['target']}-linear"
        difference, p = paired_difference(
            rows(folder, cell["spec"], task), rows(folder, reference, task)
        )
        entry = cell[kind]
        assert [entry[k] for k in ("value", "low", "high", "p")] == pytest.approx(
            [difference.value, difference.low, difference.high, p]
        )
    adjusted = [cell[kind]["adjusted"] for cell in compared]
    assert adjusted == holm([cell[kind]["p"] for cell in compared])


@pytest.mark.slow
def test_what_is_below_what_is_judged_by_the_adjusted_p(report: Report) -> None:
    claims = report.data["claims"]
    assert len(claims) == 6
    for encoder, pair in zip(ENCODERS, (claims[2:4], claims[4:]), strict=True):
        away = [place(report, encoder, *names_) for names_ in (NAMES, NAMES[::-1])]
        gained, lost = ([cell[k] for cell in away] for k in ("minus_untrained", "minus_own"))
        assert pair[0]["holds"] is all(d["value"] > 0 and d["adjusted"] < 0.05 for d in gained)
        assert pair[1]["holds"] is all(d["value"] < 0 and d["adjusted"] < 0.05 for d in lost)
        assert encoder in pair[0]["claim"] and encoder in pair[1]["claim"]


@pytest.mark.slow
def test_the_loss_of_the_two_encoders_is_the_difference_of_their_differences(
    report: Report,
) -> None:
    for claim, target, source in zip(report.data["claims"], NAMES, NAMES[::-1], strict=False):
        plain, labelled = (
            -100 * place(report, e, source, target)["minus_own"]["value"] for e in ENCODERS
        )
        numbers = [float(re.search(r"[-+]?\d+\.\d+", part)[0]) for part in claim["measured"]]
        assert numbers == pytest.approx([plain, labelled, labelled - plain], abs=0.0051)


def scores(count: int, n: int, chance: float, seed: int) -> Any:
    return (np.random.default_rng(seed).random((count, n)) < chance).astype(float)


@pytest.mark.parametrize("count", [1, 3])
def test_weights_of_one_and_minus_one_are_the_paired_difference(count: int) -> None:
    a, b = scores(count, 300, 0.7, 0), scores(3, 300, 0.6, 1)
    result, expected = weighted([(1.0, a), (-1.0, b)]), paired_difference(a, b)
    assert [result[0].value, result[0].low, result[0].high, result[1]] == pytest.approx(
        [expected[0].value, expected[0].low, expected[0].high, expected[1]]
    )


def test_weighted_intervals_hold_a_difference_of_differences() -> None:
    """Trainings that differ by much, rows by their difficulty: about 95 in 100 hold the truth."""
    rng, held, weights = np.random.default_rng(0), 0, (1.0, -0.5, -0.5, -1.0, 0.5, 0.5)
    means = rng.uniform(-1, 1, size=6)
    for _ in range(400):
        hard = rng.normal(size=50)
        parts = [
            (w, m * hard + 3 * rng.normal(size=(3, 1)) + m)
            for w, m in zip(weights, means, strict=True)
        ]
        interval = weighted(parts)[0]
        held += interval.low <= float(np.dot(weights, means)) <= interval.high
    assert 0.92 <= held / 400 <= 0.98


def compared(value: float, adjusted: float) -> Difference:
    return Difference(value, value - 0.1, value + 0.1, adjusted, adjusted)


def measured() -> MeasuredCells:
    return MeasuredCells(Store(Path("nowhere")), {})


@pytest.mark.parametrize(
    ("gained", "lost", "holds"),
    [
        ((0.2, 0.3), (-0.2, -0.3), [True, True]),
        ((0.2, -0.3), (-0.2, 0.3), [False, False]),
        ((-0.2, -0.3), (0.2, 0.3), [False, False]),
        ((0.2, 0.0), (0.0, -0.3), [False, False]),
    ],
)
def test_one_source_that_does_not_breaks_what_is_always_so(
    gained: tuple[float, ...],
    lost: tuple[float, ...],
    holds: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "ENCODERS", ("e",))
    away = [Transfer("e", *pair) for pair in (NAMES, NAMES[::-1])]
    every: Any = dict.fromkeys(away)
    differences = [
        {a: compared(v, 0.01 if v else 0.9) for a, v in zip(away, values, strict=True)}
        for values in (lost, gained)
    ]
    scores = TransferScores((), every, measured(), *differences)
    assert [claim.holds for claim in transfer._always(scores)] == holds


@pytest.mark.parametrize(
    ("plain", "labelled", "holds"),
    [(0.85, 0.6, True), (0.6, 0.85, False), (0.85, 0.85, False)],
)
def test_who_loses_less_is_said_only_beyond_doubt(
    plain: float, labelled: float, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = {"a": plain, "b": labelled}

    def drawn(_: Any, place: Transfer) -> Any:
        seed = sum(map(ord, "".join((place.encoder, place.source, place.target))))
        chance = 0.9 if place == place.own else off[place.encoder]
        return scores(3, 1000, chance, seed)

    monkeypatch.setattr(TransferScores, "rows", drawn)
    monkeypatch.setattr(transfer, "ENCODERS", ("a", "b"))
    cells: Any = dict.fromkeys(Transfer(e, s, t) for e in "ab" for s in "xyz" for t in "xyz")
    claims = transfer._smaller_losses(TransferScores("xyz", cells, measured(), {}, {}))
    assert [claim.holds for claim in claims] == [holds] * 3


@pytest.mark.slow
def test_the_figure_has_every_number_and_the_text_every_interval(report: Report) -> None:
    svg = report.figures["transfer.svg"].decode()
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    written = re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", svg)
    for cell in report.data["cells"]:
        value, low, high = (100 * cell["accuracy"][k] for k in ("value", "low", "high"))
        assert f"{value:.2f}" in written
        assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in report.text
        for kind in ("minus_own", "minus_untrained"):
            if cell[kind]:
                label = f"{100 * cell[kind]['value']:+.2f}"
                assert f"{label} [" in report.text
                assert kind == "minus_untrained" or label in written
    assert {*NAMES, NONE, *ENCODERS} <= {*written}


def test_matrices_keep_the_order_that_they_are_given_in() -> None:
    cells = [
        {"x": x, "y": y, "side": side, "off": 0.0, "label": f"{side}{y}{x}"}
        for side in "ba"
        for y in "dc"
        for x in "fe"
    ]
    svg = heat(cells, x="x", y="y", side="side", colour="off", label="label").decode()
    places = re.findall(r'<text[^>]*transform="translate\(([\d.]+),([\d.]+)\)[^>]*>([ab]..)<', svg)
    by_row = {text: (float(y), float(x)) for x, y, text in places}
    for side in "ba":
        assert sorted((k for k in by_row if k[0] == side), key=by_row.__getitem__) == [
            f"{side}{pair}" for pair in ("df", "de", "cf", "ce")
        ]
    assert svg.index("bdf") < svg.index("adf")


@pytest.mark.slow
def test_run_again_it_does_nothing_new(
    report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.runner.run_cell", lambda *_, **__: pytest.fail("run again"))
    again = study(folder)
    assert again.data == report.data and again.text == report.text
    # The process counts its gradients.
    first, second = (
        re.sub(rb"gradient_\d+", b"", r.figures["transfer.svg"]) for r in (report, again)
    )
    assert first == second
    json.dumps(report.data, allow_nan=False)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("mnist fashion_mnits", "did you mean 'fashion_mnist'"),
        ("mnist", "two or more"),
        ("mnist mnist", "two or more"),
        ("", "two or more"),
        ("digits image_folder", "image_folder"),
    ],
)
def test_wrong_names_are_reported_before_any_work(
    tmp_path: Path, names: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "measure", lambda *_: pytest.fail("work"))
    with pytest.raises(BenchError, match=why):
        transfer.run(setting=Setting(DataSets(Path("nowhere")), tmp_path), datasets=names)


def test_another_metric_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_nll(name: str) -> Task:
        task = load(name)
        return replace(task, primary=replace(task.primary, metric="nll"))

    monkeypatch.setattr(base, "load", by_nll)
    with pytest.raises(BenchError, match="digits-linear has nll; it must have accuracy"):
        transfer.run(
            setting=Setting(DataSets(Path("nowhere")), tmp_path), datasets="digits sprites"
        )
