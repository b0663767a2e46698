"""The autoencoder against loops, finite differences and the mean image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bench import testing
from bench.data import SourceInfo
from bench.encoders import _autoencoder
from bench.encoders.autoencoders import autoencoder
from bench.images import Delivery
from bench.lab import fresh
from bench.specs import resolve
from tests.trained import loss_of, quadrants

Array = npt.NDArray[Any]
SOURCE = SourceInfo(1, 32, 32, {})


def made(arguments: str = "", *, seed: int = 0, channels: Any = 1) -> Any:
    spec = resolve("encoders", f"autoencoder,width=8,code=4{arguments}")
    return fresh(spec, SourceInfo(channels, 32, 32, {}), seed, {})


@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_is_the_squared_error_summed_over_pixels_and_averaged_over_images(
    channels: Any,
) -> None:
    encoder = made(channels=channels)
    images = Delivery(testing.tiny_images(3, encoder.input), encoder.input)
    batch = images.read(np.arange(3))
    with torch.no_grad():
        terms = loss_of(_autoencoder, encoder, images)(batch, np.arange(3))
        taps = encoder.taps(batch)
        rebuilt = encoder.decode(taps["code"])
    assert torch.equal(encoder.reconstruct(batch), rebuilt) and rebuilt.shape == batch.shape
    total = 0.0
    for image, other in zip(batch.tolist(), rebuilt.tolist(), strict=True):
        for plane, other_plane in zip(image, other, strict=True):
            for row, other_row in zip(plane, other_plane, strict=True):
                total += sum((a - b) ** 2 for a, b in zip(row, other_row, strict=True))
    assert list(terms) == ["reconstruction"]
    assert float(terms["reconstruction"]) == pytest.approx(total / 3, rel=1e-5)


def test_the_gradient_is_that_of_small_steps_in_float64() -> None:
    encoder, images = made().double(), quadrants(2)
    loss, rows = loss_of(_autoencoder, encoder, images), np.arange(2)
    batch, generator = images.read(rows).double(), torch.Generator().manual_seed(0)
    parameters, step = list(encoder.parameters()), 1e-6
    for _ in range(3):
        along = [torch.randn(p.shape, generator=generator).double() for p in parameters]
        size = sum(float(a.square().sum()) for a in along) ** 0.5
        slopes = torch.autograd.grad(loss(batch, rows)["reconstruction"], parameters)
        wanted = sum(float((s * a).sum()) for s, a in zip(slopes, along, strict=True)) / size
        values = []
        with torch.no_grad():
            for sign in (1, -2):  # ahead, then as far behind
                for p, a in zip(parameters, along, strict=True):
                    p.add_(a, alpha=sign * step / size)
                values.append(float(loss(batch, rows)["reconstruction"]))
            for p, a in zip(parameters, along, strict=True):
                p.add_(a, alpha=step / size)
        assert abs(wanted) > 1e-3
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(wanted, rel=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    encoder, images = made(), quadrants(4)
    loss_of(_autoencoder, encoder, images)(images.read(np.arange(4)), np.arange(4))[
        "reconstruction"
    ].backward()
    blind = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert blind == []


def test_trained_it_beats_the_mean_image_and_its_own_start() -> None:
    images, unseen = quadrants(512), quadrants(64, seed=1).read(np.arange(64))
    encoder = made(",rate=0.01")
    mean = images.read(np.arange(512)).mean(dim=0)

    def error(rebuilt: torch.Tensor) -> float:
        return float((rebuilt - unseen).square().flatten(1).sum(dim=1).mean())

    before = error(encoder.reconstruct(unseen).detach())
    report = encoder.fit(images, labels=None, budget=30 * 128, seed=0)
    after = error(encoder.reconstruct(unseen).detach())
    assert (report.images_seen, report.steps) == (3840, 30)
    assert after < 0.5 * error(mean) < before
    assert report.terms["reconstruction"] == pytest.approx(after, rel=0.3)


def test_labels_that_are_handed_in_change_nothing() -> None:
    states = []
    for labels in (None, {"label": np.arange(20) % 2}):
        encoder = made()
        encoder.fit(quadrants(20), labels=labels, budget=20, seed=0)
        states.append(encoder.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert not encoder.uses_labels


def test_without_a_budget_it_is_the_fresh_trunk() -> None:
    start, trained = made("~0", seed=3), made("~300k", seed=3)
    assert list(start.state_dict()) == list(trained.state_dict())
    for name, value in start.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value)


@pytest.mark.parametrize("level", ["code", "trunk", "multi"])
def test_each_level_can_be_read_out(level: str) -> None:
    encoder, batch = made(f",level={level}"), quadrants(3).read(np.arange(3))
    taps = encoder.taps(batch)
    assert taps[level].shape == (3, encoder.dims[level])
    assert torch.equal(taps["code"], encoder.to_code(encoder.trunk(batch)))


def test_codes_of_any_size_can_be_built() -> None:
    for code in (1, 300):
        encoder = autoencoder.build(source=SOURCE, code=code, width=8)
        batch = quadrants(2).read(np.arange(2))
        assert encoder.taps(batch)["code"].shape == (2, code)
        assert encoder.reconstruct(batch).shape == batch.shape
