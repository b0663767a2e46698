"""The GAN: which step updates which player, singular values of its layers, its start, samples and fits."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from bench.encoders.parts import adversarial as _adversarial
from bench.encoders.parts.adversarial import (
    Discriminator,
    Generator,
    collapse_signs,
    discriminator_loss,
    minimax,
    non_saturating,
)
from bench.encoders.parts.trunk import ConvTrunk
from bench.errors import BenchError
from bench.seeding import seeded
from tests.kit.trained import apart, learnt, made, players_of, quadrants

Array = npt.NDArray[Any]
SMALL = "gan,width=8,latent=6"


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


# --- The turns


def test_each_player_moves_its_own_parameters_and_not_a_bit_of_the_other() -> None:
    encoder, rows = made(SMALL).train(), np.arange(8)
    batch = quadrants(8).read(rows)
    judge, maker = players_of(encoder, quadrants(8))
    for player, trained, frozen in (
        (judge, encoder.discriminator, encoder.generator),
        (maker, encoder.generator, encoder.discriminator),
    ):
        before, theirs = state(trained), state(frozen)
        adam = torch.optim.Adam(player.parameters, lr=0.01)
        sum(player.loss(batch, rows).values()).backward(inputs=player.parameters)
        adam.step()
        moved = apart(before, state(trained))
        assert set(moved) >= {name for name, _ in trained.named_parameters()}
        assert apart(theirs, state(frozen)) == []
        assert all(p.grad is None for p in frozen.parameters())
        trained.zero_grad()
        assert {id(p) for p in player.parameters} == {id(p) for p in trained.parameters()}


def test_on_the_discriminators_turn_no_slope_reaches_the_generator() -> None:
    encoder, rows = made(SMALL).train(), np.arange(8)
    judge, maker = players_of(encoder, quadrants(8))
    judge.loss(quadrants(8).read(rows), rows)["discriminator"].backward()
    assert all(p.grad is None for p in encoder.generator.parameters())
    assert all(p.grad is not None for p in encoder.discriminator.parameters())
    maker.loss(quadrants(8).read(rows), rows)["generator"].backward()
    assert all(p.grad is not None for p in encoder.generator.parameters())


def test_the_losses_are_those_of_the_images_and_of_fakes_drawn_anew_each_turn() -> None:
    encoder, rows = made(SMALL), np.arange(8)
    batch = quadrants(8).read(rows)
    judge, maker = players_of(encoder, quadrants(8), seed=3)
    noise = encoder._noise(3, "latent")
    with torch.no_grad():
        loss = judge.loss(batch, rows)
        first = encoder.generate(8, noise)
        expected = discriminator_loss(encoder.discriminator(batch), encoder.discriminator(first))
        # In training mode each use is a step of power iteration, and these were two more.
        torch.testing.assert_close(loss["discriminator"], expected, rtol=0.02, atol=0)
        deceived = maker.loss(batch, rows)
        second = encoder.generate(8, noise)
        expected = non_saturating(encoder.discriminator(second))
    assert torch.equal(deceived["generator"], expected)
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "expected"), [("minimax", minimax), ("non_saturating", non_saturating)]
)
def test_the_generators_loss_is_the_one_requested(name: str, expected: Any) -> None:
    assert made(f"{SMALL},loss={name}").loss is expected
    assert made(SMALL).loss is non_saturating


def test_both_play_by_adam_with_a_first_moment_that_remembers_half() -> None:
    judge, maker = players_of(made(SMALL), quadrants(8))
    assert (judge.rate, maker.rate) == (8e-4, 1e-3)
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
    for model in (fresh, twin):
        assert torch.equal(model(images), encoder(images))
    assert apart(learnt(fresh), learnt(twin)) == []


# --- The start


def test_the_trunk_starts_as_that_of_the_autoencoder_of_the_same_seed() -> None:
    for seed in (0, 5):
        encoder = made(SMALL, seed=seed)
        autoencoder = made("autoencoder,width=8,code=4", seed=seed)
        for ours, theirs in zip(
            encoder.discriminator.trunk.blocks, autoencoder.trunk.blocks, strict=True
        ):
            assert torch.equal(ours[0].parametrizations.weight.original, theirs[0].weight)
            assert torch.equal(ours[0].bias, theirs[0].bias)
        images = quadrants(9).read(np.arange(9))
        ours, theirs = encoder.taps(images), autoencoder.taps(images)
        for level in ("trunk", "multi"):  # GroupNorm takes the scale away
            torch.testing.assert_close(ours[level], theirs[level], rtol=0.01, atol=0.01)


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
        first, again, third = (encoder.sample(7, seed=s) for s in (0, 0, 1))
        latent = torch.randn(7, 6, generator=encoder._noise(0, "prior"))
        expected = (1 + np.tanh(2 * encoder.generator.decoder(latent).numpy() - 1)) / 2
    assert first.shape == (7, 1, 32, 32) and 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, third)
    np.testing.assert_allclose(first.numpy(), expected, atol=1e-5)


# --- Fits


def test_budget_steps_and_terms_are_reported_and_a_seed_repeats_all_of_it() -> None:
    encoder, again, third = made(SMALL), made(SMALL), made(SMALL)
    report = encoder.fit(quadrants(40), labels=None, budget=300, seed=0)
    assert (report.images_seen, report.steps) == (300, 10)
    assert list(report.terms) == ["discriminator", "generator"]
    same = again.fit(quadrants(40), labels=None, budget=300, seed=0)
    assert report == same and apart(state(encoder), state(again)) == []
    third.fit(quadrants(40), labels=None, budget=300, seed=1)
    names = {name for name, _ in encoder.named_parameters()}
    assert set(apart(state(encoder), state(third))) >= names
    assert not encoder.training


def test_a_rate_far_too_high_is_reported_in_one_line() -> None:
    with pytest.raises(BenchError, match=r"diverged.*try a lower rate than 1e\+30") as caught:
        made(f"{SMALL},rate=1e30").fit(quadrants(9), labels=None, budget=384, seed=0)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("latent=0", "latent=0: must be 1 or more"),
        ("batch=0", "batch=0: must be 1 or more"),
        ("generator_rate=-1", "generator_rate=-1: must be above 0"),
        ("width=12", "width=12: must be a positive multiple of 8"),
        ("rate=0", "rate=0: must be above 0"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line_with_what_is_allowed(
    argument: str, message: str
) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"gan,{argument}")
    assert str(caught.value) == f"gan,{message}"


def test_a_fits_notes_are_about_its_own_images_and_samples() -> None:
    encoder = made(SMALL)
    report = encoder.fit(quadrants(40), labels=None, budget=128, seed=4)
    with torch.no_grad():
        fake = encoder.generate(40, encoder._noise(4, "signs"))
        real = quadrants(40).read(_adversarial.rows_for_notes(quadrants(40), 4))
        scores = encoder.discriminator(real), encoder.discriminator(fake)
    assert report.notes == collapse_signs(real, fake, scores)


def test_normalising_changes_no_parameter_of_a_start() -> None:
    with seeded(0):
        trunk = ConvTrunk(1, 8)
    with seeded(0):
        judge = Discriminator(1, 8).normalised()
        Generator(3, 1, 8)
    parameters = [p for name, p in judge.trunk.named_parameters() if "original" in name]
    assert all(torch.equal(p, b[0].weight) for p, b in zip(parameters, trunk.blocks, strict=True))  # type: ignore[index]
