"""The denoising autoencoder: its corruptions counted, and the best linear denoiser in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from bench.data.images import ArrayImages, Delivery, Input
from bench.encoders.autoencoders.denoising import denoising, gaussian, mask, salt_pepper
from bench.encoders.parts import autoencoder as _autoencoder
from bench.encoders.parts.training import train
from bench.errors import BenchError
from bench.seeding import minibatches, seeded
from tests.kit.trained import apart, learnt, loss_of, made, quadrants

Array = npt.NDArray[Any]
CORRUPTIONS = ["mask", "salt_pepper", "gaussian"]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def colours(count: int = 100) -> Tensor:
    """Images (count, 3, 20, 20) without a 0 or a 1."""
    return 0.1 + 0.8 * torch.rand(count, 3, 20, 20, generator=noise(7))


# --- Corruptions


def usual(hits: int, count: int, share: float) -> bool:
    """Is `hits` of `count` within four standard deviations of a share?"""
    return bool(abs(hits - share * count) < 4 * (count * share * (1 - share)) ** 0.5)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_a_share_of_the_pixels_is_masked_in_all_channels_and_the_rest_is_as_it_was(
    share: float,
) -> None:
    images = colours()
    masked = mask(images, share, noise())
    gone = masked == 0
    assert torch.equal(gone[:, 0], gone[:, 1]) and torch.equal(gone[:, 0], gone[:, 2])
    assert usual(int(gone[:, 0].sum()), 100 * 400, share)
    assert torch.equal(masked[~gone], images[~gone])  # not rescaled
    counts = gone[:, 0].flatten(1).sum(dim=1)
    assert stats.kstest(counts.numpy() + 0.5, stats.binom(400, share).cdf).pvalue > 1e-3


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_salt_is_as_frequent_as_pepper_and_together_they_are_the_share(share: float) -> None:
    images = colours()
    corrupted = salt_pepper(images, share, noise())
    salt, pepper = corrupted == 1, corrupted == 0
    for kind in (salt, pepper):
        assert torch.equal(kind[:, 0], kind[:, 1]) and torch.equal(kind[:, 0], kind[:, 2])
        assert usual(int(kind[:, 0].sum()), 100 * 400, share / 2)
    unchanged = ~(salt | pepper)
    assert torch.equal(corrupted[unchanged], images[unchanged])


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_gaussian_noise_is_independent_in_every_value_and_not_cut(sigma: float) -> None:
    images = colours()
    added = (gaussian(images, sigma, noise()) - images).double().numpy()
    assert stats.kstest(added.ravel(), "norm", (0, sigma)).pvalue > 1e-3
    by_channel = np.corrcoef(added.transpose(1, 0, 2, 3).reshape(3, -1))
    assert np.abs(by_channel - np.eye(3)).max() < 0.02
    bright = gaussian(torch.ones(1, 1, 50, 50), sigma, noise())
    assert (bright > 1).float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("corrupt", [mask, salt_pepper, gaussian])
def test_each_batch_is_corrupted_anew_and_a_seed_repeats_them_all(corrupt: Any) -> None:
    images, a, same, third = colours(), noise(), noise(), noise(1)
    first, second = (corrupt(images, 0.3, a) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, corrupt(images, 0.3, same))
    assert torch.equal(second, corrupt(images, 0.3, same))
    assert not torch.equal(first, corrupt(images, 0.3, third))
    assert torch.equal(images, colours())


# --- The objective


def recorded(monkeypatch: pytest.MonkeyPatch, text: str, *, seed: int) -> Any:
    """Rows, what goes into the encoder and the clean images of each step of a short training."""
    encoder = made(text)
    objective, losses = encoder.objective, []
    encode = encoder.encode

    def recording(model: Any, seed: int) -> Any:
        loss = objective(model, seed)

        def wrapped(batch: Tensor, rows: Array) -> Any:
            losses.append([rows, batch.clone()])
            return loss(batch, rows)

        return wrapped

    def watched(images: Tensor) -> Tensor:
        losses[-1].append(images.clone())
        return encode(images)  # type: ignore[no-any-return]

    encoder.objective = recording
    monkeypatch.setattr(encoder, "encode", watched)
    encoder.fit(quadrants(40), labels=None, budget=300, seed=seed)
    return losses


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_training_corrupts_by_the_seed_and_keeps_the_order_of_the_minibatches(
    corruption: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"denoising,corruption={corruption},track=mlp,code=4"
    first, again, third = (recorded(monkeypatch, text, seed=s) for s in (0, 0, 1))
    order = list(minibatches(40, 300, 128, 0))
    for (rows, clean, seen), (_, _, repeated), expected in zip(first, again, order, strict=True):
        np.testing.assert_array_equal(rows, expected)
        assert torch.equal(clean, quadrants(40).read(rows))
        assert torch.equal(seen, repeated)
        assert (seen != clean).float().mean() > 0.05
    assert not torch.equal(first[0][2] - first[0][1], third[0][2] - third[0][1])


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_the_loss_is_the_squared_error_to_the_clean_image(corruption: str) -> None:
    encoder, rows = made(f"denoising,corruption={corruption},width=8,code=4"), np.arange(6)
    batch, seen = quadrants(6).read(rows), list[Tensor]()
    loss, encode = loss_of(_autoencoder, encoder, quadrants(6)), encoder.encode
    encoder.encode = lambda images: seen.append(images) or encode(images)
    with torch.no_grad():
        terms = loss(batch, rows)
        rebuilt = encoder.decode(encode(seen[0]))
    expected = ((rebuilt - batch).double() ** 2).sum().item() / 6
    assert list(terms) == ["reconstruction"]
    assert float(terms["reconstruction"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("track", ["conv", "mlp"])
def test_it_encodes_clean_images_as_an_autoencoder_with_its_weights_does(track: str) -> None:
    sizes = f"track={track},width=8,code=4"
    encoder, plain = made(f"denoising,{sizes}"), made(f"autoencoder,{sizes}")
    plain.load_state_dict(learnt(encoder))
    batch = quadrants(5).read(np.arange(5))
    with torch.no_grad():
        expected = plain.taps(batch)
        for mode in (encoder.eval(), encoder.train()):
            for level, features in mode.taps(batch).items():
                assert torch.equal(features, expected[level])
            assert torch.equal(mode.encode(batch), expected["code"])
            assert torch.equal(mode.reconstruct(batch), plain.reconstruct(batch))


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_strength_0_is_the_autoencoder_bit_for_bit(corruption: str, track: str) -> None:
    sizes = f"track={track},width=8,code=4"
    encoder = learnt(made(f"denoising,corruption={corruption},strength=0,{sizes}"))
    assert apart(encoder, learnt(made(f"autoencoder,{sizes}"))) == []
    noisy = learnt(made(f"denoising,corruption={corruption},{sizes}"))
    assert apart(encoder, noisy) != []


@pytest.mark.parametrize(
    ("corruption", "strength"), [("mask", 0.4), ("salt_pepper", 0.1), ("gaussian", 0.1)]
)
def test_the_usual_strength_is_the_one_that_is_said(corruption: str, strength: float) -> None:
    text = f"denoising,corruption={corruption},track=mlp,code=4"
    assert apart(learnt(made(text)), learnt(made(f"{text},strength={strength}"))) == []


# --- The best linear denoiser


class Linear(nn.Module):
    """Reconstructs linearly, around grey."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, dim)

    def reconstruct(self, images: Tensor) -> Tensor:
        return 0.5 + self.layer(images.flatten(1) - 0.5).view_as(images)  # type: ignore[no-any-return]


def normal_pictures() -> Delivery:
    """Images of 2 x 2 pixels, about normal with correlated pixels."""
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((4096, 4)) @ rng.standard_normal((4, 4))
    images = (128 + 22 * mixed).clip(0, 255).round().astype(np.uint8)
    return Delivery(ArrayImages(images.reshape(-1, 1, 2, 2)), Input(size=(2, 2), channels=1))


def test_trained_on_normal_data_a_linear_one_adds_the_variance_times_the_score() -> None:
    """r(x) = x + s^2 grad log p_s(x), with p_s the data's density and the noise's together; its slope
    is S (S + s^2 I)^-1. Alain and Bengio 2014, JMLR 15:3743."""
    images, sigma = normal_pictures(), 0.15
    x = images.read(np.arange(len(images))).flatten(1).double()
    mean, cov = x.mean(dim=0), torch.cov(x.T, correction=0)
    noisy = cov + sigma**2 * torch.eye(4).double()
    with seeded(0):
        model = Linear(4)
    loss = denoising(gaussian, sigma)(model, 0)  # type: ignore[arg-type]
    train(model, images, loss, budget=400 * 4096, seed=0, rate=0.05, batch=4096)
    expected = cov @ noisy.inverse()
    assert (expected - torch.eye(4)).abs().max() > 0.3  # far from giving back what it gets
    weights = model.layer.weight.detach().double()
    torch.testing.assert_close(weights, expected, atol=0.01, rtol=0)

    points = (x[:50] + sigma * torch.randn(50, 4, generator=noise()).double()).requires_grad_()
    density = MultivariateNormal(mean, noisy).log_prob(points).sum()
    [score] = torch.autograd.grad(density, points)
    with torch.no_grad():
        denoised = model.reconstruct(points.float()).double()
        torch.testing.assert_close(denoised, points + sigma**2 * score, atol=0.01, rtol=0)


def test_noise_adds_its_variance_times_the_norm_of_a_linear_reconstruction() -> None:
    """E ||R (x + e) - x||^2 = ||R x - x||^2 + s^2 ||R||_F^2."""
    with seeded(0):
        model = Linear(4)
    x = torch.rand(1, 1, 2, 2, generator=noise())
    with torch.no_grad():
        clean = (model.reconstruct(x) - x).square().sum()
        loss = denoising(gaussian, 0.3)(model, 0)  # type: ignore[arg-type]
        loss_value = loss(x.expand(200_000, 1, 2, 2), np.arange(200_000))["reconstruction"]
    expected = clean + 0.3**2 * model.layer.weight.detach().square().sum()
    assert float(loss_value) == pytest.approx(float(expected), rel=0.01)


# --- What cannot be


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("corruption=mask,strength=1", "at least 0 and below 1"),
        ("corruption=mask,strength=-0.1", "at least 0 and below 1"),
        ("corruption=salt_pepper,strength=1.5", "at least 0 and below 1"),
        ("corruption=gaussian,strength=-0.1", "0 or more"),
    ],
)
def test_a_strength_that_cannot_be_is_reported_in_one_line_with_what_is_allowed(
    arguments: str, allowed: str
) -> None:
    with pytest.raises(BenchError) as caught:
        made(f"denoising,{arguments}")
    assert str(caught.value) == f"denoising,{arguments}: must be {allowed}"
