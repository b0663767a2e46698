"""The stacked autoencoder against shallow trainings, each by a loop of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.encoders.autoencoders import stacked
from bench.encoders.parts.contraction import layer_contraction
from bench.encoders.parts.trunk import stage_decoder
from bench.errors import BenchError
from bench.seeding import minibatches, seeded, stream, torch_generator
from tests.kit.trained import FORM, apart, learnt, made, quadrants

Array = npt.NDArray[Any]
BUDGET = 830  # two steps a layer, of unequal batches; and a rest
KINDS = ["plain", "denoising", "contractive"]


def encoder_of(track: str, layers: str = "plain", *, seed: int = 0) -> Any:
    return made(f"stacked,track={track},layers={layers},width=8,code=4", seed=seed)


def names(track: str) -> list[list[str]]:
    """The parameters of each layer, from the bottom."""
    if track == "mlp":
        lists = [["trunk.layers.0."], ["trunk.layers.1."], ["to_code."]]
    else:
        lists = [["trunk.blocks.0."], ["trunk.blocks.1."], ["trunk.blocks.2."], ["to_code."]]
    every = list(encoder_of(track).state_dict())
    return [[n for n in every if n.startswith(tuple(prefixes))] for prefixes in lists]


# --- Each layer is a shallow autoencoder


def shallow_mirror(
    track: str, layer: nn.Module, seed: int
) -> tuple[Callable[..., Tensor], list[Any]]:
    """What gives back the input of `layer`, and the parameters that it has beside the layer's."""
    if track == "mlp":
        linear: Any = next(m for m in layer.modules() if isinstance(m, nn.Linear))
        bias = torch.zeros(linear.in_features, requires_grad=True)
        return lambda units: units @ linear.weight + bias, [bias]
    with seeded(stream(seed, "decoder")):
        linear = next((m for m in layer.modules() if isinstance(m, nn.Linear)), None)
        mirror = stage_decoder(layer) if linear is None else nn.Linear(4, 512)
    return mirror, list(mirror.parameters())


def shallow(
    track: str, layer: nn.Module, below: Sequence[nn.Module], *, budget: int, seed: int, masks: bool
) -> None:
    """Train one layer alone, on the outputs of those below, which nothing trains."""
    images, noise = quadrants(40), torch_generator(seed, "corruption")
    give_back, others = shallow_mirror(track, layer, seed)
    adam = torch.optim.Adam([*layer.parameters(), *others], lr=4e-3)
    order = list(minibatches(40, budget, 128, seed))
    for step, rows in enumerate(order):
        inputs = images.read(rows)
        for frozen in below:
            inputs = frozen(inputs).detach()
        inputs = inputs.flatten(1) if track == "mlp" else inputs
        mask = torch.rand(inputs.shape, generator=noise) >= 0.25 if masks else 1
        rebuilt = give_back(layer(inputs * mask))
        lost = ((rebuilt - inputs) ** 2).flatten(1).sum(dim=1).mean()
        adam.param_groups[0]["lr"] = 4e-3 * 0.5 * (1 + math.cos(math.pi * step / len(order)))
        adam.zero_grad()
        lost.backward()  # type: ignore[no-untyped-call]
        adam.step()


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("layers", ["plain", "denoising"])
def test_each_layer_is_a_shallow_autoencoder_on_the_frozen_one_below_bit_for_bit(
    layers: str, track: str
) -> None:
    greedy, by_hand = encoder_of(track, layers), encoder_of(track, layers)
    start = {name: value.clone() for name, value in by_hand.state_dict().items()}
    chain = list(by_hand.chain())
    share = BUDGET // len(chain)
    for number, layer in enumerate(chain):
        seed = 3 if number == 0 else stream(3, f"layer {number}")
        remainder = BUDGET - share * (len(chain) - 1)
        budget = share if number < len(chain) - 1 else remainder
        below = chain[:number]
        shallow(track, layer, below, budget=budget, seed=seed, masks=layers == "denoising")
    encoder = learnt(greedy, budget=BUDGET, seed=3)
    assert apart(encoder, by_hand.state_dict()) == []
    assert apart(encoder, start) == list(start)


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("layers", KINDS)
def test_while_a_layer_is_trained_the_others_stay_as_they_are(
    layers: str, track: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, moved, budgets = encoder_of(track, layers), [], list[int]()
    train = stacked.train

    def watched(model: Any, *arguments: Any, budget: int, **options: Any) -> Any:
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        report = train(model, *arguments, budget=budget, **options)
        moved.append(apart(before, encoder.state_dict()))
        budgets.append(budget)
        return report

    monkeypatch.setattr(stacked, "train", watched)
    report = encoder.fit(quadrants(40), labels=None, budget=BUDGET, seed=0)
    assert moved == names(track)
    assert sum(budgets) == report.images_seen == BUDGET
    assert max(budgets) - min(budgets) < len(budgets)
    assert report.steps == sum(math.ceil(budget / 128) for budget in budgets)
    terms = ["reconstruction", "contraction"] if layers == "contractive" else ["reconstruction"]
    assert list(report.terms) == [f"{k + 1}: {term}" for k in range(len(moved)) for term in terms]


@pytest.mark.parametrize("track", ["conv", "mlp"])
def test_chain_and_stages_compose_to_the_code(track: str) -> None:
    encoder, batch = encoder_of(track), quadrants(3).read(np.arange(3))
    taps, x = encoder.taps(batch), batch
    for layer in encoder.chain():
        x = layer(x)
    assert torch.equal(x, taps["code"])
    held = [id(p) for layer in encoder.chain() for p in layer.parameters()]
    assert sorted(held) == sorted(id(p) for p in encoder.parameters())
    assert torch.equal(encoder.stages()(batch), taps[encoder.level])


def test_the_first_layer_sees_the_minibatches_that_other_encoders_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds = list[int]()

    def caught(*_: Any, seed: int, **__: Any) -> Any:
        seeds.append(seed)
        return stacked.FitReport()

    monkeypatch.setattr(stacked, "train", caught)
    encoder_of("conv").fit(quadrants(40), labels=None, budget=BUDGET, seed=3)
    assert seeds[0] == 3 and len(set(seeds)) == 4  # the later ones have orders of their own


# --- What a layer loses


def losses_of(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Each layer's shallow autoencoder and its loss, untrained."""
    calls = []

    def caught(model: Any, images: Any, loss: Any, **_: Any) -> Any:
        calls.append((model, loss))
        return stacked.FitReport()

    monkeypatch.setattr(stacked, "train", caught)
    encoder.fit(quadrants(40), labels=None, budget=BUDGET, seed=0)
    return calls


def test_on_mlp_a_contractive_layer_has_a_tenth_of_its_own_contraction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder, batch, rows = (
        encoder_of("mlp", "contractive"),
        quadrants(6).read(np.arange(6)),
        np.arange(6),
    )
    x, parts = batch.flatten(1), [*encoder.trunk.layers, encoder.to_code[0]]
    for (_, loss), layer in zip(losses_of(encoder, monkeypatch), parts, strict=True):
        units = layer(x).sigmoid()
        terms = loss(batch, rows)
        expected = 0.1 * layer_contraction(units, layer.weight).mean()
        torch.testing.assert_close(terms["contraction"], expected)
        lost = ((units @ layer.weight - x) ** 2).sum() / 6
        torch.testing.assert_close(terms["reconstruction"], lost)
        x = units.detach()


@pytest.mark.parametrize("number", range(4))
def test_on_conv_no_scale_of_a_layers_output_changes_its_contraction(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, rows, losses = quadrants(6).read(np.arange(6)).double(), np.arange(6), []
    for scale in (1, 50):
        encoder = encoder_of("conv", "contractive").double()
        model, loss = losses_of(encoder, monkeypatch)[number]
        model.double()  # its decoder too
        last = encoder.trunk.blocks[number][1] if number < 3 else encoder.to_code
        with torch.no_grad():
            for p in last.parameters():
                p.mul_(scale)
        losses.append(loss(batch, rows)["contraction"].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-9) and losses[0] > 0


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("layers", KINDS)
def test_another_seed_of_the_training_trains_otherwise_and_the_same_repeats(
    layers: str, track: str
) -> None:
    first, again, third = (
        learnt(encoder_of(track, layers), budget=BUDGET, seed=seed) for seed in (0, 0, 1)
    )
    assert apart(first, again) == []
    assert apart(first, third) == list(first)


def test_on_conv_a_contractive_layers_last_batch_of_one_image_is_trained_on() -> None:
    encoder = learnt(encoder_of("conv", "contractive"), budget=4 * 129)
    assert all(value.isfinite().all() for value in encoder.values())


def test_a_budget_smaller_than_the_layers_goes_to_the_last() -> None:
    encoder = encoder_of("conv")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    report = encoder.fit(quadrants(40), labels=None, budget=3, seed=0)
    assert (report.images_seen, report.steps) == (3, 1)
    assert apart(before, encoder.state_dict()) == names("conv")[-1]


def test_what_is_decoded_for_training_is_thrown_away() -> None:
    for track in ("conv", "mlp"):
        encoder = encoder_of(track)
        before = list(encoder.state_dict())
        assert list(learnt(encoder, budget=BUDGET)) == before
        assert not any("decode" in name for name in before)


def test_each_layer_loses_less_after_training(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = made("stacked,track=mlp,layers=plain,code=4,rate=0.005")
    images, rows, losses = Delivery(quadrants(128).images, FORM), np.arange(128), []
    train = stacked.train

    def watched(model: Any, images: Any, loss: Any, **options: Any) -> Any:
        batch = images.read(rows)
        before = loss(batch, rows)["reconstruction"].item()
        report = train(model, images, loss, **options)
        losses.append((before, loss(batch, rows)["reconstruction"].item()))
        return report

    monkeypatch.setattr(stacked, "train", watched)
    encoder.fit(images, labels=None, budget=3 * 10 * 128, seed=0)
    assert all(after < 0.8 * before for before, after in losses) and len(losses) == 3


def test_a_kind_of_layer_that_is_not_known_is_reported_in_one_line() -> None:
    with pytest.raises(BenchError, match=r"layers.*plain.*denoising.*contractive") as caught:
        made("stacked,layers=sparse")
    assert str(caught.value).isprintable()
