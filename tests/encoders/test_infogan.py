"""InfoGAN's information against PyTorch's distributions, and which weights it updates."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn
from torch.distributions import Categorical, Normal, Uniform

from bench.encoders.adversarial.infogan import category_information, number_information
from bench.encoders.parts.adversarial import discriminator_loss, non_saturating
from bench.errors import BenchError
from tests.kit.trained import apart, learnt, made, players_of, quadrants

SMALL = "infogan,width=8,latent=6,categories=4"


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


# --- The bounds


def test_the_information_of_a_category_is_that_of_pytorchs_distributions() -> None:
    logits, category = 3 * normal(200, 7), torch.arange(200) % 7
    said = Categorical(logits=logits).log_prob(category).mean()
    expected = said + Categorical(torch.ones(7).double()).entropy()
    torch.testing.assert_close(category_information(logits.log_softmax(dim=1), category), expected)


def test_the_information_of_numbers_is_that_of_pytorchs_distributions() -> None:
    mean, log_variance, numbers = normal(50, 3), normal(50, 3, seed=1), normal(50, 3, seed=2).tanh()
    said = Normal(mean, (0.5 * log_variance).exp()).log_prob(numbers).sum(dim=1).mean()
    expected = said + 3 * Uniform(-1.0, 1.0).entropy().double()
    torch.testing.assert_close(number_information(mean, log_variance, numbers), expected)


def test_a_reader_that_knows_the_category_has_all_of_its_entropy_and_a_guesser_none() -> None:
    category = torch.arange(70) % 7
    sure = (50 * nn.functional.one_hot(category, 7).double()).log_softmax(dim=1)
    assert float(category_information(sure, category)) == pytest.approx(math.log(7))
    even = torch.zeros(70, 7).double().log_softmax(dim=1)
    assert float(category_information(even, category)) == pytest.approx(0, abs=1e-12)


def test_it_bounds_the_information_of_a_noisy_channel_and_meets_it_at_the_posterior() -> None:
    counts = np.array([[9, 1, 1, 1, 3, 5], [1, 9, 1, 5, 3, 1]] * 2)  # of category c and image x
    joint = counts / counts.sum()
    p_c, p_x = joint.sum(axis=1), joint.sum(axis=0)
    np.testing.assert_allclose(p_c, 0.25)
    truth = (joint * np.log(joint / np.outer(p_c, p_x))).sum()
    c, x = (torch.from_numpy(np.repeat(i.ravel(), counts.ravel())) for i in np.indices((4, 6)))
    posterior = torch.from_numpy(np.log(joint / p_x).T)  # (x, c)
    assert float(category_information(posterior[x], c)) == pytest.approx(truth)
    for seed in range(3):
        perturbed = (posterior + 0.3 * normal(6, 4, seed=seed)).log_softmax(dim=1)
        assert float(category_information(perturbed[x], c)) < truth


def test_of_numbers_too_the_bound_is_below_the_information_of_the_channel() -> None:
    """Uniform numbers seen through normal noise: I = h(x) - h(x|c), by numerical integration."""
    deviation, count = 0.3, 200_000
    rng = np.random.default_rng(0)

    def density(x: float) -> float:
        high, low = stats.norm.cdf([(x + 1) / deviation, (x - 1) / deviation])
        return float(high - low) / 2

    entropy = -integrate.quad(lambda x: density(x) * math.log(density(x)), -2.5, 2.5)[0]
    truth = entropy - 0.5 * math.log(2 * math.pi * math.e * deviation**2)
    c = rng.uniform(-1, 1, count)
    x = c + deviation * rng.standard_normal(count)
    # The best straight line and its error: what a normal Q can say.
    slope = np.cov(c, x)[0, 1] / x.var()
    log_variance = np.log((c - slope * x).var())
    mean, numbers = (torch.from_numpy(v)[:, None] for v in (slope * x, c))
    information = float(number_information(mean, torch.full_like(mean, log_variance), numbers))
    assert 0.6 * truth < information < truth


# --- What is read, and from where


def test_the_code_has_the_log_probabilities_of_the_categories_and_then_the_numbers_means() -> None:
    encoder, images = made(SMALL), quadrants(9).read(np.arange(9))
    assert dict(encoder.dims) == {"trunk": 512, "code": 6, "multi": 896}
    with torch.no_grad():
        taps = encoder.taps(images)
        hidden = encoder.reader[0](taps["trunk"])
        outputs = encoder.reader[2](torch.where(hidden > 0, hidden, 0.2 * hidden))
    torch.testing.assert_close(taps["code"][:, :4].exp(), outputs[:, :4].softmax(dim=1))
    torch.testing.assert_close(taps["code"][:, 4:], outputs[:, 4:6])
    assert torch.equal(encoder(images), taps["trunk"])
    assert torch.equal(encoder.stages()(images), taps["trunk"])


def test_categories_are_even_numbers_uniform_and_noise_normal() -> None:
    encoder = made("infogan,width=8,latent=3,categories=5,numbers=2")
    draws = encoder.draw(4000, encoder._noise(0, "prior"))
    counts = np.bincount(draws.category.numpy(), minlength=5)
    assert stats.chisquare(counts).pvalue > 0.01
    assert stats.kstest(draws.numbers.flatten().numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert stats.kstest(draws.noise.flatten().numpy(), stats.norm.cdf).pvalue > 0.01
    assert [tuple(part.shape) for part in draws] == [(4000, 3), (4000,), (4000, 2)]


def test_the_generator_gets_noise_the_category_as_one_of_many_and_the_numbers() -> None:
    encoder = made(SMALL)
    drawn = encoder.draw(5, encoder._noise(0, "prior"))
    with torch.no_grad():
        category = torch.eye(4)[drawn.category]
        expected = encoder.generator(torch.cat([drawn.noise, category, drawn.numbers], dim=1))
        assert torch.equal(encoder.generate(drawn), expected)
        assert torch.equal(encoder.sample(5, seed=0), expected)
        third = encoder.generate(drawn._replace(category=torch.full((5,), 2)))
        assert torch.equal(encoder.sample(5, seed=0, category=2), third)


# --- The losses


def test_the_losses_are_the_game_less_the_weighted_information_of_fakes_alone() -> None:
    encoder, rows = made(f"{SMALL},weight=0.7,numbers_weight=0.3"), np.arange(8)
    batch = quadrants(8).read(rows)
    judge, maker = players_of(encoder, quadrants(8), seed=3)
    noise = encoder._noise(3, "latent")
    # In training mode each use is a step of power iteration, and here there is one more.
    for player, rtol in ((judge, 0.03), (maker, 1e-5)):
        with torch.no_grad():
            loss = player.loss(batch, rows)
            drawn = encoder.draw(8, noise)
            fakes = encoder.generate(drawn)
            fake, code = encoder.discriminator(fakes), encoder.taps(fakes)["code"]
            log_variance = encoder.reader(encoder.discriminator.trunk(fakes))[:, 6:]
            game = (
                discriminator_loss(encoder.discriminator(batch), fake)
                if player is judge
                else non_saturating(fake)
            )
            said = Categorical(logits=code[:, :4]).log_prob(drawn.category).mean()
            normals = Normal(code[:, 4:], (0.5 * log_variance).exp())
            expected_numbers = normals.log_prob(drawn.numbers).sum(dim=1).mean()
        expected = [game, -0.7 * (said + math.log(4)), -0.3 * (expected_numbers + 2 * math.log(2))]
        for value, expected_value in zip(loss.values(), expected, strict=True):
            torch.testing.assert_close(value, expected_value, rtol=rtol, atol=rtol)
        names = ("discriminator", "q") if player is judge else ("generator", "g")
        assert list(loss) == [names[0], f"categories_{names[1]}", f"numbers_{names[1]}"]


def test_the_information_moves_reader_and_trunk_on_one_turn_and_the_generator_on_the_other() -> (
    None
):
    encoder, rows = made(SMALL).train(), np.arange(8)
    batch = quadrants(8).read(rows)
    judge, maker = players_of(encoder, quadrants(8))
    judges = nn.ModuleList([encoder.discriminator, encoder.reader])
    assert {id(p) for p in judge.parameters} == {id(p) for p in judges.parameters()}
    assert {id(p) for p in maker.parameters} == {id(p) for p in encoder.generator.parameters()}
    for term in ("categories_q", "numbers_q"):
        encoder.zero_grad()
        judge.loss(batch, rows)[term].backward()
        for module in (encoder.reader, encoder.discriminator.trunk):
            assert all(p.grad is not None and p.grad.any() for p in module.parameters())
        assert all(p.grad is None for p in encoder.generator.parameters())
        assert all(p.grad is None for p in encoder.discriminator.head.parameters())
    for term in ("categories_g", "numbers_g"):
        encoder.zero_grad()
        maker.loss(batch, rows)[term].backward(inputs=maker.parameters)
        assert all(p.grad is not None and p.grad.any() for p in maker.parameters)


def test_each_player_moves_its_own_parameters_and_not_a_bit_of_the_other() -> None:
    encoder, rows = made(SMALL).train(), np.arange(12)
    batch = quadrants(12).read(rows)
    judges = nn.ModuleList([encoder.discriminator, encoder.reader])
    players = players_of(encoder, quadrants(12))
    sides = (judges, encoder.generator), (encoder.generator, judges)
    for player, (trained, frozen) in zip(players, sides, strict=True):
        before, theirs = state(trained), state(frozen)
        sum(player.loss(batch, rows).values()).backward(inputs=player.parameters)
        torch.optim.Adam(player.parameters, lr=0.01).step()
        assert set(apart(before, state(trained))) >= {
            name for name, _ in trained.named_parameters()
        }
        assert apart(theirs, state(frozen)) == []


@pytest.mark.parametrize("term", ["categories", "numbers"])
def test_the_slope_of_the_information_is_that_of_small_steps(term: str) -> None:
    if term == "categories":
        logits, category = normal(5, 4).requires_grad_(), torch.arange(5) % 4
        assert torch.autograd.gradcheck(
            lambda x: category_information(x.log_softmax(dim=1), category), logits
        )
    else:
        parts = [normal(5, 2, seed=s).requires_grad_() for s in range(2)]
        numbers = normal(5, 2, seed=2)
        assert torch.autograd.gradcheck(lambda m, v: number_information(m, v, numbers), parts)


def test_without_weights_the_reader_stays_as_it_started() -> None:
    encoder = made(f"{SMALL},weight=0,numbers_weight=0")
    start = state(encoder.reader)
    learnt(encoder)
    assert apart(start, state(encoder.reader)) == []


# --- Fits


def test_a_code_without_numbers_is_categories_alone() -> None:
    encoder = made(f"{SMALL},numbers=0")
    report = encoder.fit(quadrants(40), labels=None, budget=64, seed=0)
    assert encoder.dims["code"] == 4 and report.notes["information"]["numbers"] == 0


def test_the_generator_learns_to_be_read() -> None:
    encoder = made(f"{SMALL},rate=0.002,generator_rate=0.005,weight=3")
    before = encoder._notes(quadrants(40), 0)["information"]
    report = encoder.fit(quadrants(64), labels=None, budget=150 * 32, seed=0)
    information = report.notes["information"]
    assert before["categories"] < 0.1
    assert 0.8 * math.log(4) < information["categories"] <= math.log(4)
    assert before["numbers"] < information["numbers"]


def test_notes_are_of_samples_and_of_how_images_fall_into_categories() -> None:
    encoder, images = made(SMALL), quadrants(40)
    report = encoder.fit(images, labels=None, budget=64, seed=4)
    with torch.no_grad():
        drawn = encoder.draw(40, encoder._noise(4, "signs"))
        code = encoder.taps(encoder.generate(drawn))["code"]
        share = encoder.taps(images.read(np.arange(40)))["code"][:, :4].exp().mean(dim=0)
    expected = float(category_information(code[:, :4], drawn.category))
    assert report.notes["information"]["categories"] == pytest.approx(expected, abs=1e-3)
    active = math.exp(stats.entropy(share.numpy()))
    assert report.notes["categories_in_use"] == pytest.approx(active, rel=1e-3)
    assert {"real_accuracy", "spread", "collapsed"} < set(report.notes)
    json.dumps(report.notes, allow_nan=False)


def test_budget_and_steps_are_reported_and_a_seed_repeats_all_of_it() -> None:
    encoder, again, third = made(SMALL), made(SMALL), made(SMALL)
    report = encoder.fit(quadrants(40), labels=None, budget=300, seed=0)
    assert (report.images_seen, report.steps) == (300, 10)
    assert report == again.fit(quadrants(40), labels=None, budget=300, seed=0)
    assert apart(state(encoder), state(again)) == []
    third.fit(quadrants(40), labels=None, budget=300, seed=1)
    assert set(apart(state(encoder), state(third))) >= {n for n, _ in encoder.named_parameters()}


def test_the_trunk_starts_as_that_of_gan_of_the_same_seed() -> None:
    ours, theirs = (state(made(t, seed=5).discriminator.trunk) for t in (SMALL, "gan,width=8"))
    same = [name for name in ours if not name.endswith(("._u", "._v"))]
    assert len(same) == 12 and all(torch.equal(ours[name], theirs[name]) for name in same)


def test_encoding_changes_nothing() -> None:
    encoder, images = made(SMALL), quadrants(5).read(np.arange(5))
    learnt(encoder)
    before = state(encoder)
    first, again = encoder.taps(images), encoder.taps(images)
    assert all(torch.equal(first[level], again[level]) for level in first)
    assert apart(before, state(encoder)) == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("categories=1", "categories=1: must be 2 or more"),
        ("numbers=-1", "numbers=-1: must be 0 or more"),
        ("weight=-1", "weight=-1: must be 0 or more"),
        ("numbers_weight=-0.5", "numbers_weight=-0.5: must be 0 or more"),
        ("latent=0", "latent=0: must be 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line_with_what_is_allowed(
    argument: str, message: str
) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"infogan,{argument}")
    assert str(caught.value) == f"infogan,{message}"
