"""The autoencoder against loops, finite differences and the mean image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.linalg import subspace_angles
from torch import nn

from bench import testing
from bench.data.images import ArrayImages, Delivery, Input
from bench.data.samples import SourceInfo
from bench.encoders.autoencoders import autoencoder
from bench.encoders.autoencoders.stacked import Shallow, TiedLayer
from bench.encoders.parts import autoencoder as _autoencoder
from bench.encoders.parts.autoencoder import squared_error
from bench.encoders.parts.training import train
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.workspace import fresh
from bench.seeding import seeded
from tests.kit import trained
from tests.kit.trained import apart, assert_slopes_are_those_of_small_steps, loss_of, quadrants

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
    for image, rebuilt_image in zip(batch.tolist(), rebuilt.tolist(), strict=True):
        for plane, other_plane in zip(image, rebuilt_image, strict=True):
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
        expected = sum(float((s * a).sum()) for s, a in zip(slopes, along, strict=True)) / size
        values = []
        with torch.no_grad():
            for sign in (1, -2):  # ahead, then as far behind
                for p, a in zip(parameters, along, strict=True):
                    p.add_(a, alpha=sign * step / size)
                values.append(float(loss(batch, rows)["reconstruction"]))
            for p, a in zip(parameters, along, strict=True):
                p.add_(a, alpha=step / size)
        assert abs(expected) > 1e-3
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=1e-4)


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


# --- Principal components


def plain_pictures(count: int = 64, side: int = 4) -> Delivery:
    """Grey images whose variance falls off slowly, but for a gap below the third direction."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((side**2, side**2)))
    scales = np.array([55, 45, 38, *np.linspace(12, 4, side**2 - 3)])
    flat = 127 + (rng.standard_normal((count, side**2)) * scales) @ turn.T
    images = flat.clip(0, 255).astype(np.uint8).reshape(count, 1, side, side)
    return Delivery(ArrayImages(images), Input(size=(side, side), channels=1))


@pytest.mark.parametrize("tied", [False, True])
def test_a_linear_one_finds_the_principal_components(tied: bool) -> None:
    images = plain_pictures()
    x = 4 * images.read(np.arange(64)).flatten(1) - 2
    values, vectors = np.linalg.eigh(np.cov(x.double().numpy().T, bias=True))
    with seeded(0):
        linear = nn.Linear(16, 3)
        model = Shallow(linear, TiedLayer(linear) if tied else nn.Linear(3, 16))

    def loss(batch: torch.Tensor, rows: Array) -> dict[str, torch.Tensor]:
        flat = 4 * batch.flatten(1) - 2
        return {"reconstruction": squared_error(model(flat), flat)}

    train(model, images, loss, budget=64 * 1000, seed=0, rate=0.03, batch=64)
    with torch.no_grad():
        lost = float(squared_error(model(x), x))
        spans = [linear.weight.T] if tied else [linear.weight.T, model.decode.weight]
        angles = [subspace_angles(s.double().numpy(), vectors[:, -3:]).max() for s in spans]
    assert lost == pytest.approx(values[:-3].sum(), rel=1e-4)
    assert max(angles) < 1e-2


# --- The MLP track


def shaken(encoder: Any) -> Any:
    """All parameters away from where they start, so that biases count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return encoder


def test_on_mlp_the_decoder_is_the_encoder_transposed_with_biases_of_its_own() -> None:
    encoder = shaken(trained.made("autoencoder,track=mlp,code=3", side=6)).double()
    images = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    layers = [*encoder.trunk.layers, encoder.to_code[0]]
    weights = [layer.weight.detach().numpy() for layer in layers]
    biases = [layer.bias.detach().numpy() for layer in layers]
    own_biases = [bias.detach().numpy() for bias in encoder.decoder.parameters()]
    assert [bias.shape for bias in own_biases] == [(250,), (500,), (36,)]

    def sigmoid(x: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-x)))

    x = images.flatten(1).numpy()
    hidden = sigmoid(x @ weights[0].T + biases[0])
    top = sigmoid(hidden @ weights[1].T + biases[1])
    code = top @ weights[2].T + biases[2]
    down = sigmoid(code @ weights[2] + own_biases[0])
    down = sigmoid(down @ weights[1] + own_biases[1])
    rebuilt = (down @ weights[0] + own_biases[2]).reshape(5, 1, 6, 6)
    taps = encoder.taps(images)
    np.testing.assert_allclose(taps["trunk"].detach().numpy(), top)
    np.testing.assert_allclose(taps["code"].detach().numpy(), code)
    np.testing.assert_allclose(encoder.reconstruct(images).detach().numpy(), rebuilt)
    assert encoder.level == "code" and len(list(encoder.parameters())) == 9


def test_on_mlp_no_decoder_can_undo_a_smaller_code() -> None:
    encoder = shaken(trained.made("autoencoder,track=mlp,code=3", side=6)).double()
    images = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    assert all(bias.ndim == 1 for bias in encoder.decoder.parameters())  # nothing that scales
    linear, spread = encoder.to_code[0], list[float]()
    for _ in range(2):
        with torch.no_grad():
            linear.weight.mul_(1e-2)
            spread.append(float(encoder.reconstruct(images).std(dim=0).norm()))
    # The code shrinks by a hundredth, and so does what the decoder makes of it.
    assert spread[1] / spread[0] == pytest.approx(1e-4, rel=0.01)


def test_on_mlp_the_gradient_is_that_of_small_steps_through_encoder_and_decoder() -> None:
    encoder, rows = trained.made("autoencoder,track=mlp,code=3").double(), np.arange(2)
    batch = quadrants(2).read(rows).double()
    loss = loss_of(_autoencoder, encoder, quadrants(2))
    assert_slopes_are_those_of_small_steps(
        lambda: loss(batch, rows)["reconstruction"], list(encoder.parameters())
    )


# --- The family

FAMILY = [
    "contractive,weight=3",
    "denoising,corruption=gaussian",
    "guided",
    "sparse,penalty=kl",
    "sparse,penalty=topk",
    "stacked",
]


@pytest.mark.parametrize("track", ["conv", "mlp"])
@pytest.mark.parametrize("text", FAMILY)
def test_all_start_from_the_same_weights_of_a_seed_whatever_their_objective(
    text: str, track: str
) -> None:
    sizes = f"track={track},width=8,code=16"
    plain = trained.made(f"autoencoder,{sizes}", seed=5).state_dict()
    fresh_state = trained.made(f"{text},{sizes}", seed=5).state_dict()
    shared = {name: value for name, value in fresh_state.items() if not name.startswith("heads")}
    if text == "stacked":
        plain = {name: value for name, value in plain.items() if not name.startswith("decoder")}
    assert apart(plain, shared) == []


def test_sizes_that_cannot_be_are_reported_in_one_line() -> None:
    for wrong, expected in (
        ("width=12", r"width=12: must be a positive multiple of 8"),
        ("width=0", r"width=0: must be a positive multiple of 8"),
        ("code=0", r"code=0: must be 1 or more"),
        ("rate=0", r"rate=0: must be above 0"),
        ("rate=-1", r"rate=-1: must be above 0"),
    ):
        for name in ("autoencoder", "overcomplete", *(text.partition(",")[0] for text in FAMILY)):
            with pytest.raises(BenchError, match=f"^{name},{expected}$"):
                trained.made(f"{name},{wrong}")
