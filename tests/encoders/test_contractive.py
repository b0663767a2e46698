"""The contractive autoencoder against explicit Jacobians, all signs, and small steps."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from bench.data.images import ArrayImages, Delivery
from bench.encoders.autoencoders.contractive import scale_free_contraction
from bench.encoders.parts import autoencoder as _autoencoder
from bench.encoders.parts.contraction import layer_contraction, probed_contraction, total_variance
from bench.errors import BenchError
from bench.seeding import seeded
from tests.kit.trained import (
    FORM,
    alone,
    apart,
    assert_slopes_are_those_of_small_steps,
    learnt,
    loss_of,
    made,
    quadrants,
)

Array = npt.NDArray[Any]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=noise(seed)).double()


def jacobians(function: Any, inputs: Tensor) -> Tensor:
    """One (d, ...) at a time, of rows (n, ...): (n, d, values of an input)."""
    jacobians = [
        torch.autograd.functional.jacobian(lambda x: function(x[None])[0], x) for x in inputs
    ]
    return torch.stack([j.flatten(1) for j in jacobians])


def norms(function: Any, inputs: Tensor) -> Tensor:
    """||J||_F^2 of each row, from its whole Jacobian."""
    return jacobians(function, inputs).square().sum(dim=(1, 2))


# --- In closed form


def test_the_closed_form_of_sigmoid_units_is_the_norm_of_their_whole_jacobian() -> None:
    weight, bias, x = drawn(5, 7), drawn(5, seed=1), drawn(4, 7, seed=2)

    def units(inputs: Tensor) -> Tensor:
        return (inputs @ weight.T + bias).sigmoid()

    torch.testing.assert_close(layer_contraction(units(x), weight), norms(units, x))


def test_the_gradient_of_the_closed_form_is_that_of_small_steps() -> None:
    weight, bias, x = drawn(3, 4).requires_grad_(), drawn(3, seed=1).requires_grad_(), drawn(2, 4)

    def penalty(weight: Tensor, bias: Tensor) -> Tensor:
        return layer_contraction((x @ weight.T + bias).sigmoid(), weight)

    assert torch.autograd.gradcheck(penalty, (weight, bias))


# --- With random signs


def linear(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A matrix (3, 5), and ||J^T u||^2 for every sign of each of its three rows."""
    matrix = drawn(3, 5, seed=seed)
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).double()
    return matrix, (signs @ matrix).square().sum(dim=1)


def estimates(matrix: Tensor, count: int) -> Tensor:
    inputs = torch.zeros(count, matrix.shape[1]).double().requires_grad_()
    return probed_contraction(inputs @ matrix.T, inputs, noise()).detach()


def test_over_all_signs_the_estimate_has_the_mean_and_the_variance_that_it_says() -> None:
    for seed in range(5):
        matrix, values = linear(seed)
        gram = matrix @ matrix.T
        torch.testing.assert_close(values.mean(), matrix.square().sum())
        expected = 2 * (gram.square().sum() - gram.diagonal().square().sum())
        torch.testing.assert_close(values.var(correction=0), expected)


def test_each_draw_is_one_of_all_signs_and_all_are_equally_frequent() -> None:
    matrix, values = linear()
    result = estimates(matrix, 40_000)
    distinct = values.sort().values[::2]  # a sign and its opposite give the same
    nearest = (result[:, None] - distinct).abs().min(dim=1)
    torch.testing.assert_close(nearest.values, torch.zeros(40_000).double())
    counts = nearest.indices.bincount(minlength=4).double()
    assert (counts - 10_000).abs().max() < 4 * (40_000 * 0.25 * 0.75) ** 0.5


def test_by_many_draws_it_is_unbiased_with_the_variance_that_it_says() -> None:
    matrix = drawn(6, 9)
    gram = matrix @ matrix.T
    values = estimates(matrix, 100_000)
    variance = float(2 * (gram.square().sum() - gram.diagonal().square().sum()))
    mean = float(matrix.square().sum())
    assert float(values.mean()) == pytest.approx(mean, abs=4 * (variance / 100_000) ** 0.5)
    assert float(values.var()) == pytest.approx(variance, rel=0.05)


def test_each_row_has_the_norm_of_its_own_jacobian_whatever_the_inputs_shape() -> None:
    weight = drawn(4, 12)

    def code(images: Tensor) -> Tensor:
        return (images.flatten(1) @ weight.T).sin()

    pixels = drawn(3, 1, 3, 4, seed=1)
    images = pixels.repeat_interleave(50_000, dim=0).requires_grad_()
    values = probed_contraction(code(images), images, noise()).detach().view(3, -1).mean(dim=1)
    torch.testing.assert_close(values, norms(code, pixels), rtol=0.01, atol=0)


def test_of_a_single_unit_the_estimate_is_exact() -> None:
    weight, x = drawn(1, 5), drawn(4, 5, seed=1).requires_grad_()
    values = probed_contraction((x @ weight.T).tanh(), x, noise()).detach()
    torch.testing.assert_close(values, norms(lambda batch: (batch @ weight.T).tanh(), x.detach()))


def test_the_gradient_of_the_estimate_is_that_of_small_steps_with_its_signs_held() -> None:
    weight, bias = drawn(3, 4).requires_grad_(), drawn(3, seed=1).requires_grad_()
    x = drawn(2, 4, seed=2).requires_grad_()

    def penalty(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        return probed_contraction((x @ weight.T + bias).tanh(), x, noise())

    assert torch.autograd.gradcheck(penalty, (weight, bias, x))


def test_a_seed_repeats_the_signs_and_leaves_global_state() -> None:
    matrix, before = linear()[0], torch.get_rng_state()
    assert torch.equal(estimates(matrix, 50), estimates(matrix, 50))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_total_variance_is_that_of_numpy_and_0_of_one_row() -> None:
    codes = drawn(7, 3)
    assert float(total_variance(codes)) == pytest.approx(codes.numpy().var(axis=0).sum())
    assert float(total_variance(codes[:1])) == 0


# --- The MLP track


def test_on_mlp_every_layer_contracts_with_respect_to_its_own_input() -> None:
    encoder, rows = made("contractive,track=mlp,code=3,weight=0.7", side=4).double(), np.arange(2)
    with torch.no_grad():
        for p in encoder.parameters():
            p.mul_(0.3).add_(0.05)
    images = Delivery(quadrants(2).images, encoder.input)
    batch = images.read(rows).double()
    terms = loss_of(_autoencoder, encoder, images)(batch, rows)
    expected, x = torch.zeros(2).double(), batch.flatten(1)
    for layer in (*encoder.trunk.layers, encoder.to_code[0]):
        expected += norms(lambda inputs, layer=layer: layer(inputs).sigmoid(), x)  # type: ignore[misc]
        x = layer(x).sigmoid()
    torch.testing.assert_close(encoder.encode(batch), x)
    assert list(terms) == ["reconstruction", "contraction"]
    torch.testing.assert_close(terms["contraction"], 0.7 * expected.mean())
    lost = (encoder.reconstruct(batch) - batch).square().sum() / 2
    torch.testing.assert_close(terms["reconstruction"], lost)


# --- The CONV track


def terms_of(encoder: Any, *, count: int = 6, seed: int = 0) -> dict[str, Tensor]:
    """The loss of one batch; in the encoder's own precision, its signs drawn anew."""
    images, rows = quadrants(count), np.arange(count)
    batch = images.read(rows).to(next(encoder.parameters()).dtype)
    return dict(loss_of(_autoencoder, encoder, images, seed=seed)(batch, rows))


def test_on_conv_the_penalty_of_one_unit_is_its_whole_jacobian_over_its_variance() -> None:
    encoder, batch = (
        made("contractive,width=8,code=1,weight=0.7").double(),
        quadrants(4).read(np.arange(4)),
    )
    terms = terms_of(encoder, count=4)
    codes = encoder.encode(batch.double()).detach()
    expected = norms(encoder.encode, batch.double()).mean() / codes.var(correction=0)
    torch.testing.assert_close(terms["contraction"], 0.7 * expected)


def test_on_conv_the_penalty_of_many_units_is_that_on_average_over_signs() -> None:
    encoder = made("contractive,width=8,code=4").double()
    batch = quadrants(3).read(np.arange(3)).double()
    whole = jacobians(encoder.encode, batch)
    expected = whole.square().sum(dim=(1, 2)).mean() / total_variance(
        encoder.encode(batch).detach()
    )
    values = torch.stack([terms_of(encoder, count=3, seed=s)["contraction"] for s in range(150)])
    gram = whole @ whole.transpose(1, 2)
    spread = 2 * (gram.square().sum() - gram.diagonal(dim1=1, dim2=2).square().sum()) / 9
    deviation = (spread / 150).sqrt() / total_variance(encoder.encode(batch).detach())
    assert (values.mean() - expected).abs() < 4 * deviation


@pytest.mark.parametrize("scale", [0.01, 100])
def test_on_conv_no_rescaling_of_the_code_changes_the_penalty(scale: float) -> None:
    encoder = made("contractive,width=8,code=4").double()
    before = terms_of(encoder)["contraction"]
    with torch.no_grad():
        for p in encoder.to_code.parameters():
            p.mul_(scale)
    torch.testing.assert_close(terms_of(encoder)["contraction"], before)


@pytest.mark.parametrize("track", ["conv", "mlp"])
def test_the_gradient_is_that_of_small_steps_with_the_signs_held(track: str) -> None:
    encoder = made(f"contractive,track={track},width=8,code=3,weight=0.01").double()

    def value() -> Tensor:
        terms = terms_of(encoder, count=2)
        return terms["reconstruction"] + terms["contraction"]

    assert_slopes_are_those_of_small_steps(value, list(encoder.parameters()))


def test_on_conv_the_signs_come_from_a_stream_of_their_own() -> None:
    encoder = made("contractive,width=8,code=4")
    first, again, third = (terms_of(encoder, seed=s)["contraction"] for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, third)


def test_on_conv_a_last_batch_of_one_image_is_trained_on() -> None:
    encoder = learnt(made("contractive,width=8,code=4"), budget=129)
    assert all(value.isfinite().all() for value in encoder.values())


# --- The notes


def test_the_note_is_the_jacobians_norm_over_the_codes_variance() -> None:
    encoder, batch = made("contractive,width=8,code=1").double(), quadrants(4).read(np.arange(4))
    codes = encoder.encode(batch.double()).detach()
    expected = float(norms(encoder.encode, batch.double()).mean() / codes.var(correction=0))

    class Doubled(Delivery):
        def read(self, indices: Array) -> Tensor:
            return super().read(indices).double()

    images = Doubled(quadrants(4).images, encoder.input)
    assert scale_free_contraction(encoder, images) == pytest.approx(expected)


def test_notes_of_images_that_are_all_alike_can_be_written() -> None:
    images = Delivery(ArrayImages(np.zeros((3, 1, 32, 32), np.uint8)), FORM)
    encoder = made("contractive,width=8,code=4")
    noted = encoder.notes(encoder, images)
    assert json.loads(json.dumps(noted, allow_nan=False)) == noted


@pytest.mark.parametrize("track", ["conv", "mlp"])
def test_the_penalty_lowers_what_the_note_says_of_the_autoencoder(track: str) -> None:
    losses = []
    for weight in (0, 30):
        encoder = made(f"contractive,track={track},weight={weight},width=8,code=4,rate=0.005")
        report = encoder.fit(quadrants(128), labels=None, budget=12 * 128, seed=0)
        assert set(report.terms) == {"reconstruction", "contraction"}
        losses.append(report.notes["scale_free_contraction"])
    assert losses[1] < 0.8 * losses[0]


# --- Weights


def test_on_conv_weight_0_is_the_autoencoder_bit_for_bit() -> None:
    encoder = learnt(made("contractive,weight=0,width=8,code=4"))
    assert apart(encoder, learnt(made("autoencoder,width=8,code=4"))) == []
    assert apart(encoder, learnt(made("contractive,width=8,code=4"))) != []


@pytest.mark.parametrize("track", ["conv", "mlp"])
def test_weight_0_is_the_same_architecture_on_squared_error_alone_bit_for_bit(track: str) -> None:
    text = f"contractive,track={track},width=8,code=4"
    weighed = learnt(made(f"{text},weight=0"))
    assert apart(weighed, learnt(alone(made(text)))) == []
    assert apart(weighed, learnt(made(text))) != []


def test_on_mlp_the_code_is_of_sigmoid_units_and_on_conv_linear() -> None:
    batch = quadrants(4).read(np.arange(4))
    with seeded(0), torch.no_grad():
        for track, expected in (("mlp", nn.Sigmoid()), ("conv", nn.Identity())):
            encoder = made(f"contractive,track={track},width=8,code=4")
            dense = encoder.to_code[0](encoder.trunk(batch))
            assert torch.equal(encoder.encode(batch), expected(dense))


def test_a_negative_weight_is_reported_in_one_line() -> None:
    with pytest.raises(BenchError) as caught:
        made("contractive,weight=-1")
    assert str(caught.value) == "contractive,weight=-1: must be 0 or more"
