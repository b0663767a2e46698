"""The study of depth on two small data sets: stages by hand, its differences, its figure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.samples import SourceInfo, Target
from bench.datasets.base import DataSets
from bench.drawing.charts import lines
from bench.encoders.base import FitReport
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.autoencoder import Autoencoder
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.results.predictions import unpack
from bench.results.record import Record
from bench.results.status import identities
from bench.results.store import Store
from bench.running.cache import Cache
from bench.running.workspace import Fitted, fresh
from bench.statistics.intervals import mean_interval, paired_difference
from bench.statistics.significance import holm
from bench.studies import base
from bench.studies.base import Report, Setting
from bench.studies.depth import depth
from bench.studies.depth._stages import Stage
from bench.studies.depth.depth import PANELS, DepthScores, StagePoint
from bench.studies.parts.differences import compared
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Task

ENCODERS = ("autoencoder,width=8", "supervised,width=8")  # half the usual, for speed
UNTRAINED = "autoencoder,width=8~0"
NAMES = [*(f"{name}@sprites~64" for name in ENCODERS), UNTRAINED]


def small(name: str) -> Task:
    """Few rows, and a protocol that takes no time."""
    return replace(load(name), protocol="knn,k=5", train_limit=200)


def study(folder: Path, **options: Any) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "load", small)
        patch.setattr(depth, "ENCODERS", ENCODERS)
        patch.setattr(depth, "UNTRAINED", UNTRAINED)
        patch.setattr(depth, "LABELS", 12)
        patch.setattr(depth, "SEEDS", 2)
        setting = Setting(DataSets(Path("nowhere")), folder / "study", Cache(folder / "cache"))
        arguments = {"source": "sprites", "target": "digits", "budget": "64", "images": 64}
        return depth.run(setting=setting, **{**arguments, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("depth")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return study(folder)


def made(name: str, *, channels: int = 1, seed: int = 0) -> Fitted:
    """An untrained encoder under the key of its name and seed."""
    spec = resolve("encoders", name)
    info = SourceInfo(channels, 28, 28, {"label": Target("classes", 10, ())})
    return Fitted(fresh(spec, info, seed, {}), f"{name}/{seed}", FitReport())


def place(report: Report, encoder: str, panel: str, stage: int) -> Any:
    expected = {"encoder": encoder, "panel": panel, "stage": stage}
    [point] = [
        candidate for candidate in report.data["places"] if expected.items() <= candidate.items()
    ]
    return point


def places() -> Iterator[tuple[str, str, int]]:
    for panel in PANELS:
        for encoder in NAMES:
            for stage in range(4):
                yield encoder, panel, stage


def rows(folder: Path, encoder: str, panel: str, stage: int) -> Any:
    """Rights and wrongs (r, n) from the stored classes alone."""
    data = "sprites" if panel == "source" else "digits"
    if panel == "tuned":
        files = [f"reptransfer/{encoder}/digits-frozen{stage}.npz"]
    elif stage:
        files = [f"local/{encoder}-seed{s}-stage{stage}/{data}-linear+few.npz" for s in (0, 1)]
    else:
        channels = 1 if encoder == UNTRAINED and data == "digits" else 3
        files = [f"local/images-{channels}x32x32/{data}-linear+few.npz"]
    scores = []
    for name in files:
        with np.load(folder / "study" / "cells" / name) as file:
            stored = unpack(dict(file))
        [target] = [key for key in stored if key.startswith("truth/")]
        entry = target.removeprefix("truth/")
        count = sum(key.endswith(f"/{entry}/class") for key in stored)
        scores += [stored[f"{i}/{entry}/class"] == stored[target] for i in range(count)]
    return np.stack(scores).astype(float)


# --- Stages


@pytest.mark.parametrize("name", ["autoencoder", "supervised,width=8", "autoencoder,width=8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_stage_is_the_trunks_maps_of_which_each_cells_largest_value_is_kept(
    name: str, channels: int
) -> None:
    fitted = made(name, channels=channels)
    images = torch.rand(3, channels, 32, 32)
    encoder: Any = fitted.encoder
    maps = encoder.trunk.maps(images)
    for stage, activations in enumerate(maps, 1):
        n, c, side, _ = activations.shape
        cells = activations.view(n, c, 4, side // 4, 4, side // 4).amax(dim=(3, 5)).flatten(1)
        features = Stage(fitted, stage, "x").taps(images)["stage"]
        assert torch.equal(features, cells)
        assert Stage(fitted, stage, "x").dims == {"stage": c * 16}


def test_the_stages_are_what_the_level_multi_has_and_the_last_is_the_trunk() -> None:
    fitted, images = made("autoencoder,width=8"), torch.rand(2, 1, 32, 32)
    taps = fitted.encoder.taps(images)
    outputs = [Stage(fitted, stage, "x")(images) for stage in (1, 2, 3)]
    assert torch.equal(torch.cat(outputs, dim=1), taps["multi"])
    assert torch.equal(outputs[-1], fitted.encoder(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_stage_0_is_every_pixel_under_one_name_for_all(channels: int) -> None:
    images = torch.rand(2, channels, 32, 32)
    stages = [
        Stage(made("autoencoder", channels=channels, seed=seed), 0, f"x-seed{seed}")
        for seed in (0, 1)
    ]
    for stage in stages:
        assert torch.equal(stage(images), images.flatten(1))
        assert stage.name == f"images-{channels}x32x32"
    first, second = (identities(Cell(load("digits-linear"), stage)) for stage in stages)
    assert first == second


def test_a_stages_identity_depends_on_its_encoders_key_and_on_its_depth() -> None:
    """Equal weights under another key, as after a raised REVISION, are another encoder."""
    fitted = made("autoencoder")
    again = replace(fitted, key="another")
    pooled = [Stage(fitted, 1, "x"), Stage(fitted, 2, "x"), Stage(again, 1, "x")]
    digests = {identities(Cell(load("digits-linear"), stage)).encoder.digest for stage in pooled}
    assert len(digests) == 3
    same = Stage(made("autoencoder"), 1, "x")
    assert identities(Cell(load("digits-linear"), same)).encoder.digest in digests


def test_a_stage_changes_nothing_in_its_encoder() -> None:
    fitted = made("autoencoder")
    before = {name: tensor.clone() for name, tensor in fitted.encoder.state_dict().items()}
    Stage(fitted, 2, "x")
    after = fitted.encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# --- Cells


@pytest.mark.slow
def test_the_tasks_of_each_depth(folder: Path, report: Report) -> None:
    entries = Store(folder / "study" / "cells").records()
    records = [r for r in entries if isinstance(r, Record)]
    stages = {f"{n}-seed{s}-stage{k}" for n in NAMES for s in (0, 1) for k in (1, 2, 3)}
    tasks = ("sprites-linear+few", "digits-linear+few")
    assert {(r.encoder.id, r.task.id) for r in records} == {
        *((name, task) for name in (*stages, "images-3x32x32") for task in tasks),
        ("images-1x32x32", tasks[1]),  # those of sprites see colours
        *((name, f"digits-frozen{k}") for name in NAMES for k in range(4)),
    }
    for record in records:
        shape = 10 if record.data.id == "digits" else 5
        assert {r.n_train for r in record.replicates} == {12 * shape}
        of_task = f"@{record.data.id}~" in record.encoder.id  # was it trained on these images?
        labels_seen = "labels" if of_task else "labels elsewhere"
        supervised = record.encoder.id.startswith("supervised")
        assert record.supervision == (labels_seen if supervised else "none")
    tuned = {r.task.id[-1]: r.protocol.arguments for r in records if "+" not in r.task.id}
    assert {k: (a["images"], a["blocks"]) for k, a in tuned.items()} == {
        "0": (64, 3),
        "1": (64, 2),
        "2": (64, 1),
        "3": (0, 1),
    }


@pytest.mark.slow
def test_fewer_parameters_are_tuned_with_more_stages_frozen(folder: Path, report: Report) -> None:
    base = folder / "study" / "cells" / "reptransfer" / UNTRAINED
    counts = []
    for frozen in range(4):
        record = json.loads((base / f"digits-frozen{frozen}.json").read_text())
        counts.append(record["replicates"][0]["report"]["parameters"])
        assert (record["tuning"] is None) == (frozen == 3)
        rate = place(report, UNTRAINED, "tuned", frozen)["rate"]
        assert rate == (record["tuning"] or {"chosen": {"rate": None}})["chosen"]["rate"]
    encoder: Any = made(UNTRAINED).encoder
    blocks = [sum(p.numel() for p in block.parameters()) for block in encoder.trunk.blocks]
    head = 16 * 32 * 10 + 10
    assert counts == [sum(blocks) + head, sum(blocks[1:]) + head, blocks[2] + head, 0]


def test_by_default_the_usual_encoders_and_plain_tasks_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Any] = []

    def stop(*arguments: Any) -> Any:
        requests.extend(arguments[1:])
        raise BenchError("enough")

    monkeypatch.setattr(depth, "_stages", stop)
    with pytest.raises(BenchError, match="enough"):
        depth.run(setting=Setting(DataSets(Path("nowhere")), tmp_path))
    tasks, specs = requests
    assert [s.text for s in specs] == ["autoencoder@mnist", "supervised@mnist", "autoencoder~0"]
    for task, name in zip(tasks.values(), ("mnist", "fashion_mnist"), strict=True):
        plain = load(f"{name}-linear")
        assert task.parent == plain.digest and task.validation
        assert (task.protocol, task.primary) == ("linear", plain.primary)
        assert (task.replicates.per_class, task.replicates.seeds) == ((1000,), 1)
    tuned = [depth.tuned_task(tasks["target"], frozen, 50_000) for frozen in range(4)]
    assert {t.input for t in tuned} == {"activations"} and {t.family for t in tuned} == {"finetune"}
    assert all(t.replicates.seeds == 3 and t.replicates.per_class == (1000,) for t in tuned)


# --- The report


@pytest.mark.slow
def test_accuracies_are_those_of_the_stored_predictions(report: Report, folder: Path) -> None:
    for key in places():
        scores = rows(folder, *key)
        accuracy, expected = place(report, *key)["accuracy"], mean_interval(scores)
        assert len(scores) == (1 if key[1] != "tuned" and key[2] == 0 else 2)
        assert [accuracy[k] for k in ("value", "low", "high")] == pytest.approx(
            [expected.value, expected.low, expected.high]
        )
    for name in NAMES:
        for frozen in range(4):  # as the runner has it, which knows the replicates' keys
            path = f"reptransfer/{name}/digits-frozen{frozen}.json"
            record = json.loads((folder / "study" / "cells" / path).read_text())
            accuracy = place(report, name, "tuned", frozen)["accuracy"]
            assert accuracy == {k: record["primary"][k] for k in accuracy}


@pytest.mark.slow
def test_every_difference_is_paired_and_holms_adjustment_is_over_its_table(
    report: Report, folder: Path
) -> None:
    for panels, count in ((PANELS[:2], 12 + 18), (PANELS[2:], 8 + 9)):
        differences, p_values = [], []
        for kind in ("minus_untrained", "minus_first"):
            for encoder, panel, stage in places():
                entry = place(report, encoder, panel, stage)[kind]
                if panel not in panels or entry is None:
                    continue
                reference = (UNTRAINED, panel, stage)
                if kind == "minus_first":
                    reference = (encoder, panel, 0)
                difference, p = paired_difference(
                    rows(folder, encoder, panel, stage), rows(folder, *reference)
                )
                assert [entry[k] for k in ("value", "low", "high", "p")] == pytest.approx(
                    [difference.value, difference.low, difference.high, p]
                )
                differences.append(entry["adjusted"])
                p_values.append(p)
        assert len(differences) == count and differences == pytest.approx(holm(p_values))


def rights(chance: float, seed: int) -> Any:
    return (np.random.default_rng(seed).random((3, 2000)) < chance).astype(float)


def drawn(chances: dict[tuple[str, str], tuple[float, ...]]) -> DepthScores:
    """Trunk "a" and the untrained "u" at accuracies of four stages, by panel."""
    scores = {
        StagePoint(encoder, panel, stage): rights(chance, 100 * number + stage)
        for number, ((encoder, panel), levels) in enumerate(chances.items())
        for stage, chance in enumerate(levels)
    }
    return DepthScores.of(scores)


FLAT = dict.fromkeys((("u", panel) for panel in PANELS), (0.6, 0.6, 0.6, 0.6))


@pytest.mark.parametrize(
    ("source", "target", "tuned", "holds"),
    [
        ((0.6, 0.7, 0.8, 0.9), (0.6, 0.8, 0.9, 0.8), (0.95, 0.9, 0.85, 0.8), [1, 1, 1, 1, 1]),
        ((0.6, 0.7, 0.7, 0.9), (0.6, 0.8, 0.9, 0.9), (0.9, 0.9, 0.8, 0.7), [0, 0, 1, 1, 0]),
        ((0.6, 0.5, 0.7, 0.6), (0.9, 0.6, 0.9, 0.8), (0.6, 0.9, 0.9, 0.9), [0, 0, 0, 0, 0]),
    ],
)
def test_claims_hold_only_beyond_doubt(source: Any, target: Any, tuned: Any, holds: Any) -> None:
    levels = dict(zip((("a", panel) for panel in PANELS), (source, target, tuned), strict=True))
    data = {"source": "s", "target": "t", "tuned": "t"}
    claims = depth.claims_of(drawn({**levels, **FLAT}), data, "a")
    assert [claim.holds for claim in claims] == [bool(flag) for flag in holds]
    assert all("a`" in claim.statement for claim in claims)


def test_steps_are_adjusted_over_what_is_compared_at_once() -> None:
    scores = drawn({("a", "source"): (0.6, 0.61, 0.6, 0.64), **FLAT})
    pairs = [(StagePoint("a", "source", k), StagePoint("a", "source", k - 1)) for k in (1, 2, 3)]
    steps = compared(scores.rows, {pair: pair for pair in pairs})
    assert [step.adjusted for step in steps.values()] == holm([s.p for s in steps.values()])
    for (later, earlier), step in steps.items():
        assert step.value == pytest.approx(scores.rows[later].mean() - scores.rows[earlier].mean())


# --- The figure


def labels(svg: str) -> list[dict[str, str]]:
    """The label of each mark."""
    labels = (html.unescape(label) for label in re.findall(r'aria-label="([^"]*)"', svg))
    return [dict(p.split(": ", 1) for p in label.split("; ")) for label in labels if "; " in label]


@pytest.mark.slow
def test_the_figure_has_every_number_and_the_text_every_interval(report: Report) -> None:
    svg = report.figures["depth.svg"].decode()
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    marks = labels(svg)
    for key in places():
        accuracy = place(report, *key)["accuracy"]
        value, low, high = (100 * accuracy[k] for k in ("value", "low", "high"))
        texts = [
            mark
            for mark in marks
            if mark["trunk"] == key[0] and mark[depth.X] == str(key[2]) and "high" not in mark
        ]
        assert any(float(mark["accuracy, %"]) == pytest.approx(value, abs=1e-6) for mark in texts)
        bars = [mark for mark in marks if mark["trunk"] == key[0] and "high" in mark]
        assert any(
            float(mark["accuracy, %"]) == pytest.approx(low, abs=1e-6)
            and float(mark["high"]) == pytest.approx(high, abs=1e-6)
            for mark in bars
        )
        assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in report.text
        for kind in ("minus_untrained", "minus_first"):
            if place(report, *key)[kind]:
                assert f"{100 * place(report, *key)[kind]['value']:+.2f} [" in report.text
    written = {html.unescape(t) for t in re.findall(r"<text[^>]*>([^<]+)<", svg)}
    assert {*NAMES, "probe on sprites", "probe on digits", "tuned on digits"} <= written


def test_lines_stand_in_the_order_that_they_are_given_in() -> None:
    points = [
        {"x": x, "y": 1.0, "lo": 0.5, "hi": 1.5, "line": line, "side": side}
        for side in "ba"
        for line in "dc"
        for x in "fe"
    ]
    svg = lines(points, x="x", y="y", ends=("lo", "hi"), line="line", side="side").decode()
    texts = re.findall(r"<text[^>]*>([a-f])<", svg)
    assert [t for t in texts if t in "ab"] == ["b", "a"]
    assert [t for t in texts if t in "cd"] == ["d", "c"]
    assert [t for t in texts if t in "ef"] == ["f", "e"] * 2
    assert len([mark for mark in labels(svg) if "high" in mark]) == 8


# --- Again, and what is refused


@pytest.mark.slow
def test_run_again_it_computes_nothing(
    report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.runner.run_cell", lambda *_, **__: pytest.fail("run again"))
    for kind in (Autoencoder, Supervised):
        monkeypatch.setattr(kind, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = study(folder)
    assert again.data == report.data and again.text == report.text
    first, second = (
        re.sub(rb"(gradient|clip)_?\d+", b"", r.figures["depth.svg"]) for r in (report, again)
    )
    assert first == second
    json.dumps(report.data, allow_nan=False)
    # Each was trained once, for its stages and for tuning.
    assert len(list((folder / "cache" / "weights").glob("*.safetensors"))) == 4


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"target": "fashion_mnits"}, "did you mean 'fashion_mnist'"),
        ({"source": "mnits"}, "did you mean 'mnist'"),
        ({"target": "image_folder"}, "image_folder"),
        ({"target": "mnist"}, "give two data sets"),
        ({"budget": "many"}, "not a count of images"),
        ({"images": 0}, "1 or more"),
    ],
)
def test_wrong_names_are_reported_before_any_work(
    tmp_path: Path, options: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth, "_stages", lambda *_: pytest.fail("work"))
    with pytest.raises(BenchError, match=why):
        depth.run(setting=Setting(DataSets(Path("nowhere")), tmp_path), **options)


def test_too_few_labels_are_reported_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench.running.workspace.Workspace.fitted", lambda *_, **__: pytest.fail("trained")
    )
    with pytest.raises(BenchError, match="depth: digits: class 0 has"):
        depth.run(
            setting=Setting(DataSets(Path("nowhere")), tmp_path), source="sprites", target="digits"
        )


def test_another_metric_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_nll(name: str) -> Task:
        task = load(name)
        return replace(task, primary=replace(task.primary, metric="nll"))

    monkeypatch.setattr(base, "load", by_nll)
    with pytest.raises(BenchError, match="mnist-linear has nll; it must have accuracy"):
        depth.run(setting=Setting(DataSets(Path("nowhere")), tmp_path))
