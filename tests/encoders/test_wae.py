"""The Wasserstein autoencoder: its discrepancy against a double loop and known distributions."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from bench.encoders.parts import autoencoder as _autoencoder
from bench.encoders.parts.variational import code_moments
from bench.encoders.variational.wae import SCALES, discrepancy
from bench.errors import BenchError
from tests.kit import trained
from tests.kit.trained import apart, assert_slopes_are_those_of_small_steps, learnt, made, quadrants

SIZES = "width=8,code=4"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def by_loops(codes: Tensor, others: Tensor) -> float:
    """Gretton et al. 2012, eq. 3, pair by pair."""

    def kernel(x: Tensor, y: Tensor) -> float:
        distance, sizes = float(((x - y) ** 2).sum()), [2 * len(x) * scale for scale in SCALES]
        return sum(size / (size + distance) for size in sizes)

    def within(rows: Tensor) -> float:
        pairs = list(itertools.permutations(rows, 2))
        return sum(itertools.starmap(kernel, pairs)) / len(pairs)

    across = [kernel(x, y) for x in codes for y in others]
    return within(codes) + within(others) - 2 * sum(across) / len(across)


# --- The discrepancy


@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 1), (5, 5, 3), (4, 7, 8)])
def test_it_is_the_u_statistic_of_a_double_loop(n: int, m: int, d: int) -> None:
    codes, others = 2 * drawn(n, d) + 1, drawn(m, d, seed=1)
    assert float(discrepancy(codes, others)) == pytest.approx(by_loops(codes, others))


def test_of_codes_from_the_prior_its_mean_is_0_and_it_is_as_often_below() -> None:
    values = np.array([float(discrepancy(*drawn(2, 16, 4, seed=s))) for s in range(2000)])
    assert stats.ttest_1samp(values, 0).pvalue > 1e-3
    assert 0.4 < (values < 0).mean() < 0.75


@pytest.mark.parametrize("fault", ["shifted", "narrow", "wide", "related"])
def test_it_is_positive_of_codes_from_elsewhere(fault: str) -> None:
    codes, prior = drawn(2, 400, 4)
    moved = {
        "shifted": codes + 0.5,
        "narrow": 0.5 * codes,
        "wide": 1.7 * codes,
        "related": codes[:, :1].expand(-1, 4) + 0.1 * codes,
    }[fault]
    assert discrepancy(moved, prior) > 0.02 > abs(discrepancy(codes, prior))


def test_its_mean_is_that_of_the_laws_themselves_at_any_batch_size() -> None:
    # E k(x, y) of one-dimensional normal differences, by quadrature: x - y ~ N(shift, 2).
    def kernel(shift: float) -> float:
        points = np.linspace(-12, 12, 20001)
        density = stats.norm.pdf(points, shift, 2**0.5)
        values = sum(2 * scale / (2 * scale + points**2) for scale in SCALES)
        return float((density * values).sum() * (points[1] - points[0]))

    truth = 2 * kernel(0) - 2 * kernel(1)
    for n in (2, 8):
        pairs = [drawn(2, n, 1, seed=s) for s in range(2000)]
        result = np.array([float(discrepancy(1 + codes, prior)) for codes, prior in pairs])
        assert stats.ttest_1samp(result, truth).pvalue > 1e-3


def test_its_slope_is_that_of_small_steps() -> None:
    codes, others = drawn(5, 3).requires_grad_(), drawn(5, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: discrepancy(x, others), codes)


def test_of_one_row_it_is_0_with_a_slope_of_0() -> None:
    code = drawn(1, 3).requires_grad_()
    value = discrepancy(code, drawn(1, 3, seed=1))
    value.backward()
    assert value == 0 and code.grad is not None and not code.grad.any()


# --- The loss and its weight


def loss_of(encoder: Any, *, seed: int = 0) -> Any:
    return trained.loss_of(_autoencoder, encoder, quadrants(2), seed=seed)


def test_the_loss_is_squared_error_and_the_weighted_discrepancy_from_draws_of_the_prior() -> None:
    batch, rows = quadrants(6).read(np.arange(6)), np.arange(6)
    encoder = made(f"wae,{SIZES},weight=3")
    with torch.no_grad():
        terms = loss_of(encoder)(batch, rows)
        expected = ((encoder.reconstruct(batch) - batch) ** 2).sum() / 6
        loss, code = loss_of(encoder), encoder.encode(batch)
        penalties = np.array([float(loss(batch, rows)["discrepancy"]) for _ in range(400)])
        # Its mean over draws, from a sample of the prior that is much larger.
        truth = 3 * float(discrepancy(code, drawn(2000, 4, seed=9).float()))
    assert list(terms) == ["reconstruction", "discrepancy"]
    torch.testing.assert_close(terms["reconstruction"], expected)
    assert len(set(penalties)) == 400
    assert penalties.mean() == pytest.approx(truth, abs=4 * penalties.std() / 20 + 0.02)


def test_the_prior_is_drawn_by_the_seed_alone() -> None:
    batch, rows, encoder = quadrants(6).read(np.arange(6)), np.arange(6), made(f"wae,{SIZES}")
    losses = [loss_of(encoder, seed=s)(batch, rows)["discrepancy"].item() for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_the_gradient_is_that_of_small_steps_with_the_draws_held() -> None:
    encoder, rows = made(f"wae,{SIZES},weight=100").double(), np.arange(4)
    batch = quadrants(4).read(rows).double()

    def value() -> Tensor:
        terms = loss_of(encoder)(batch, rows)
        return terms["reconstruction"] + terms["discrepancy"]

    assert_slopes_are_those_of_small_steps(value, list(encoder.parameters()))


def test_weight_0_is_the_autoencoder_bit_for_bit() -> None:
    encoder = learnt(made(f"wae,{SIZES},weight=0"))
    assert apart(encoder, learnt(made(f"autoencoder,{SIZES}"))) == []
    assert apart(encoder, learnt(made(f"wae,{SIZES}"))) != []


def test_a_last_batch_of_one_image_is_trained_on() -> None:
    encoder = learnt(made(f"wae,{SIZES}"), budget=129)
    assert all(value.isfinite().all() for value in encoder.values())


# --- What it learns, notes, samples


def test_the_penalty_brings_codes_to_the_prior_as_the_notes_say() -> None:
    losses = []
    for weight in (0, 1000):
        encoder = made(f"wae,width=8,code=2,weight={weight},rate=0.005")
        report = encoder.fit(quadrants(256), labels=None, budget=20 * 128, seed=0)
        assert json.loads(json.dumps(report.notes, allow_nan=False)) == report.notes
        with torch.no_grad():
            codes = encoder.encode(quadrants(256).read(np.arange(256))).double()
        losses.append(float(discrepancy(codes, drawn(2000, 2))))
        assert dict(report.notes) == code_moments(codes)
    assert losses[1] < 0.3 * losses[0]


def test_moments_are_those_of_numpy_and_finite_of_units_that_do_not_vary() -> None:
    codes = drawn(50, 4) * torch.tensor([1, 2, 0.5, 3]) + torch.tensor([0.0, 1, 0, -2])
    codes[:, 0] += 0.7 * codes[:, 1]
    x, notes = codes.numpy(), code_moments(codes)
    related = np.corrcoef(x.T)[~np.eye(4, dtype=bool)]
    assert notes["code_mean"] == pytest.approx(np.sqrt((x.mean(axis=0) ** 2).mean()), rel=1e-2)
    assert notes["code_correlation"] == pytest.approx(np.sqrt((related**2).mean()), rel=1e-2)
    expected = [x.std(axis=0).min(), x.std(axis=0).max()]
    assert notes["code_deviation"] == pytest.approx(expected, rel=1e-2)
    for still in (torch.ones(5, 3), torch.ones(1, 1)):
        notes = code_moments(still)
        assert notes == {"code_mean": 1, "code_correlation": 0, "code_deviation": [0, 0]}


def test_samples_are_decoded_draws_of_the_prior_that_repeat_by_their_seed() -> None:
    encoder = made(f"wae,{SIZES}")
    first, again, third = (encoder.sample(3, seed=s) for s in (0, 0, 1))
    assert first.shape == (3, 1, 32, 32)
    assert torch.equal(first, again) and not torch.equal(first, third)
    encoder.decode = lambda codes: codes
    assert stats.kstest(encoder.sample(2000, seed=0).numpy().ravel(), "norm").pvalue > 1e-3


def test_a_negative_weight_is_reported_in_one_line() -> None:
    with pytest.raises(BenchError) as caught:
        made("wae,weight=-1")
    assert str(caught.value) == "wae,weight=-1: must be 0 or more"
