"""The adversarial autoencoder: its critic against known log-odds, and which step updates which weights."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from bench.encoders.parts.variational import code_moments
from bench.encoders.variational import aae
from bench.encoders.variational.aae import Critic, code_loss, critic_loss, gradient_penalty
from bench.errors import BenchError
from bench.seeding import seeded
from tests.kit import trained
from tests.kit.trained import apart, assert_slopes_are_those_of_small_steps, learnt, made, quadrants

SIZES = "width=8,code=4,units=16"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def critic(code: int, units: int = 16) -> Critic:
    with seeded(0):
        return Critic(code, units)


# --- The critic


def taught(judge: nn.Module, mean: float, deviation: float, *, steps: int = 400) -> nn.Module:
    """A critic at its best for codes from N(mean, deviation^2) and the prior N(0, 1)."""
    optimiser = torch.optim.Adam(judge.parameters(), lr=0.02)
    codes, prior = mean + deviation * drawn(4000, 1), drawn(4000, 1, seed=1)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        optimiser.zero_grad()
        critic_loss(judge, codes, prior).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return judge


def test_at_its_best_between_two_normal_laws_the_log_odds_are_linear_with_the_right_slope() -> None:
    # log N(z; 0, 1) - log N(z; 1.2, 1) = 0.72 - 1.2 z
    points = torch.linspace(-1, 2, 31)[:, None]
    judge = taught(critic(1), 1.2, 1.0)
    with torch.no_grad():
        odds = judge(points).numpy()
    slope, intercept = np.polyfit(points[:, 0].numpy(), odds, 1)
    assert slope == pytest.approx(-1.2, abs=0.12)
    assert intercept == pytest.approx(0.72, abs=0.12)
    assert np.abs(odds - (0.72 - 1.2 * points[:, 0].numpy())).max() < 0.3


def test_between_laws_of_other_spread_they_are_the_parabola_that_theory_says() -> None:
    judge = taught(critic(1), 0.0, 0.5)
    points = torch.linspace(-1, 1, 21)[:, None]
    z = points[:, 0].numpy()
    expected = stats.norm.logpdf(z) - stats.norm.logpdf(z, scale=0.5)
    with torch.no_grad():
        assert np.abs(judge(points).numpy() - expected).max() < 0.35


def test_its_loss_is_the_cross_entropy_of_both_kinds_and_log_2_if_it_knows_nothing() -> None:
    judge, codes, prior = critic(3), drawn(9, 3), drawn(9, 3, seed=1)
    with torch.no_grad():
        right, wrong = judge(prior).sigmoid(), judge(codes).sigmoid()
        loss = float(critic_loss(judge, codes, prior))
    expected = -0.5 * (right.log().mean() + (1 - wrong).log().mean())
    assert loss == pytest.approx(float(expected), rel=1e-5)
    zero = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    nn.init.zeros_(zero[0].weight), nn.init.zeros_(zero[0].bias)
    assert float(critic_loss(zero, codes, prior).detach()) == pytest.approx(math.log(2))
    assert float(code_loss(zero, codes).detach()) == pytest.approx(math.log(2))


def test_at_the_best_critic_its_loss_is_log_2_less_the_jensen_shannon_divergence() -> None:
    class Best(nn.Module):
        def forward(self, codes: Tensor) -> Tensor:
            return (0.72 - 1.2 * codes).squeeze(1)

    z, step = np.linspace(-9, 10, 40001, retstep=True)
    q, p = stats.norm.pdf(z, 1.2), stats.norm.pdf(z)
    middle = (p + q) / 2
    divergence = 0.5 * float((p * np.log(p / middle) + q * np.log(q / middle)).sum() * step)
    loss = critic_loss(Best(), 1.2 + drawn(200_000, 1), drawn(200_000, 1, seed=1))
    assert float(loss) == pytest.approx(math.log(2) - divergence, abs=3e-3)


def test_deceiving_is_the_cross_entropy_of_codes_as_draws_of_the_prior() -> None:
    judge, codes = critic(3), drawn(9, 3)
    with torch.no_grad():
        expected = -judge(codes).sigmoid().log().mean()
        assert float(code_loss(judge, codes)) == pytest.approx(float(expected), rel=1e-5)


def test_each_loss_moves_its_own_side_alone_and_both_are_finite_for_a_critic_that_is_sure() -> None:
    judge, codes, prior = critic(3), drawn(9, 3).requires_grad_(), drawn(9, 3, seed=1)
    weights = list(judge.parameters())
    slopes = torch.autograd.grad(
        critic_loss(judge, codes, prior), [codes, *weights], allow_unused=True
    )
    assert slopes[0] is None and all(slope.any() for slope in slopes[1:])
    slopes = torch.autograd.grad(code_loss(judge, codes), [codes, *weights], allow_unused=True)
    assert slopes[0].any() and all(slope is None for slope in slopes[1:])
    with torch.no_grad():
        weights[-2].mul_(1e5)
    for loss in (critic_loss(judge, codes, prior), code_loss(judge, codes)):
        assert loss.isfinite()


def test_steepness_is_the_squared_slope_at_the_prior_and_moves_the_critic_alone() -> None:
    line, prior = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), drawn(9, 3)
    weight = line[0].weight
    torch.testing.assert_close(gradient_penalty(line, prior), weight.square().sum())
    [slope] = torch.autograd.grad(gradient_penalty(line, prior), weight)
    torch.testing.assert_close(slope, 2 * weight)
    judge, places = critic(3), prior.clone().requires_grad_()
    rows = [torch.autograd.functional.jacobian(lambda z: judge(z[None])[0], z) for z in prior]
    expected = torch.stack(rows).square().sum(dim=1).mean()
    torch.testing.assert_close(gradient_penalty(judge, places), expected)
    gradient_penalty(judge, places).backward()  # type: ignore[no-untyped-call]
    assert places.grad is None and judge.layers[0].weight.grad.any()  # type: ignore[union-attr,operator]


def test_codes_that_deceive_go_where_the_critic_sees_the_prior() -> None:
    judge = taught(critic(1), 1.2, 1.0)
    codes = (1.2 + drawn(500, 1)).requires_grad_()
    [slope] = torch.autograd.grad(code_loss(judge, codes), codes)
    assert (slope > 0).float().mean() > 0.95  # a step against it lowers them, to 0


# --- The loss and its weight


def loss_of(encoder: Any, *, seed: int = 0) -> Any:
    return trained.loss_of(aae, encoder, quadrants(2), seed=seed)


def test_the_loss_is_squared_error_the_weighted_deceiving_and_the_critics_own() -> None:
    encoder, rows = made(f"aae,{SIZES},weight=3,penalty=0.8"), np.arange(6)
    batch = quadrants(6).read(rows)
    terms, loss = loss_of(encoder)(batch, rows), loss_of(encoder)
    by_draw = [loss(batch, rows) for _ in range(300)]
    with torch.no_grad():
        code = encoder.encode(batch)
        expected = {
            "reconstruction": ((encoder.decode(code) - batch) ** 2).sum() / 6,
            "deceiving": 3 * code_loss(encoder.critic, code),
        }
        truth = {
            "telling": float(critic_loss(encoder.critic, code, drawn(5000, 4, seed=9))),
        }
    truth["steepness"] = 0.4 * gradient_penalty(encoder.critic, drawn(5000, 4, seed=9)).item()
    assert list(terms) == ["reconstruction", "deceiving", "telling", "steepness"]
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    for name, mean in truth.items():
        values = [term[name].item() for term in by_draw]
        assert len(set(values)) == 300
        assert np.mean(values) == pytest.approx(mean, abs=5 * np.std(values) / 300**0.5)


def test_the_prior_is_drawn_by_the_seed_alone() -> None:
    batch, rows, encoder = quadrants(6).read(np.arange(6)), np.arange(6), made(f"aae,{SIZES}")
    losses = [loss_of(encoder, seed=s)(batch, rows)["telling"].item() for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_the_autoencoders_slopes_are_those_of_small_steps_with_the_critic_held() -> None:
    encoder, rows = made(f"aae,{SIZES},weight=30").double(), np.arange(4)
    batch = quadrants(4).read(rows).double()

    def value() -> Tensor:
        terms = loss_of(encoder)(batch, rows)
        return terms["reconstruction"] + terms["deceiving"]

    parameters = [p for name, p in encoder.named_parameters() if not name.startswith("critic")]
    assert_slopes_are_those_of_small_steps(value, parameters)


def test_weight_0_is_the_autoencoder_bit_for_bit_while_its_critic_learns() -> None:
    start = made(f"aae,{SIZES},weight=0").state_dict()
    encoder = learnt(made(f"aae,{SIZES},weight=0"))
    weighed = learnt(made(f"aae,{SIZES}"))
    assert apart(encoder, weighed) != []
    critics = [name for name in encoder if name.startswith("critic")]
    assert len(critics) == 6
    assert all(not torch.equal(encoder.pop(name), start[name]) for name in critics)
    assert apart(encoder, learnt(made("autoencoder,width=8,code=4"))) == []


def test_images_are_counted_once_and_a_last_batch_of_one_is_trained_on() -> None:
    encoder = made(f"aae,{SIZES}")
    report = encoder.fit(quadrants(40), labels=None, budget=129, seed=0)
    assert (report.images_seen, report.steps) == (129, 2)
    assert all(p.isfinite().all() for p in encoder.parameters())


# --- What it learns, notes, samples


def test_deceiving_brings_codes_to_the_prior_as_the_notes_say() -> None:
    losses = []
    for weight in (0, 30):
        encoder = made(f"aae,width=8,code=2,units=32,weight={weight},rate=0.005")
        with torch.no_grad():
            encoder.to_code[0].bias += 3
        report = encoder.fit(quadrants(256), labels=None, budget=60 * 128, seed=0)
        assert json.loads(json.dumps(report.notes, allow_nan=False)) == report.notes
        with torch.no_grad():
            assert report.notes == code_moments(encoder.encode(quadrants(256).read(np.arange(256))))
        losses.append(report.notes["code_mean"])
    assert losses[0] > 2 and losses[1] < 1


def test_samples_are_decoded_draws_of_the_prior_that_repeat_by_their_seed() -> None:
    encoder = made(f"aae,{SIZES}")
    first, again, third = (encoder.sample(3, seed=s) for s in (0, 0, 1))
    assert first.shape == (3, 1, 32, 32)
    assert torch.equal(first, again) and not torch.equal(first, third)
    encoder.decode = lambda codes: codes
    assert stats.kstest(encoder.sample(2000, seed=0).numpy().ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("weight=-1", "weight=-1: must be 0 or more"),
        ("penalty=-1", "penalty=-1: must be 0 or more"),
        ("units=0", "units=0: must be 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: str, message: str) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"aae,{arguments}")
    assert str(caught.value) == f"aae,{message}"
