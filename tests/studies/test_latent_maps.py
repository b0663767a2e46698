"""Measures of the plane of codes against closed forms, and the study on digits."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from bench.data.samples import SourceInfo
from bench.datasets.base import DataSets
from bench.drawing.sheet import sheet
from bench.encoders.parts.trunk import Sizes
from bench.encoders.parts.variational import Variational, divergence
from bench.encoders.variational.vae import evidence_bound
from bench.errors import BenchError
from bench.running.cache import Cache
from bench.studies.base import Report, Setting
from bench.studies.latent_maps import latent_maps
from bench.studies.latent_maps.latent_maps import divergence_alone, neighbours, prior_grid, sliced
from bench.studies.parts.partial import trained
from bench.studies.parts.samples import inside, within

GREY = SourceInfo(1, 8, 8, {})


def model(objective: object = divergence_alone) -> Variational:
    torch.manual_seed(0)
    return Variational(GREY, Sizes(2, 8, 1e-3), objective=objective)  # type: ignore[arg-type]


def test_the_divergence_alone_is_that_of_torch_distributions_and_spares_the_decoder() -> None:
    encoder, images = model(), torch.rand(6, 1, 32, 32)
    terms = divergence_alone(encoder, 0)(images, np.arange(6))
    mean, log_variance = encoder.posterior(images)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-5)
    assert list(terms) == ["divergence"]
    assert torch.allclose(terms["divergence"], expected.sum(dim=1).mean(), atol=1e-5)
    terms["divergence"].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in encoder.decoder.parameters())
    assert encoder.to_mean.weight.grad is not None


def test_it_is_what_the_evidence_bound_has_beside_the_reconstruction() -> None:
    encoder, images, rows = model(), torch.rand(6, 1, 32, 32), np.arange(6)
    whole = evidence_bound(1.0)(encoder, 0)(images, rows)
    assert torch.equal(
        whole["divergence"], divergence_alone(encoder, 0)(images, rows)["divergence"]
    )
    assert not evidence_bound(0.0)(encoder, 0)(images, rows)["divergence"].any()


@pytest.mark.parametrize(("m", "s"), [((0.0, 0.0), 1.0), ((2.0, -1.0), 1.0), ((0.5, 0.0), 3.0)])
def test_the_distance_of_gaussian_codes_is_its_closed_form(
    m: tuple[float, float], s: float
) -> None:
    codes = torch.tensor(m) + s * torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0))
    expected = math.sqrt((m[0] ** 2 + m[1] ** 2) / 2 + (s - 1) ** 2)
    assert sliced(codes) == pytest.approx(expected, abs=0.02)


def test_on_one_line_the_distance_is_scipys_and_a_turn_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    codes = torch.tensor(rng.gamma(2.0, size=(300, 2)))
    normal = stats.norm.ppf((np.arange(300) + 0.5) / 300)
    by_hand = np.sqrt(np.mean((np.sort(codes[:, 0].numpy()) - normal) ** 2))
    assert sliced(codes, directions=1) == pytest.approx(by_hand)
    turn = math.pi / 64
    c, s = math.cos(turn), math.sin(turn)
    assert sliced(codes @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64)) == pytest.approx(
        sliced(codes)
    )


def test_neighbours_vote_as_in_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    bank, queries, classes = (
        rng.normal(size=(80, 2)),
        rng.normal(size=(60, 2)),
        rng.integers(0, 3, 80),
    )
    expected = KNeighborsClassifier(15).fit(bank, classes).predict(queries)
    classes_found = neighbours(torch.tensor(queries), torch.tensor(bank), torch.tensor(classes))
    assert len(set(expected)) == 3 and classes_found.tolist() == expected.tolist()


def test_the_grid_cuts_the_prior_into_equal_masses_right_and_up() -> None:
    grid = prior_grid(4).view(4, 4, 2)
    masses = torch.special.ndtr(grid.double())
    assert torch.allclose(masses[0, :, 0], (torch.arange(4.0).double() + 0.5) / 4)
    assert bool((grid[:, 1:, 0] > grid[:, :-1, 0]).all()), "to the right"
    assert bool((grid[1:, :, 1] < grid[:-1, :, 1]).all()), "down"


def test_the_share_within_is_that_of_those_inside() -> None:
    points, others = torch.randn(30, 2), 2 * torch.randn(50, 2)
    flags = inside(points, others)
    assert flags.shape == (50,) and 0 < flags.sum() < 50
    assert within(points, others) == pytest.approx(float(flags.double().mean()))


def test_weights_come_back_from_the_cache_for_an_equal_recipe_alone(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), list[int]()

    def made(seed: int) -> torch.Tensor:
        layer = torch.nn.Linear(2, 2)

        def train() -> None:
            calls.append(seed)
            torch.nn.init.constant_(layer.weight, seed)

        trained(layer, {"what": "layer", "seed": seed}, train, cache)
        return layer.weight.detach()

    assert float(made(3).mean()) == 3 and float(made(3).mean()) == 3 and float(made(4).mean()) == 4
    assert calls == [3, 4]


def test_heads_stand_above_the_columns_of_a_sheet_and_grey_stays_grey() -> None:
    tiles = np.zeros((3, 1, 40, 40))
    plain, headed = (
        Image.open(io.BytesIO(sheet([("row\nname", tiles)], scale=1, heads=heads)))
        for heads in ((), ("a", "b\nc", "d"))
    )
    assert headed.mode == plain.mode == "L"
    assert headed.width == plain.width and headed.height > plain.height + 20
    above = np.asarray(headed)[: headed.height - plain.height]
    assert above.min() < 128, "something is written there"
    below = np.asarray(headed)[headed.height - plain.height :]
    np.testing.assert_array_equal(below, np.asarray(plain))
    coloured = sheet([("x", np.random.default_rng(0).random((1, 3, 8, 8)))])
    assert Image.open(io.BytesIO(coloured)).mode == "RGB"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("maps")


def study(folder: Path) -> Report:
    setting = Setting(DataSets(Path("nowhere")), folder, cache=Cache(folder / "cache"))
    return latent_maps.run(setting=setting, dataset="digits", budget="640", seeds=2, images=60)


@pytest.fixture(scope="module")
def report(folder: Path) -> Iterator[Report]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            latent_maps,
            "SPECS",
            {n: s.replace("vae", "vae,width=8") for n, s in latent_maps.SPECS.items()},
        )
        yield study(folder)


@pytest.mark.slow
def test_the_study_tells_of_three_maps(report: Report) -> None:
    maps = report.data["maps"]
    assert list(maps) == ["reconstruction only", "KL only", "both"]
    alone, both = maps["KL only"], maps["both"]
    assert alone["divergence"]["value"] < both["divergence"]["value"]
    assert maps["reconstruction only"]["divergence"]["value"] > both["divergence"]["value"]
    for summary in maps.values():
        nats = [sum(training["divergence by unit"]) for training in summary["trainings"]]
        assert summary["divergence"]["value"] == pytest.approx(np.mean(nats))
        for training in summary["trainings"]:
            assert training["units in use"] == sum(v > 0.01 for v in training["variance of means"])
    assert len(report.data["claims"]) == 7
    json.dumps(report.data, allow_nan=False)


@pytest.mark.slow
def test_its_figures_are_pictures(report: Report) -> None:
    assert set(report.figures) == {"codes.png", "prior.png"}
    for figure in report.figures.values():
        assert len(figure) < 300_000
        assert min(Image.open(io.BytesIO(figure)).size) > 300


@pytest.mark.slow
def test_it_goes_on_from_the_cache(
    report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(Variational, "fit", none)
    assert study(folder).data == report.data


def test_wrong_arguments_are_refused() -> None:
    setting = Setting(DataSets(Path("x")), Path("x"))
    with pytest.raises(BenchError, match="2 or more"):
        latent_maps.run(setting=setting, seeds=1)
    with pytest.raises(BenchError, match="10 or more"):
        latent_maps.run(setting=setting, images=9)
