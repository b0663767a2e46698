"""The adversarial game against known densities, slopes by hand, and distances of SciPy."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.distance import cdist, jensenshannon
from torch import Tensor, nn

from bench.data.images import ArrayImages, Delivery, Input
from bench.encoders.parts.adversarial import (
    GameSettings,
    collapse_signs,
    discriminator_loss,
    minimax,
    non_saturating,
    players,
)
from bench.encoders.parts.training import compete
from bench.seeding import seeded

Array = npt.NDArray[Any]


def logits(count: int, *, seed: int = 0) -> Tensor:
    return 3 * torch.randn(count, generator=torch.Generator().manual_seed(seed)).double()


# --- The game, on densities that are known


def times(counts: Array) -> Tensor:
    """Each outcome as often as its count says: a density whose means are exact."""
    return torch.from_numpy(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize("seed", range(4))
def test_at_the_best_discriminator_the_value_is_twice_the_divergence_less_log_4(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, made_up = rng.integers(1, 50, (2, 12))
    p, q = data / data.sum(), made_up / made_up.sum()
    best = torch.from_numpy(np.log(p / q))  # D = p / (p + q)
    value = -discriminator_loss(best[times(data)], best[times(made_up)])
    assert float(value) == pytest.approx(2 * jensenshannon(p, q) ** 2 - math.log(4))
    for shift in (best + 0.01, 1.01 * best, torch.zeros(12).double()):
        worse = -discriminator_loss(shift[times(data)], shift[times(made_up)])
        assert worse < value


def test_of_equal_densities_the_value_is_minus_log_4_and_of_disjoint_ones_0() -> None:
    even = torch.zeros(8).double()
    assert float(discriminator_loss(even, even)) == pytest.approx(math.log(4))
    sure = torch.full((8,), 60.0).double()
    assert float(discriminator_loss(sure, -sure)) == pytest.approx(0, abs=1e-20)


def test_the_losses_are_logarithms_of_the_probability_that_the_logit_means() -> None:
    real, fake = logits(50), logits(50, seed=1)
    d, g = (1 / (1 + np.exp(-x.numpy())) for x in (real, fake))
    value = np.log(d).mean() + np.log(1 - g).mean()
    assert float(discriminator_loss(real, fake)) == pytest.approx(-value)
    assert float(minimax(fake)) == pytest.approx(np.log(1 - g).mean())
    assert float(non_saturating(fake)) == pytest.approx(-np.log(g).mean())


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_losses_and_slopes_are_finite_where_the_discriminator_is_sure(size: float) -> None:
    x = torch.tensor([-size, size], requires_grad=True)
    for loss in (discriminator_loss(x, x), minimax(x), non_saturating(x)):
        [slope] = torch.autograd.grad(loss, x)
        assert loss.isfinite() and slope.isfinite().all()


def test_what_the_generator_wins_in_minimax_the_discriminator_loses() -> None:
    real, fake = logits(9), logits(9, seed=1).requires_grad_()
    [lost] = torch.autograd.grad(discriminator_loss(real, fake), fake)
    [won] = torch.autograd.grad(minimax(fake), fake)
    torch.testing.assert_close(won, -lost)


def test_both_generators_go_the_same_way_one_by_d_the_other_by_1_less_d() -> None:
    x = logits(200).requires_grad_()
    d = x.detach().sigmoid()
    [zero_sum] = torch.autograd.grad(minimax(x), x)
    [heuristic] = torch.autograd.grad(non_saturating(x), x)
    torch.testing.assert_close(zero_sum, -d / 200)
    torch.testing.assert_close(heuristic, -(1 - d) / 200)


def test_between_two_normal_densities_the_logit_becomes_the_line_that_theory_says() -> None:
    low, high, deviation = -0.5, 1.0, 0.8
    # At evenly spaced quantiles: samples without noise.
    places = (torch.arange(2000).double() + 0.5) / 2000
    standard = torch.distributions.Normal(0.0, 1.0).icdf(places)
    fakes, reals = low + deviation * standard, high + deviation * standard
    critic = nn.Linear(1, 1).double()
    newton = torch.optim.LBFGS(critic.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def lost() -> Any:
        newton.zero_grad()
        loss = discriminator_loss(critic(reals[:, None])[:, 0], critic(fakes[:, None])[:, 0])
        loss.backward()
        return loss

    newton.step(lost)
    slope = (high - low) / deviation**2
    assert critic.weight.item() == pytest.approx(slope, rel=0.01)
    assert critic.bias.item() == pytest.approx(-slope * (high + low) / 2, rel=0.01)


class Line(nn.Module):
    """A logit that is linear in the image's one pixel, which is the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        logit: Tensor = self.layer(pixels.flatten(1))[:, 0]
        return logit


class Shift(nn.Module):
    """Standard noise of deviation 0.1, moved to where it learns to lie."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(0.1))

    def forward(self, noise: Tensor) -> Tensor:
        return self.place + 0.1 * noise


@pytest.mark.parametrize("loss", [minimax, non_saturating])
def test_a_generator_that_can_only_move_moves_to_the_images(loss: Any) -> None:
    rng = np.random.default_rng(0)
    pixels = (255 * rng.normal(0.6, 0.1, (512, 1, 1, 1)).clip(0, 1)).astype(np.uint8)
    images = Delivery(ArrayImages(pixels), Input(size=(1, 1), channels=1))
    with seeded(0):
        pair = nn.ModuleList([Line(), Shift()])
    judge, maker = pair
    noise = torch.Generator().manual_seed(0)

    def drawn(batch: Tensor) -> Tensor:
        return torch.randn(len(batch), 1, generator=noise)

    def doubt(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        fakes = maker(drawn(batch)).detach()
        return {"d": discriminator_loss(judge(batch), judge(fakes))}

    def deceive(batch: Tensor, rows: Array) -> dict[str, Tensor]:
        return {"g": loss(judge(maker(drawn(batch))))}

    settings = GameSettings(latent=1, width=8, rate=1.0, generator_rate=0.002, batch=128)
    game = players([judge], doubt, [maker], deceive, settings=settings)
    compete(pair, images, game, budget=600 * 128, seed=0)
    assert maker.place.item() == pytest.approx(pixels.mean() / 255, abs=0.05)


# --- Signs of collapse


def pictures(count: int, *, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def signs_of(fake: Tensor, real: Tensor | None = None) -> dict[str, Any]:
    real = pictures(60) if real is None else real
    return collapse_signs(real, fake, (logits(len(real)), logits(len(fake), seed=1)))


def test_spread_and_nearest_are_those_of_numpy() -> None:
    real, fake = pictures(60), 0.7 * pictures(60, seed=1) ** 2
    signs = signs_of(fake, real)
    x, y = (images.flatten(1).double().numpy() for images in (fake, real))
    assert signs["spread"] == pytest.approx(x.var(axis=0).sum() / y.var(axis=0).sum(), abs=1e-3)
    near = [np.median(np.sort(cdist(images, images), axis=1)[:, 1]) for images in (x, y)]
    assert signs["nearest"] == pytest.approx(near[0] / near[1], abs=1e-3)
    assert signs["real_accuracy"] == pytest.approx(
        float((logits(60) > 0).double().mean()), abs=1e-4
    )
    expected = float((logits(60, seed=1) < 0).double().mean())
    assert signs["fake_accuracy"] == pytest.approx(expected, abs=1e-4)
    json.dumps(signs, allow_nan=False)


def test_other_images_like_the_real_ones_are_no_collapse() -> None:
    signs = signs_of(pictures(60, seed=1))
    assert not signs["collapsed"]
    assert signs["spread"] == pytest.approx(1, abs=0.1)
    assert signs["nearest"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("modes", [1, 2, 10])
def test_a_few_pictures_again_and_again_are_a_collapse(modes: int) -> None:
    again = pictures(60, seed=1)[torch.arange(60) % modes]
    signs = signs_of(again + 0.01 * pictures(60, seed=2))
    assert signs["collapsed"] and signs["nearest"] < 0.2
    assert (signs["spread"] < 0.2) == (modes == 1)


@pytest.mark.parametrize("real", [pictures(1), torch.full((5, 1, 4, 4), 0.3)])
def test_images_without_spread_leave_it_open(real: Tensor) -> None:
    signs = signs_of(pictures(len(real), seed=1), real)
    assert (signs["spread"], signs["nearest"], signs["collapsed"]) == (None, None, False)
