"""The adversarial game against known densities, slopes by hand, and singular values of NumPy."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.distance import cdist, jensenshannon
from torch import Tensor, nn

from bench.encoders import _adversarial
from bench.encoders._adversarial import (
    Discriminator,
    Generator,
    Play,
    discriminator_loss,
    minimax,
    non_saturating,
    signs,
    turns,
)
from bench.encoders._training import compete
from bench.encoders._trunk import ConvTrunk
from bench.encoders.adversarial import gan
from bench.errors import BenchError
from bench.images import ArrayImages, Delivery, Input
from bench.seeding import seeded
from tests.trained import apart, learnt, made, players_of, quadrants

Array = npt.NDArray[Any]
SMALL = "gan,width=8,latent=6"


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


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
    for other in (best + 0.01, 1.01 * best, torch.zeros(12).double()):
        worse = -discriminator_loss(other[times(data)], other[times(made_up)])
        assert worse < value


def test_of_equal_densities_the_value_is_minus_log_4_and_of_disjoint_ones_0() -> None:
    even = torch.zeros(8).double()
    assert float(discriminator_loss(even, even)) == pytest.approx(math.log(4))
    sure = torch.full((8,), 60.0).double()
    assert float(discriminator_loss(sure, -sure)) == pytest.approx(0, abs=1e-20)


def test_the_losses_are_logarithms_of_the_probability_that_the_logit_stands_for() -> None:
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

    play = Play(latent=1, width=8, rate=1.0, generator_rate=0.002, batch=128)
    players = turns([judge], doubt, [maker], deceive, play=play)
    compete(pair, images, players, budget=600 * 128, seed=0)
    assert maker.place.item() == pytest.approx(pixels.mean() / 255, abs=0.05)


# --- The turns


def test_each_player_moves_its_own_parameters_and_not_a_bit_of_the_other() -> None:
    encoder, rows = made(SMALL).train(), np.arange(8)
    batch = quadrants(8).read(rows)
    judge, maker = players_of(gan, encoder, quadrants(8))
    for player, mine, other in (
        (judge, encoder.discriminator, encoder.generator),
        (maker, encoder.generator, encoder.discriminator),
    ):
        before, theirs = state(mine), state(other)
        adam = torch.optim.Adam(player.parameters, lr=0.01)
        sum(player.loss(batch, rows).values()).backward(inputs=player.parameters)
        adam.step()
        moved = apart(before, state(mine))
        assert set(moved) >= {name for name, _ in mine.named_parameters()}
        assert apart(theirs, state(other)) == []
        assert all(p.grad is None for p in other.parameters())
        mine.zero_grad()
        assert {id(p) for p in player.parameters} == {id(p) for p in mine.parameters()}


def test_on_the_discriminators_turn_no_slope_reaches_the_generator() -> None:
    encoder, rows = made(SMALL).train(), np.arange(8)
    judge, maker = players_of(gan, encoder, quadrants(8))
    judge.loss(quadrants(8).read(rows), rows)["discriminator"].backward()
    assert all(p.grad is None for p in encoder.generator.parameters())
    assert all(p.grad is not None for p in encoder.discriminator.parameters())
    maker.loss(quadrants(8).read(rows), rows)["generator"].backward()
    assert all(p.grad is not None for p in encoder.generator.parameters())


def test_the_losses_are_those_of_the_images_and_of_fakes_drawn_anew_each_turn() -> None:
    encoder, rows = made(SMALL), np.arange(8)
    batch = quadrants(8).read(rows)
    judge, maker = players_of(gan, encoder, quadrants(8), seed=3)
    noise = encoder._noise(3, "latent")
    with torch.no_grad():
        found = judge.loss(batch, rows)
        one = encoder.made(8, noise)
        wanted = discriminator_loss(encoder.discriminator(batch), encoder.discriminator(one))
        # In training mode each use is a step of power iteration, and these were two more.
        torch.testing.assert_close(found["discriminator"], wanted, rtol=0.02, atol=0)
        deceived = maker.loss(batch, rows)
        other = encoder.made(8, noise)
        wanted = non_saturating(encoder.discriminator(other))
    assert torch.equal(deceived["generator"], wanted)
    assert (one - other).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "wanted"), [("minimax", minimax), ("non_saturating", non_saturating)]
)
def test_the_generators_loss_is_the_one_asked_for(name: str, wanted: Any) -> None:
    assert made(f"{SMALL},loss={name}").loss is wanted
    assert made(SMALL).loss is non_saturating


def test_both_play_by_adam_with_a_first_moment_that_remembers_half() -> None:
    judge, maker = players_of(gan, made(SMALL), quadrants(8))
    assert (judge.rate, maker.rate) == (2e-4, 1e-3)
    assert judge.betas == maker.betas == (0.5, 0.999)


# --- Spectral norms


def layers(encoder: Any) -> list[Any]:
    judge = encoder.discriminator
    return [*(block[0] for block in judge.trunk.blocks), judge.head]


def largest(layer: Any) -> float:
    with torch.no_grad():
        return float(torch.linalg.svdvals(layer.weight.flatten(1).double())[0])


def test_after_training_the_largest_singular_value_of_each_layer_is_1() -> None:
    encoder = made(f"{SMALL},rate=0.002")
    assert [largest(layer) for layer in layers(encoder)] == [pytest.approx(1, abs=0.03)] * 4
    before = [layer.parametrizations.weight.original.detach().clone() for layer in layers(encoder)]
    encoder.fit(quadrants(64), labels=None, budget=40 * 32, seed=0)
    assert [largest(layer) for layer in layers(encoder)] == [pytest.approx(1, abs=0.03)] * 4
    for layer, start in zip(layers(encoder), before, strict=True):
        now = layer.parametrizations.weight.original
        assert (now - start).norm() > 0.01 * start.norm()


def test_the_logit_moves_no_further_than_the_features() -> None:
    encoder = made(SMALL)
    learnt(encoder)
    a, b = torch.randn(2, 30, 512, generator=torch.Generator().manual_seed(0))
    judge = encoder.discriminator
    with torch.no_grad():
        moved = (judge.logits(a) - judge.logits(b)).abs() / (a - b).norm(dim=1)
    assert 0 < moved.max() <= 1


def test_encoding_makes_no_step_of_power_iteration_and_training_does() -> None:
    encoder, images = made(SMALL), quadrants(5).read(np.arange(5))
    before = state(encoder)
    first = encoder.taps(images)["multi"]
    assert torch.equal(encoder.taps(images)["multi"], first)
    assert apart(before, state(encoder)) == []
    encoder.train().taps(images)
    changed = apart(before, state(encoder))
    assert changed and all(name.endswith(("._u", "._v")) for name in changed)


def test_a_deep_copy_and_a_fresh_one_with_its_state_encode_and_train_alike() -> None:
    encoder, images = made(SMALL), quadrants(5).read(np.arange(5))
    learnt(encoder)
    fresh, twin = made(SMALL, seed=1), copy.deepcopy(encoder)
    fresh.load_state_dict(encoder.state_dict())
    for other in (fresh, twin):
        assert torch.equal(other(images), encoder(images))
    assert apart(learnt(fresh), learnt(twin)) == []


# --- The start


def test_the_trunk_starts_as_that_of_the_autoencoder_of_the_same_seed() -> None:
    for seed in (0, 5):
        encoder = made(SMALL, seed=seed)
        other = made("autoencoder,width=8,code=4", seed=seed)
        for mine, theirs in zip(
            encoder.discriminator.trunk.blocks, other.trunk.blocks, strict=True
        ):
            assert torch.equal(mine[0].parametrizations.weight.original, theirs[0].weight)
            assert torch.equal(mine[0].bias, theirs[0].bias)
        images = quadrants(9).read(np.arange(9))
        mine, theirs = encoder.taps(images), other.taps(images)
        for level in ("trunk", "multi"):  # GroupNorm takes the scale away
            torch.testing.assert_close(mine[level], theirs[level], rtol=0.01, atol=0.01)


def test_there_is_no_code_and_stages_are_the_trunks() -> None:
    encoder, images = made(SMALL), quadrants(3).read(np.arange(3))
    assert dict(encoder.dims) == {"trunk": 512, "multi": 896}
    assert {n: tuple(t.shape) for n, t in encoder.taps(images).items()} == {
        "trunk": (3, 512),
        "multi": (3, 896),
    }
    assert torch.equal(encoder.stages()(images), encoder(images))


def test_samples_are_those_of_the_decoder_within_0_and_1_by_their_seed() -> None:
    encoder = made(SMALL, seed=2)
    learnt(encoder)
    with torch.no_grad():
        one, again, other = (encoder.sample(7, seed=s) for s in (0, 0, 1))
        latent = torch.randn(7, 6, generator=encoder._noise(0, "prior"))
        wanted = (1 + np.tanh(2 * encoder.generator.decoder(latent).numpy() - 1)) / 2
    assert one.shape == (7, 1, 32, 32) and 0 <= one.min() < one.max() <= 1
    assert torch.equal(one, again) and not torch.equal(one, other)
    np.testing.assert_allclose(one.numpy(), wanted, atol=1e-5)


# --- Fits


def test_budget_steps_and_terms_are_reported_and_a_seed_repeats_all_of_it() -> None:
    encoder, again, other = made(SMALL), made(SMALL), made(SMALL)
    report = encoder.fit(quadrants(40), labels=None, budget=300, seed=0)
    assert (report.images_seen, report.steps) == (300, 10)
    assert list(report.terms) == ["discriminator", "generator"]
    same = again.fit(quadrants(40), labels=None, budget=300, seed=0)
    assert report == same and apart(state(encoder), state(again)) == []
    other.fit(quadrants(40), labels=None, budget=300, seed=1)
    names = {name for name, _ in encoder.named_parameters()}
    assert set(apart(state(encoder), state(other))) >= names
    assert not encoder.training


def test_a_rate_far_too_high_is_told_in_one_line() -> None:
    with pytest.raises(BenchError, match=r"diverged.*try a lower rate than 1e\+30") as caught:
        made(f"{SMALL},rate=1e30").fit(quadrants(9), labels=None, budget=384, seed=0)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("latent=0", "latent=0: 1 or more is wanted"),
        ("batch=0", "batch=0: 1 or more is wanted"),
        ("generator_rate=-1", "generator_rate=-1: a learning rate above 0 is wanted"),
        ("width=12", "width=12: a multiple of 8 is wanted"),
        ("rate=0", "rate=0: a learning rate above 0 is wanted"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_with_what_is_allowed(argument: str, told: str) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"gan,{argument}")
    assert str(caught.value) == f"gan,{told}"


# --- Signs of collapse


def pictures(count: int, *, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def signs_of(fake: Tensor, real: Tensor | None = None) -> dict[str, Any]:
    real = pictures(60) if real is None else real
    return signs(real, fake, (logits(len(real)), logits(len(fake), seed=1)))


def test_spread_and_nearest_are_those_of_numpy() -> None:
    real, fake = pictures(60), 0.7 * pictures(60, seed=1) ** 2
    found = signs_of(fake, real)
    x, y = (each.flatten(1).double().numpy() for each in (fake, real))
    assert found["spread"] == pytest.approx(x.var(axis=0).sum() / y.var(axis=0).sum(), abs=1e-3)
    near = [np.median(np.sort(cdist(each, each), axis=1)[:, 1]) for each in (x, y)]
    assert found["nearest"] == pytest.approx(near[0] / near[1], abs=1e-3)
    assert found["real_accuracy"] == pytest.approx(
        float((logits(60) > 0).double().mean()), abs=1e-4
    )
    wanted = float((logits(60, seed=1) < 0).double().mean())
    assert found["fake_accuracy"] == pytest.approx(wanted, abs=1e-4)
    json.dumps(found, allow_nan=False)


def test_other_images_like_the_real_ones_are_no_collapse() -> None:
    found = signs_of(pictures(60, seed=1))
    assert not found["collapsed"]
    assert found["spread"] == pytest.approx(1, abs=0.1)
    assert found["nearest"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("modes", [1, 2, 10])
def test_a_few_pictures_again_and_again_are_a_collapse(modes: int) -> None:
    again = pictures(60, seed=1)[torch.arange(60) % modes]
    found = signs_of(again + 0.01 * pictures(60, seed=2))
    assert found["collapsed"] and found["nearest"] < 0.2
    assert (found["spread"] < 0.2) == (modes == 1)


@pytest.mark.parametrize("real", [pictures(1), torch.full((5, 1, 4, 4), 0.3)])
def test_images_without_spread_leave_it_open(real: Tensor) -> None:
    found = signs_of(pictures(len(real), seed=1), real)
    assert (found["spread"], found["nearest"], found["collapsed"]) == (None, None, False)


def test_a_fits_notes_are_about_its_own_images_and_samples() -> None:
    encoder = made(SMALL)
    report = encoder.fit(quadrants(40), labels=None, budget=128, seed=4)
    with torch.no_grad():
        fake = encoder.made(40, encoder._noise(4, "signs"))
        real = quadrants(40).read(_adversarial.looked_at(quadrants(40), 4))
        judged = encoder.discriminator(real), encoder.discriminator(fake)
    assert report.notes == signs(real, fake, judged)


def test_normalising_changes_no_parameter_of_a_start() -> None:
    with seeded(0):
        trunk = ConvTrunk(1, 8)
    with seeded(0):
        judge = Discriminator(1, 8).normalised()
        Generator(3, 1, 8)
    kept = [p for name, p in judge.trunk.named_parameters() if "original" in name]
    assert all(torch.equal(p, b[0].weight) for p, b in zip(kept, trunk.blocks, strict=True))  # type: ignore[index]
