"""The importance-weighted bound against a model whose likelihood is known, and against the VAE."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from bench.encoders.parts import variational as _variational
from bench.encoders.parts.variational import divergence
from bench.encoders.variational.iwae import log_likelihoods, log_ratios, tightening
from bench.errors import BenchError
from tests.kit import trained
from tests.kit.trained import apart, learnt, made, quadrants

SIZES = "width=8,code=4"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def terms_of(encoder: Any, batch: Tensor) -> dict[str, Tensor]:
    """The loss of one batch; its noise begins anew."""
    loss = trained.loss_of(_variational, encoder, quadrants(2))
    return dict(loss(batch, np.arange(len(batch))))


# --- The bound of a model that can be solved: z ~ N(0, 1), x|z ~ N(z, 1), so x ~ N(0, 2)


def bounds(
    mean: float, deviation: float, *, x: float = 1.5, largest: int = 16
) -> dict[int, Tensor]:
    """The bound of k draws of q(z|x) = N(mean, deviation^2), many times, for each k up to `largest`."""
    codes = mean + deviation * drawn(largest, 20_000, 1)
    posterior = torch.tensor([[mean]]).double(), torch.tensor([[2 * math.log(deviation)]]).double()
    weights = Normal(codes, 1.0).log_prob(torch.tensor(x).double()).sum(dim=2)
    weights += log_ratios(codes, *posterior)
    return {k: weights[:k].mean(dim=0) + tightening(weights[:k]) for k in (1, 2, 4, 8, 16)}


def test_the_bound_grows_with_the_number_of_codes_and_stays_below_the_likelihood() -> None:
    truth = float(Normal(0.0, 2**0.5).log_prob(torch.tensor(1.5)))
    means = {k: float(values.mean()) for k, values in bounds(0.2, 1.3).items()}
    for smaller, larger in itertools.pairwise(means):
        assert means[smaller] < means[larger] < truth + 0.01
    assert means[16] == pytest.approx(truth, abs=0.05)
    squares = (1.5 - 0.2) ** 2 + 0.2**2 + 2 * 1.3**2  # of x - z and of z, on average
    entropy = 0.5 * math.log(2 * math.pi * math.e * 1.3**2)
    expected = -0.5 * squares - math.log(2 * math.pi) + entropy
    assert means[1] == pytest.approx(expected, abs=0.04)


def test_with_the_true_posterior_every_draw_gives_the_likelihood_and_nothing_can_be_added() -> None:
    truth = Normal(0.0, 2**0.5).log_prob(torch.tensor(1.5).double())
    for values in bounds(0.75, 0.5**0.5).values():
        torch.testing.assert_close(values, truth.expand(20_000))


def test_weights_add_what_jensens_inequality_says_never_less_than_0() -> None:
    weights = 5 * drawn(7, 100)
    expected = weights.exp().mean(dim=0).log() - weights.mean(dim=0)
    torch.testing.assert_close(tightening(weights), expected)
    assert tightening(weights).min() > 0
    alike = drawn(1, 100).expand(7, 100)
    torch.testing.assert_close(tightening(alike), torch.zeros(100).double(), atol=1e-12, rtol=0)
    assert tightening(drawn(1, 100)).tolist() == [0] * 100
    assert tightening(1e6 * drawn(7, 100).float()).isfinite().all()


def test_the_ratios_are_those_of_pytorchs_distributions() -> None:
    codes, mean, log_variance = drawn(5, 3, 4), drawn(3, 4, seed=1), drawn(3, 4, seed=2)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = (Normal(0.0, 1.0).log_prob(codes) - posterior.log_prob(codes)).sum(dim=2)
    torch.testing.assert_close(log_ratios(codes, mean, log_variance), expected)


def test_the_likelihoods_are_normal_at_the_mean_squared_error() -> None:
    images, rebuilt = drawn(3, 1, 4, 4), drawn(5, 3, 1, 4, 4, seed=1)
    deviation = (rebuilt - images).square().mean().sqrt()
    expected = Normal(rebuilt, deviation).log_prob(images).sum(dim=(2, 3, 4))
    values = log_likelihoods(images, rebuilt)
    torch.testing.assert_close(values - values[0, 0], expected - expected[0, 0])


# --- The loss of the encoder


def bound_by_hand(encoder: Any, batch: Tensor, samples: int, deviation: Tensor) -> Tensor:
    """The negative bound from PyTorch's distributions, at a likelihood of this deviation."""
    noise = _variational.posterior_noise(encoder, 0)
    mean, log_variance = encoder.posterior(batch)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    standard = torch.randn((samples, *mean.shape), generator=noise).to(mean.dtype)
    codes = mean + standard * posterior.scale
    rebuilt = torch.stack([encoder.decode(code) for code in codes])
    likelihood = Normal(rebuilt, deviation).log_prob(batch).sum(dim=(2, 3, 4))
    ratio = (Normal(0.0, 1.0).log_prob(codes) - posterior.log_prob(codes)).sum(dim=2)
    bound = (likelihood + ratio).logsumexp(dim=0) - math.log(samples)
    # The mean of the ratios makes way for its expectation.
    exact = kl_divergence(posterior, Normal(torch.zeros_like(mean), 1.0)).sum(dim=1)
    return -(bound - ratio.mean(dim=0) - exact).mean()


@pytest.mark.parametrize("samples", [1, 5])
def test_the_loss_and_its_slopes_are_those_of_the_bound_at_the_variance_that_it_has(
    samples: int,
) -> None:
    encoder = made(f"iwae,{SIZES},samples={samples}").double()
    batch = quadrants(3).read(np.arange(3)).double()
    total = torch.stack(list(terms_of(encoder, batch).values())).sum()
    with torch.no_grad():
        noise = _variational.posterior_noise(encoder, 0)
        mean, log_variance = encoder.posterior(batch)
        codes = _variational.drawn(mean.expand(samples, -1, -1), log_variance, noise)
        squares = [(encoder.decode(code) - batch).square() for code in codes]
        deviation = torch.stack(squares).mean().sqrt()
    expected = bound_by_hand(encoder, batch, samples, deviation)
    torch.testing.assert_close(total, expected)
    parameters = list(encoder.parameters())
    gradients, by_hand = (torch.autograd.grad(code, parameters) for code in (total, expected))
    for ours, theirs in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


def test_more_codes_lower_the_loss_of_one_model() -> None:
    batch, losses = quadrants(64).read(np.arange(64)), list[float]()
    for samples in (1, 5, 25):
        with torch.no_grad():
            terms = terms_of(made(f"iwae,{SIZES},samples={samples}"), batch)
        assert list(terms) == ["reconstruction", "divergence", "tightening"]
        losses.append(sum(float(term) for term in terms.values()))
    assert losses[0] > losses[1] > losses[2]


def test_the_divergence_is_that_of_the_vae_and_does_not_depend_on_the_draws() -> None:
    batch = quadrants(6).read(np.arange(6))
    encoder = made(f"iwae,{SIZES}")
    with torch.no_grad():
        terms, expected = terms_of(encoder, batch), divergence(*encoder.posterior(batch))
    assert float(terms["divergence"]) == pytest.approx(float(expected.sum()) / 6)


# --- The VAE


def test_one_code_is_the_vae_bit_for_bit_in_its_loss_its_slopes_and_its_training() -> None:
    batch, losses, slopes = quadrants(6).read(np.arange(6)), list[Tensor](), list[Any]()
    for name in ("vae", "iwae,samples=1"):
        encoder = made(f"{name},{SIZES}")
        losses.append(torch.stack(list(terms_of(encoder, batch).values())).sum())
        slopes.append(torch.autograd.grad(losses[-1], list(encoder.parameters())))
    assert torch.equal(*losses)
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))
    model = learnt(made(f"iwae,{SIZES},samples=1"))
    assert apart(model, learnt(made(f"vae,{SIZES}"))) == []
    assert apart(model, learnt(made(f"iwae,{SIZES},samples=2"))) != []


def test_five_codes_are_the_default_and_the_budget_counts_images() -> None:
    assert apart(learnt(made(f"iwae,{SIZES}")), learnt(made(f"iwae,{SIZES},samples=5"))) == []
    report = made(f"iwae,{SIZES}").fit(quadrants(40), labels=None, budget=300, seed=0)
    assert (report.images_seen, report.steps) == (300, 3)
    assert report.terms["tightening"] < 0
    assert len(report.notes["divergence_by_unit"]) == 4


def test_the_code_is_the_posterior_mean() -> None:
    encoder, batch = made(f"iwae,{SIZES}"), quadrants(5).read(np.arange(5))
    assert torch.equal(encoder.train().taps(batch)["code"], encoder.posterior(batch)[0])


def test_no_samples_at_all_are_reported_in_one_line() -> None:
    with pytest.raises(BenchError) as caught:
        made("iwae,samples=0")
    assert str(caught.value) == "iwae,samples=0: must be 1 or more"
