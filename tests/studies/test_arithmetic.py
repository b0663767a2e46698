"""Vector arithmetic in a world where it is exact, and the study on sprites."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.datasets import sprites
from bench.datasets.base import DataSets
from bench.errors import BenchError
from bench.running.cache import Cache
from bench.studies.arithmetic import arithmetic
from bench.studies.arithmetic._measures import (
    ANALOGY,
    FACTORS,
    HIT,
    PRESERVED,
    CodeReader,
    FactorImages,
    between,
    means,
    other_classes,
    random_directions,
    scores,
)
from bench.studies.arithmetic.arithmetic import BOUND, MEANS, RANDOM, WAYS
from bench.studies.base import Report, Setting

SIZES = {"form": 4, "hue": 3, "side": 5}
DIM = 40


class World:
    """Codes that are sums of one vector a value, orthogonal to all others, and a judge that finds them."""

    def __init__(self) -> None:
        vectors = torch.linalg.qr(
            torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(0))
        )[0]
        ends = np.cumsum([0, *SIZES.values()])
        self.vectors = {
            name: vectors[start:end]
            for name, start, end in zip(SIZES, ends[:-1], ends[1:], strict=True)
        }
        grid = np.indices(tuple(SIZES.values())).reshape(len(SIZES), -1)
        self.classes = dict(zip(SIZES, grid, strict=True))
        self.codes = torch.stack([self.vectors[n][c] for n, c in self.classes.items()]).sum(dim=0)

    def see(self, codes: Tensor) -> Mapping[str, Any]:
        return {name: (codes @ v.T).argmax(dim=1).numpy() for name, v in self.vectors.items()}


@pytest.mark.parametrize("factor", SIZES)
def test_with_a_linear_decoder_every_analogy_is_right_and_random_ones_are_not(factor: str) -> None:
    world = World()
    before = world.see(world.codes)
    assert all((before[name] == world.classes[name]).all() for name in SIZES)
    classes = world.classes[factor]
    goals = other_classes(classes, SIZES[factor], np.random.default_rng(0))
    centres = means(world.codes, classes, SIZES[factor])
    shifts = centres[goals] - centres[classes]
    exact = world.vectors[factor][goals] - world.vectors[factor][classes]
    assert torch.allclose(shifts, exact, atol=1e-5)
    values = scores(world.see(world.codes + shifts), before, factor, goals)
    assert values[HIT].all() and values[PRESERVED].min() == 1 and values[ANALOGY].all()
    noise = torch.Generator().manual_seed(1)
    control = [
        scores(world.see(world.codes + random_directions(shifts, noise)), before, factor, goals)
        for _ in range(20)
    ]
    # Not even as often as who guesses another class.
    assert np.mean([draw[HIT] for draw in control]) < 1 / (SIZES[factor] - 1) / 4


def test_scores_by_hand() -> None:
    before = {"a": np.array([0, 1, 0, 1]), "b": np.array([2, 2, 2, 2]), "c": np.array([5, 5, 5, 5])}
    seen = {"a": np.array([1, 1, 1, 0]), "b": np.array([2, 2, 3, 3]), "c": np.array([5, 5, 5, 6])}
    values = scores(seen, before, "a", np.array([1, 1, 1, 1]))
    assert values[HIT].tolist() == [1, 0, 1, 0], "the second was seen as asked before"
    assert values[PRESERVED].tolist() == [1, 1, 0.5, 0]
    assert values[ANALOGY].tolist() == [1, 0, 0, 0]


def test_means_are_those_of_each_class() -> None:
    codes, classes = torch.randn(50, 3), np.arange(50) % 4
    centres = means(codes, classes, 4)
    for number in range(4):
        assert torch.allclose(centres[number], codes[classes == number].mean(dim=0), atol=1e-6)


def test_every_other_class_is_requested_and_never_the_own() -> None:
    classes = np.arange(4000) % 5
    goals = other_classes(classes, 5, np.random.default_rng(0))
    assert not (goals == classes).any()
    counts = np.bincount((goals - classes) % 5, minlength=5)
    assert counts[0] == 0 and counts[1:].min() > 900


def test_controls_are_as_long_as_the_shifts_and_point_elsewhere() -> None:
    shifts = torch.randn(2000, 8) * torch.rand(2000, 1)
    noise = torch.Generator().manual_seed(0)
    drawn = random_directions(shifts, noise)
    assert torch.allclose(drawn.norm(dim=1), shifts.norm(dim=1), rtol=1e-5)
    units = drawn / drawn.norm(dim=1, keepdim=True)
    assert torch.allclose(torch.cov(units.T), torch.eye(8) / 8, atol=0.02), "no direction preferred"
    assert float(torch.cosine_similarity(drawn, shifts).mean().abs()) < 0.03
    flat = torch.randn(100, 8) * torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0])
    pairs = between(flat, shifts, noise)
    assert torch.allclose(pairs.norm(dim=1), shifts.norm(dim=1), rtol=1e-5)
    assert float(pairs[:, 2:].abs().max()) == 0, "along the directions in which codes differ"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic, "LESSONS", 300)
        folder = tmp_path_factory.mktemp("arithmetic")
        setting = Setting(DataSets(Path("nowhere")), folder, cache=Cache(folder / "cache"))
        arguments = {
            "encoders": "autoencoder,width=8 supervised,width=8",
            "budget": "640",
            "seeds": 2,
        }
        return arithmetic.run(setting=setting, images=20, draws=2, **arguments)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_study_tells_of_every_encoder_factor_and_way(report: Report) -> None:
    rows = {(r["encoder"], r["factor"], r["way"]): r for r in report.data["scores"]}
    assert len(rows) == len(report.data["scores"]) == 2 * (len(FACTORS) + 1) * len(WAYS)
    for row in rows.values():
        for name in ("hit", "kept", "analogy"):
            assert 0 <= row[name]["value"] <= 1
        assert row["analogy"]["value"] <= row["hit"]["value"]
    by_hand = np.mean([rows["supervised,width=8", f, BOUND]["hit"]["value"] for f in FACTORS])
    assert rows["supervised,width=8", "mean of the factors", BOUND]["hit"][
        "value"
    ] == pytest.approx(by_hand)
    assert len(report.data["claims"]) == 7
    assert set(report.data["judge"]) == set(FACTORS)
    json.dumps(report.data, allow_nan=False)


@pytest.mark.slow
def test_its_picture_has_a_row_a_way_of_each_encoder(report: Report) -> None:
    picture = Image.open(io.BytesIO(report.figures["examples.png"]))
    assert len(report.figures["examples.png"]) < 300_000
    assert picture.height > 8 * 96 and picture.width > 10 * 96


class Known(torch.nn.Module):
    """Codes are the pixels themselves: what decodes to them, or nothing, as `form` says."""

    def __init__(self, decodes: bool) -> None:
        super().__init__()
        from bench.data.images import Input

        self.input, self.dims = Input(size=(32, 32), channels=3), {"code": 3072}
        if decodes:
            self.decode = lambda codes: codes.view(-1, 3, 32, 32)

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        return {"code": images.flatten(1)}


@pytest.fixture(scope="module")
def bench() -> FactorImages:
    judge: Any = torch.nn.Identity()
    return FactorImages.of(DataSets(Path("nowhere"))("sprites"), judge, 40)


def test_sources_are_those_of_the_data_set_and_change_one_factor_alone(bench: FactorImages) -> None:
    dataset = DataSets(Path("nowhere"))("sprites")
    val = dataset.split("val")
    whole: Any = val.x
    rows = [
        int((whole.array == image).all(axis=(1, 2, 3)).argmax()) for image in bench.sources.array
    ]
    for name in FACTORS:
        np.testing.assert_array_equal(val.y[name][rows], bench.classes[name])
        assert not (bench.goals[name] == bench.classes[name]).any()
    drawn = sprites.sample(sprites.ROWS["val"], seed=0, split="val")
    picked = {f: getattr(drawn, f)[rows] for f in drawn.__dataclass_fields__}
    again = sprites.draw(replace(drawn, **{**picked, "colour": bench.goals["colour"]}))
    np.testing.assert_array_equal(bench.changed["colour"].array, again)


def test_without_a_decoder_the_nearest_training_image_is_seen(bench: FactorImages) -> None:
    reader = CodeReader.of(bench, Known(decodes=False))  # type: ignore[arg-type]
    assert not reader.decodes
    rows = np.array([5, 700, 33])
    codes = torch.from_numpy(bench.train.array[rows]).flatten(1).float() / 255 + 0.001
    seen = reader.see(codes)
    for name in FACTORS:
        np.testing.assert_array_equal(seen[name], bench.train_classes[name][rows])
    np.testing.assert_allclose(reader.images(codes), bench.train.array[rows] / 255, atol=1e-6)


def test_with_one_what_decodes_is_shown(bench: FactorImages) -> None:
    reader = CodeReader.of(bench, Known(decodes=True))  # type: ignore[arg-type]
    assert reader.decodes
    codes = reader.codes(bench.sources)
    np.testing.assert_allclose(reader.images(codes), bench.sources.array / 255, atol=1e-6)


def test_wrong_arguments_are_refused() -> None:
    setting = Setting(DataSets(Path("x")), Path("x"))
    for wrong in ({"images": 9}, {"draws": 0}, {"encoders": " "}, {"seeds": 0}):
        with pytest.raises(BenchError, match="or more"):
            arithmetic.run(setting=setting, **wrong)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="no encoder"):
        arithmetic.run(setting=setting, encoders="nothing")
    assert {MEANS, RANDOM, BOUND} < set(WAYS)
