"""The variational autoencoder against PyTorch's distributions, SciPy, and finite differences."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from bench.data.images import Delivery
from bench.data.samples import SourceInfo
from bench.encoders.base import FitReport
from bench.encoders.parts import variational as _variational
from bench.encoders.parts.training import noted_batches
from bench.encoders.parts.variational import divergence, drawn, reconstruction
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.workspace import fresh
from tests.kit import trained
from tests.kit.trained import quadrants

Array = npt.NDArray[Any]


def made(arguments: str = "", *, code: int = 4, seed: int = 0, channels: Any = 1) -> Any:
    spec = resolve("encoders", f"vae,width=8,code={code}{arguments}")
    return fresh(spec, SourceInfo(channels, 32, 32, {}), seed, {})


def loss_of(encoder: Any, *, seed: int = 0) -> Any:
    """A new loss: its noise begins anew."""
    return trained.loss_of(_variational, encoder, quadrants(2), seed=seed)


def noted(encoder: Any, images: Delivery, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The notes of a fit that has left every weight as it was."""
    monkeypatch.setattr(_variational, "train", lambda *_, **__: FitReport(images_seen=3))
    report = encoder.fit(images, labels=None, budget=1, seed=0)
    assert report.images_seen == 3
    return dict(report.notes)


# --- The two terms


def test_the_divergence_is_that_of_pytorchs_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = 3 * torch.randn(1000, generator=generator).double()
    log_variance = 4 * torch.randn(1000, generator=generator).double()
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_the_divergence_is_positive_but_for_the_prior_where_it_is_0() -> None:
    assert divergence(torch.zeros(1), torch.zeros(1)).tolist() == [0]
    off = torch.cat([torch.linspace(-5, -0.01, 100), torch.linspace(0.01, 5, 100)])
    assert divergence(off, torch.zeros(1)).min() > 0
    assert divergence(torch.zeros(1), off).min() > 0


def test_the_divergence_is_negative_by_no_more_than_rounding_near_the_prior() -> None:
    near = torch.linspace(-2e-3, 2e-3, 4001)
    assert divergence(torch.zeros(1), near).min() >= -torch.finfo(torch.float32).eps
    expected = kl_divergence(Normal(0.0, (0.5 * near.double()).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(
        divergence(torch.zeros(1), near).double(), expected, atol=1e-7, rtol=0
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_reconstruction_is_the_normal_likelihood_at_its_best_variance(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images, rebuilt = torch.rand(2, 5, channels, 8, 8, generator=generator).double()
    x, centre = images.numpy(), rebuilt.numpy()

    def nats(deviation: float) -> float:
        return float(-stats.norm.logpdf(x, centre, deviation).sum() / len(x))

    best = float(np.sqrt(((x - centre) ** 2).mean()))
    value = float(reconstruction(images, rebuilt))
    assert value == pytest.approx(nats(best))
    assert value < min(nats(0.99 * best), nats(1.01 * best))


def test_a_perfect_reconstruction_is_finite() -> None:
    images = torch.rand(2, 1, 4, 4)
    assert reconstruction(images, images).isfinite()


def test_the_loss_has_both_terms_in_nats_an_image_with_beta_on_the_divergence() -> None:
    plain, weighted = (loss_of(made(b)) for b in ("", ",beta=2.5"))
    batch, encoder = quadrants(6).read(np.arange(6)), made()
    with torch.no_grad():
        a, second = (loss(batch, np.arange(6)) for loss in (plain, weighted))
        mean, log_variance = encoder.posterior(batch)
    assert list(a) == list(second) == ["reconstruction", "divergence"]
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0))
    assert float(a["divergence"]) == pytest.approx(float(expected.sum()) / 6, rel=1e-4)
    assert float(second["divergence"]) == pytest.approx(2.5 * float(a["divergence"]))
    assert torch.equal(a["reconstruction"], second["reconstruction"])


def test_beta_0_drops_the_divergence() -> None:
    encoder, batch = made(",beta=0"), quadrants(6).read(np.arange(6))
    terms = loss_of(encoder)(batch, np.arange(6))
    assert terms["divergence"].item() == 0
    parameters = list(encoder.parameters())
    both = torch.autograd.grad(sum(terms.values()), parameters)
    alone = torch.autograd.grad(loss_of(encoder)(batch, np.arange(6))["reconstruction"], parameters)
    for slope, alone_slope in zip(both, alone, strict=True):
        torch.testing.assert_close(slope, alone_slope)


@pytest.mark.parametrize("beta", ["", ",beta=0", ",beta=30"])
def test_the_gradient_is_that_of_small_steps_with_the_noise_held(beta: str) -> None:
    encoder, rows = made(beta).double(), np.arange(2)
    batch, generator = quadrants(2).read(rows).double(), torch.Generator().manual_seed(0)
    parameters, step = list(encoder.parameters()), 1e-6

    def value() -> Tensor:
        terms = loss_of(encoder)(batch, rows)
        return terms["reconstruction"] + terms["divergence"]

    assert value().item() == value().item()  # the noise is the same
    slopes = torch.autograd.grad(value(), parameters)
    along = [torch.randn(p.shape, generator=generator).double() for p in parameters]
    size = sum(float(a.square().sum()) for a in along) ** 0.5
    expected = sum(float((s * a).sum()) for s, a in zip(slopes, along, strict=True)) / size
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for p, a in zip(parameters, along, strict=True):
                p.add_(a, alpha=sign * step / size)
            values.append(value().item())
    assert abs(expected) > 1e-3
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    encoder, batch = made(), quadrants(4).read(np.arange(4))
    sum(loss_of(encoder)(batch, np.arange(4)).values()).backward()
    blind = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert blind == []


class Kept(nn.Module):
    """A decoder that keeps the codes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []

    def forward(self, codes: Tensor) -> Tensor:
        self.codes.append(codes.detach())
        return codes.new_zeros(len(codes), 1, 32, 32)


def planted(encoder: Any, mean: list[float], log_variance: list[float]) -> Any:
    """The same posterior for every image."""
    with torch.no_grad():
        for layer, value in ((encoder.to_mean, mean), (encoder.to_log_variance, log_variance)):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor(value))
    return encoder


def test_codes_are_drawn_from_the_posterior_anew_each_step_by_the_seed_alone() -> None:
    mean, log_variance = [0.0, 5.0, -2.0, 1.0], [0.0, -3.0, 2.0, 20.0]
    batch, codes = quadrants(1).read(np.zeros(700, np.int64)), []
    for seed in (0, 0, 1):
        encoder = planted(made(), mean, log_variance)
        encoder.decoder = Kept()
        torch.manual_seed(len(codes))
        loss = loss_of(encoder, seed=seed)
        for _ in range(2):
            loss(batch, np.arange(700))
        codes.append(torch.cat(encoder.decoder.codes).double().numpy())
    np.testing.assert_array_equal(codes[0], codes[1])
    assert len(np.unique(codes[0][:, 0])) == 1400
    assert len(np.unique(np.concatenate([codes[0], codes[2]])[:, 0])) == 2800
    for at in range(4):
        deviation = np.exp(0.5 * min(log_variance[at], 10))  # cut: the exponential would overflow
        assert stats.kstest(codes[0][:, at], "norm", (mean[at], deviation)).pvalue > 1e-3


def test_a_code_has_the_slopes_of_a_shifted_and_scaled_draw() -> None:
    def codes(mean: Tensor, log_variance: Tensor) -> Tensor:
        return drawn(mean, log_variance, torch.Generator().manual_seed(0))

    generator = torch.Generator().manual_seed(1)
    mean, log_variance = torch.randn(2, 5, 3, generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(codes, (mean, log_variance))
    slopes = torch.autograd.grad(codes(mean, log_variance).sum(), (mean, log_variance))
    torch.testing.assert_close(slopes[0], torch.ones(5, 3).double())
    torch.testing.assert_close(slopes[1], 0.5 * (codes(mean, log_variance) - mean))


# --- Reading out, decoding, sampling


def test_the_code_is_the_posterior_mean_and_no_sample() -> None:
    encoder, batch = made(), quadrants(5).read(np.arange(5))
    with torch.no_grad():
        codes = [encoder.taps(batch)["code"] for _ in range(2)]
        codes.append(encoder.train().taps(batch)["code"])
        mean = encoder.trunk(batch) @ encoder.to_mean.weight.T + encoder.to_mean.bias
    assert torch.equal(codes[0], codes[1]) and torch.equal(codes[0], codes[2])
    assert torch.equal(codes[0], encoder.posterior(batch)[0])
    torch.testing.assert_close(codes[0], mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_decoded_rebuilt_and_sampled_at_32_pixels(channels: Any) -> None:
    encoder = made(channels=channels)
    batch = torch.rand(3, channels, 32, 32)
    assert encoder.decode(torch.randn(7, 4)).shape == (7, channels, 32, 32)
    assert encoder.sample(5, seed=0).shape == (5, channels, 32, 32)
    assert torch.equal(encoder.reconstruct(batch), encoder.decode(encoder.posterior(batch)[0]))


def test_samples_repeat_by_their_seed_and_come_from_the_prior() -> None:
    encoder, before = made(), torch.get_rng_state()
    first, again, third = (encoder.sample(3, seed=s) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), before)
    encoder.decoder = nn.Identity()
    codes = encoder.sample(2000, seed=0).numpy()
    assert codes.shape == (2000, 4)
    assert stats.kstest(codes.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(codes.T) - np.eye(4)).max() < 0.1
    assert torch.equal(encoder.decode(torch.zeros(1, 4)), torch.zeros(1, 4))


# --- Notes


def test_units_in_use_are_those_whose_mean_moves_with_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder, images = made(code=12), quadrants(30)
    batch = images.read(np.arange(30))
    with torch.no_grad():
        spread = (encoder.trunk(batch) @ encoder.to_mean.weight.T).var(dim=0, correction=0).sqrt()
        expected = torch.tensor([0.3, 0.0, 0.099, 0.101, 0, 1, 0, 0.05, 2, 0, 0, 0.01])
        encoder.to_mean.weight.mul_((expected / spread)[:, None])
        mean, log_variance = encoder.posterior(batch)
    notes = noted(encoder, images, monkeypatch)
    active = sum(np.var(column) > 0.01 for column in mean.double().numpy().T)
    assert notes["units_in_use"] == active == 4 and notes["collapsed"] is True
    nats = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).mean(dim=0)
    assert notes["divergence_by_unit"] == pytest.approx(nats.tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("code", "active", "collapsed"), [(12, 8, False), (12, 7, True), (3, 3, False), (3, 2, True)]
)
def test_fewer_units_than_8_or_than_there_are_is_a_collapse(
    code: int, active: int, collapsed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = made(code=code)
    with torch.no_grad():
        encoder.to_mean.weight.mul_(100)
        encoder.to_mean.weight[active:] = 0
    notes = noted(encoder, quadrants(20), monkeypatch)
    assert (notes["units_in_use"], notes["collapsed"]) == (active, collapsed)


def test_notes_look_at_the_training_images_and_at_no_more_of_them_than_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.array([5, 9, 9, 2])
    whole = quadrants(12)
    encoder, notes = made(), []
    for part in (rows, np.concatenate([rows, np.arange(12)])):
        monkeypatch.setattr(_variational, "noted_batches", partial(noted_batches, limit=4))
        notes.append(noted(encoder, Delivery(whole.images, whole.input, part), monkeypatch))
    assert notes[0] == notes[1]
    assert notes[0] != noted(encoder, whole, monkeypatch)


def test_many_images_are_looked_at_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, images = made(), quadrants(1100)
    notes = noted(encoder, images, monkeypatch)
    with torch.no_grad():
        mean, log_variance = encoder.posterior(images.read(np.arange(1100)))
    nats = divergence(mean, log_variance).mean(dim=0)
    assert notes["divergence_by_unit"] == pytest.approx(nats.tolist(), abs=1e-3)


def test_a_huge_beta_collapses_the_code_and_a_small_one_does_not() -> None:
    losses = {}
    for beta in (1e4, 0.1):
        encoder = made(f",rate=0.01,beta={beta:g}", code=3)
        report = encoder.fit(quadrants(256), labels=None, budget=20 * 128, seed=0)
        losses[beta] = report.notes
        assert json.loads(json.dumps(report.notes, allow_nan=False)) == report.notes
        assert set(report.terms) == {"reconstruction", "divergence"}
    assert losses[1e4]["collapsed"] is True and losses[1e4]["units_in_use"] < 3
    assert losses[0.1]["collapsed"] is False and losses[0.1]["units_in_use"] == 3
    assert sum(losses[1e4]["divergence_by_unit"]) < 0.1 * sum(losses[0.1]["divergence_by_unit"])


def test_training_lowers_the_negative_bound() -> None:
    images, encoder = quadrants(256), made(",rate=0.005")
    batch = images.read(np.arange(256))

    def bound() -> float:
        with torch.no_grad():
            return float(sum(loss_of(encoder)(batch, np.arange(256)).values()))

    before = bound()
    report = encoder.fit(images, labels=None, budget=20 * 128, seed=0)
    assert bound() < before - 500
    assert sum(report.terms.values()) == pytest.approx(bound(), abs=200)


def test_a_negative_beta_is_reported_in_one_line() -> None:
    with pytest.raises(BenchError, match=r"vae,beta=-1: must be 0 or more") as caught:
        made(",beta=-1")
    assert str(caught.value).isprintable()
