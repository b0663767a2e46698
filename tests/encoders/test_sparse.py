"""The sparse autoencoder against PyTorch's distributions, NumPy, and recursions by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, kl_divergence

from bench import testing
from bench.data.images import ArrayImages, Delivery, Input
from bench.encoders.autoencoders.sparse import (
    MeanActivity,
    TopK,
    absolute,
    activity,
    bernoulli_divergence,
)
from bench.encoders.parts import autoencoder as _autoencoder
from bench.errors import BenchError
from tests.kit.trained import alone, apart, learnt, loss_of, made, quadrants

Array = npt.NDArray[Any]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in (0, 1), in float64."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()


def nats(rho: Tensor) -> Tensor:
    """KL(Bernoulli(0.05) || Bernoulli(rho)), summed."""
    return kl_divergence(Bernoulli(torch.tensor(0.05).double()), Bernoulli(rho)).sum()


# --- The divergence of mean activations


def test_the_divergence_is_that_of_pytorchs_distributions_and_0_at_its_target() -> None:
    rho = drawn(1000)
    torch.testing.assert_close(bernoulli_divergence(rho).sum(), nats(rho), rtol=1e-6, atol=0)
    assert bernoulli_divergence(torch.tensor(0.05)).abs() < 1e-7
    assert bernoulli_divergence(torch.tensor([0.01, 0.04, 0.06, 0.9])).min() > 0


def test_the_first_batch_counts_by_its_own_mean() -> None:
    codes = drawn(20, 7)
    torch.testing.assert_close(MeanActivity()(codes), nats(codes.mean(dim=0)), rtol=1e-6, atol=0)


def test_the_value_is_that_at_a_moving_average_with_a_memory_of_nine_tenths() -> None:
    penalise, average = MeanActivity(), None
    for seed in range(5):
        codes = drawn(20, 7, seed=seed) ** (1 + seed)
        mean = codes.numpy().mean(axis=0)
        average = mean if average is None else 0.9 * average + 0.1 * mean
        expected = float(nats(torch.from_numpy(average)))
        assert float(penalise(codes)) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_is_the_slope_at_the_average_and_passes_through_the_batch_mean() -> None:
    penalise = MeanActivity()
    first, second = drawn(20, 7), drawn(10, 7, seed=1).requires_grad_()
    penalise(first)
    [gradient] = torch.autograd.grad(penalise(second), second)
    average = (0.9 * first.mean(dim=0) + 0.1 * second.mean(dim=0)).detach()
    # The whole slope, not a tenth of it: the average is where it is taken, the batch what it moves.
    slope = [
        float(nats(average + step) - nats(average - step)) / 2e-6
        for step in 1e-6 * torch.eye(7).double()
    ]
    expected = torch.tensor(slope).double().expand(10, 7) / 10
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)
    by_hand = (-0.05 / average + 0.95 / (1 - average)) / 10
    torch.testing.assert_close(gradient, by_hand.expand(10, 7), rtol=1e-6, atol=0)


def test_units_that_are_always_on_or_always_off_have_a_finite_penalty() -> None:
    for value in (0.0, 1.0):
        codes = torch.full((4, 3), value, requires_grad=True)
        penalty = MeanActivity()(codes)
        penalty.backward()
        assert penalty.isfinite() and codes.grad is not None and codes.grad.isfinite().all()


def test_each_fit_begins_its_average_anew() -> None:
    encoder, batch, rows = (
        made("sparse,width=8,code=16"),
        quadrants(6).read(np.arange(6)),
        np.arange(6),
    )
    values = []
    for _ in range(2):
        loss = loss_of(_autoencoder, encoder, quadrants(6))
        values.append([loss(x, rows)["sparsity"].item() for x in (batch, batch**2)])
    assert values[0] == values[1]


def test_trained_units_are_active_a_twentieth_of_the_time() -> None:
    form = Input(size=(4, 4), channels=1)
    images = Delivery(testing.tiny_images(256, form), form)
    encoder = made("sparse,track=mlp,weight=3,code=32,rate=0.0005", side=4)
    before = activity(encoder, images)["mean_activation"]
    report = encoder.fit(images, labels=None, budget=200 * 128, seed=0)
    assert 0.03 < report.notes["mean_activation"] < 0.07
    assert before > 0.3


# --- The sum of sizes


def test_the_sum_of_sizes_is_that_of_numpy_in_units_of_the_codes_root_mean_square() -> None:
    codes = (drawn(9, 5) - 0.4).clamp(min=0)
    x = codes.numpy()
    expected = np.abs(x).sum(axis=1).mean() / np.sqrt((x**2).mean())
    assert float(absolute(codes)) == pytest.approx(expected)
    assert float(absolute(-codes)) == pytest.approx(expected)


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("scale", [0.01, 100])
def test_no_scale_of_code_or_decoder_lowers_the_sum_of_sizes(scale: float, track: str) -> None:
    encoder, rows = made(f"sparse,penalty=l1,width=8,code=16,track={track}"), np.arange(6)
    batch = quadrants(6).read(rows)
    loss = loss_of(_autoencoder, encoder, quadrants(6))
    with torch.no_grad():
        before, code = loss(batch, rows), encoder.encode(batch)
        for p in encoder.to_code.parameters():
            p.mul_(scale)
        after = loss(batch, rows)
        torch.testing.assert_close(encoder.encode(batch) / scale, code, rtol=1e-4, atol=1e-4)
    assert float(after["sparsity"]) == pytest.approx(float(before["sparsity"]), rel=1e-4)


def test_on_conv_no_scale_of_the_decoders_columns_changes_anything() -> None:
    encoder, rows = made("sparse,penalty=l1,width=8,code=16"), np.arange(6)
    batch = quadrants(6).read(rows)
    loss = loss_of(_autoencoder, encoder, quadrants(6))
    with torch.no_grad():
        before = loss(batch, rows)
        encoder.decoder.first.parametrizations.weight.original.mul_(torch.linspace(0.01, 100, 16))
        after = loss(batch, rows)
    for name, term in before.items():
        torch.testing.assert_close(after[name], term, rtol=1e-4, atol=0)


def test_on_conv_the_decoders_columns_have_length_1_before_and_after_training() -> None:
    encoder = made("sparse,penalty=l1,width=8,code=16,rate=0.05")
    start = encoder.decoder.first.weight.detach().clone()
    learnt(encoder)
    for weight in (start, encoder.decoder.first.weight.detach()):
        assert weight.shape == (512, 16)
        torch.testing.assert_close(weight.norm(dim=0), torch.ones(16))
    assert (encoder.decoder.first.weight - start).abs().max() > 0.01
    assert len(encoder.decoder.first.weight[0]) == encoder.dims["code"]


def test_the_sum_of_sizes_of_a_code_without_any_active_unit_has_a_finite_gradient() -> None:
    codes = torch.zeros(4, 3, requires_grad=True)
    penalty = absolute(codes)
    penalty.backward()
    assert penalty.isfinite() and codes.grad is not None and codes.grad.isfinite().all()


# --- The largest units


@pytest.mark.parametrize(("code", "k"), [(16, 1), (40, 2), (64, 4), (250, 15)])
def test_exactly_the_largest_sixteenth_is_kept(code: int, k: int) -> None:
    encoder, batch = (
        made(f"sparse,penalty=topk,width=8,code={code}"),
        quadrants(6).read(np.arange(6)),
    )
    with torch.no_grad():
        dense = encoder.to_code[0](encoder.trunk(batch)).numpy()
        codes = encoder.encode(batch).numpy()
    expected = np.zeros_like(dense)
    for row, values in enumerate(dense):
        largest = np.argsort(values)[-k:]
        expected[row, largest] = values[largest]
    np.testing.assert_array_equal(codes, expected)
    assert ((codes != 0).sum(axis=1) == k).all()


def test_the_largest_are_the_highest_and_not_those_of_the_largest_size() -> None:
    codes = torch.tensor([[-9.0, 1, 2, 0.5], [-1, -2, -3, -4]])
    assert TopK(2)(codes).tolist() == [[0, 1, 2, 0], [-1, -2, 0, 0]]


def test_gradients_flow_through_what_is_kept_and_through_nothing_else() -> None:
    codes, weights = (drawn(6, 16) - 0.5).requires_grad_(), drawn(6, 16, seed=1)
    active = TopK(3)(codes)
    [slopes] = torch.autograd.grad((active * weights).sum(), codes)
    torch.testing.assert_close(slopes, weights * (active != 0))


# --- Notes


class Shown(nn.Module):
    """Its code is the image: (n, 1, 1, d)."""

    def __init__(self, sign: int = 1) -> None:
        super().__init__()
        self.sign, self.unused = sign, nn.Parameter(torch.zeros(1))

    def encode(self, images: Tensor) -> Tensor:
        return self.sign * images.flatten(1)


def noted(codes: Array, *, sign: int = 1) -> dict[str, Any]:
    """The notes of codes (n, d), given as bytes: 255 is 1."""
    images = ArrayImages(codes.astype(np.uint8)[:, None, None])
    form = Input(size=(1, codes.shape[1]), channels=1)
    notes = activity(Shown(sign), Delivery(images, form))  # type: ignore[arg-type]
    assert json.loads(json.dumps(notes, allow_nan=False)) == notes
    return notes


def test_hoyers_sparsity_is_1_of_a_single_unit_and_0_of_units_that_are_all_alike() -> None:
    assert noted(255 * np.eye(16)[[3, 3, 7]])["hoyer"] == 1
    assert noted(np.full((5, 16), 130))["hoyer"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_notes_are_those_of_numpy_whatever_the_sign(sign: int) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (1100, 9)) * (np.arange(9) != 4)
    x = codes / 255
    ratio = np.abs(x).sum(axis=1) / np.sqrt((x**2).sum(axis=1))
    notes = noted(codes, sign=sign)
    assert notes["hoyer"] == pytest.approx(((3 - ratio) / 2).mean(), rel=1e-3)
    assert notes["mean_activation"] == pytest.approx(x.mean(), rel=1e-3)
    assert notes["dead_units"] == 1


def test_units_are_dead_that_never_reach_a_hundredth_of_the_codes_root_mean_square() -> None:
    codes = np.full((10, 6), 255)
    codes[:, 1] = 0
    codes[:, 2] = 1
    codes[:, 3] = 2
    codes[:, 4] = 1 * (np.arange(10) == 6)
    codes[:, 5] = 255 * (np.arange(10) == 6)  # once is enough
    assert 1 < 0.01 * np.sqrt((codes**2.0).mean()) < 2
    assert noted(codes)["dead_units"] == 3


def test_a_code_that_is_always_0_has_only_dead_units() -> None:
    assert noted(np.zeros((5, 16)))["dead_units"] == 16


def test_images_without_any_active_unit_leave_hoyers_sparsity_within_0_and_1() -> None:
    codes = 255 * np.eye(16)
    codes[3:] = 0
    assert 0 <= noted(codes)["hoyer"] <= 1


def test_a_code_of_one_unit_has_no_hoyers_sparsity() -> None:
    assert noted(np.arange(5)[:, None])["hoyer"] is None


# --- Weights


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("penalty", ["kl", "l1"])
def test_weight_0_is_the_same_architecture_on_squared_error_alone_bit_for_bit(
    penalty: str, track: str
) -> None:
    text = f"sparse,penalty={penalty},track={track},width=8,code=16"
    weighed = learnt(made(f"{text},weight=0"))
    assert apart(weighed, learnt(alone(made(text)))) == []
    assert apart(weighed, learnt(made(f"{text},weight=5"))) != []


def test_topk_trains_on_squared_error_alone() -> None:
    encoder, rows = made("sparse,penalty=topk,width=8,code=16"), np.arange(6)
    terms = loss_of(_autoencoder, encoder, quadrants(6))(quadrants(6).read(rows), rows)
    assert list(terms) == ["reconstruction"]


@pytest.mark.parametrize(("penalty", "usual"), [("kl", 0.1), ("l1", 0.03)])
def test_the_weight_multiplies_the_penalty_and_has_the_default_that_is_said(
    penalty: str, usual: float
) -> None:
    text, rows = f"sparse,penalty={penalty},width=8,code=16", np.arange(6)
    batch, losses = quadrants(6).read(rows), []
    for weight in ("", f",weight={usual}", ",weight=7"):
        encoder = made(text + weight)
        loss = loss_of(_autoencoder, encoder, quadrants(6))
        with torch.no_grad():
            losses.append(loss(batch, rows))
            code = encoder.encode(batch)
    expected = absolute(code) if penalty == "l1" else nats(code.double().mean(dim=0))
    assert torch.equal(losses[0]["sparsity"], losses[1]["sparsity"])
    assert float(losses[0]["sparsity"]) == pytest.approx(usual * float(expected), rel=1e-4)
    assert float(losses[2]["sparsity"]) == pytest.approx(7 * float(expected), rel=1e-4)
    assert torch.equal(losses[0]["reconstruction"], losses[2]["reconstruction"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("penalty=kl,weight=-1", "sparse,penalty=kl,weight=-1: must be 0 or more"),
        ("penalty=l1,weight=-0.5", "sparse,penalty=l1,weight=-0.5: must be 0 or more"),
        ("penalty=topk,weight=1", "sparse,penalty=topk,weight=1: topk has no weight; omit it"),
        ("penalty=topk,code=15", "sparse,penalty=topk,code=15: must be 16 or more"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line_with_what_is_allowed(
    arguments: str, message: str
) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"sparse,{arguments}")
    assert str(caught.value) == message
