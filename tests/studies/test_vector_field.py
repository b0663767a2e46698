"""The exact arrows against differences of the density, and the study that learns them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from bench.datasets.base import DataSets
from bench.drawing.plane import quiver
from bench.errors import BenchError
from bench.running.cache import Cache
from bench.studies.base import Setting, keep
from bench.studies.vector_field import vector_field
from bench.studies.vector_field._field import PlaneCurve, cosines, network, train


def log_density(curve: PlaneCurve, points: torch.Tensor, sigma: float) -> torch.Tensor:
    """Logarithm of the density of points (n, 2) after noise N(0, sigma^2 I): (n,)."""
    variance = curve.width**2 + sigma**2
    squares = (points.double()[:, None] - curve.centres[None]).square().sum(dim=2)
    scale = math.log(2 * math.pi * variance) + math.log(len(curve.centres))
    return (-squares / (2 * variance)).logsumexp(dim=1) - scale


POINTS = torch.tensor(np.random.default_rng(0).normal(size=(40, 2)))


def few() -> PlaneCurve:
    return PlaneCurve(torch.tensor([[0.0, 0.0], [1.0, 0.3], [-0.5, 0.8]], dtype=torch.float64), 0.2)


@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_the_density_is_that_of_scipys_gaussians(sigma: float) -> None:
    curve = few()
    covariance = (curve.width**2 + sigma**2) * np.eye(2)
    parts = [stats.multivariate_normal(c, covariance).pdf(POINTS.numpy()) for c in curve.centres]
    values = log_density(curve, POINTS, sigma).numpy()
    np.testing.assert_allclose(values, np.log(np.mean(parts, axis=0)), rtol=1e-10)


@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_exact_arrows_are_sigma_squared_times_the_slope_of_the_log_density(sigma: float) -> None:
    curve, step = few(), 1e-5
    sides = []
    for axis in range(2):
        move = step * torch.eye(2, dtype=torch.float64)[axis]
        up, down = (log_density(curve, POINTS + s * move, sigma) for s in (1, -1))
        sides.append((up - down) / (2 * step))
    slope = torch.stack(sides, dim=1)
    assert torch.allclose(curve.arrows(POINTS, sigma), sigma**2 * slope, rtol=1e-5, atol=1e-8)


def test_the_exact_arrow_ends_at_the_mean_of_clean_points_behind_a_noisy_one() -> None:
    """By brute force: clean points weighed by how likely the noise is that leads here."""
    curve, sigma = few(), 0.3
    clean = curve.draw(400_000, torch.Generator().manual_seed(0)).double()
    for place in POINTS[:5] * 0.5:
        weights = (-(clean - place).square().sum(dim=1) / (2 * sigma**2)).softmax(dim=0)
        expected = weights @ clean - place
        assert torch.allclose(curve.arrows(place[None], sigma)[0], expected, atol=0.01)


def test_no_arrows_have_a_smaller_error_than_the_exact_ones() -> None:
    curve, sigma = few(), 0.3
    noise = torch.Generator().manual_seed(1)
    clean = curve.draw(100_000, noise).double()
    moved = clean + sigma * torch.randn(clean.shape, generator=noise)
    arrows = curve.arrows(moved, sigma)

    def error(scale: float, turn: float) -> float:
        c, s = math.cos(turn), math.sin(turn)
        turned = arrows @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
        return float((moved + scale * turned - clean).square().sum(dim=1).mean())

    best = error(1, 0)
    assert best < min(error(0.9, 0), error(1.1, 0), error(1, 0.2), error(1, -0.2), error(0, 0))


def test_the_spirals_centres_are_equally_far_apart_and_on_it() -> None:
    centres = PlaneCurve.spiral(width=0.1).centres
    gaps = (centres[1:] - centres[:-1]).norm(dim=1)
    assert float(gaps.max() / gaps.min()) < 1.06
    radius = centres.norm(dim=1)
    assert bool((radius[1:] > radius[:-1]).all())
    assert float(radius[0]) == pytest.approx(1, abs=0.02)
    assert float(radius[-1]) == pytest.approx(4, abs=0.02)


def test_draws_lie_around_the_centres_as_wide_as_said() -> None:
    curve = few()
    points = curve.draw(50_000, torch.Generator().manual_seed(0)).double()
    assert torch.allclose(points.mean(dim=0), curve.centres.mean(dim=0), atol=0.01)
    expected = curve.centres.var(dim=0, correction=0) + curve.width**2
    assert torch.allclose(points.var(dim=0), expected, rtol=0.03)
    assert float(curve.distance(curve.centres).max()) == 0
    assert float(curve.distance(torch.tensor([[0.0, -2.0]]))) == pytest.approx(2)


def test_cosines_are_those_of_numpy_and_0_without_length() -> None:
    a, b = POINTS, POINTS.flip(0)
    expected = (a * b).sum(dim=1) / a.norm(dim=1) / b.norm(dim=1)
    assert torch.allclose(cosines(a, b), expected)
    assert float(cosines(torch.zeros(1, 2), torch.ones(1, 2))) == 0


def test_a_denoiser_of_one_gaussian_learns_its_arrows_and_another_seed_another_start() -> None:
    curve, sigma = PlaneCurve(torch.tensor([[0.5, -0.2]], dtype=torch.float64), 0.5), 0.5
    model = network(16, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert any(not torch.equal(before[n], v) for n, v in network(16, 1).state_dict().items())
    assert all(torch.equal(before[n], v) for n, v in network(16, 0).state_dict().items())
    train(model, curve, sigma, steps=300, seed=0)
    x = curve.draw(500, torch.Generator().manual_seed(2)) + sigma
    with torch.no_grad():
        learnt = (model(x) - x).double()
    # Half of the way to the mean: the variances of points and noise are equal.
    expected = (torch.tensor([0.5, -0.2]) - x).double() / 2
    assert float((learnt - expected).square().mean() / expected.square().mean()) < 0.05


def test_an_arrow_is_drawn_from_its_place_to_its_end() -> None:
    arrow = {"x": 0.0, "y": 0.0, "x2": 0.5, "y2": 0.0, "d": "one", "s": "left", "c": 1.0}
    drawn = quiver([arrow], [(0, 0), (1, 1)], down="d", side="s", colour="c", ends=(-1, 1)).decode()
    # 250 pixels from -1 to 1: 0 is at 125, 0.5 at 187.5; a head follows.
    assert 'd="M125,125L187.5,125L' in drawn
    assert "one" in drawn and "left" in drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("field")


@pytest.mark.slow
def test_the_study_runs_whole_on_little_and_again_from_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"sigmas": "1.6", "seeds": 2, "steps": 120, "units": 16, "points": 200}
    setting = Setting(DataSets(Path("nowhere")), folder, cache=Cache(folder / "cache"))
    report = vector_field.run(setting=setting, **arguments)  # type: ignore[arg-type]
    rows = {(row["sigma"], row["network"]): row for row in report.data["rows"]}
    learnt, plain = rows[1.6, "denoising"], rows[1.6, "ordinary, no noise"]
    assert learnt["cosine"]["value"] > plain["cosine"]["value"]
    assert learnt["error"]["value"] < 0.2 < plain["error"]["value"]
    assert learnt["distance"]["value"] < learnt["distance before"]
    assert set(report.figures) == {"arrows.svg", "measures.svg"}
    assert all(len(figure) < 300_000 for figure in report.figures.values())
    assert len(report.data["claims"]) == 5
    text = keep(report, folder / "report").read_text()
    assert "![arrows](arrows.svg)" in text
    stored = json.loads((folder / "report" / "report.json").read_text())

    def none(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(vector_field, "train", none)
    again = vector_field.run(setting=setting, **arguments)  # type: ignore[arg-type]
    assert json.loads(json.dumps(again.data)) == stored


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sigmas": "0.1 -1"}, "above 0"),
        ({"sigmas": "much"}, "above 0"),
        ({"seeds": 1}, "2 or more"),
        ({"steps": 0}, "1 or more"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        vector_field.run(setting=Setting(DataSets(Path("x")), Path("x")), **wrong)  # type: ignore[arg-type]
