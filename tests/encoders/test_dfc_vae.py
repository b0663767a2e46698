"""The deep-feature-consistent VAE: its feature network is never updated, its maps have equal weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from bench import testing
from bench.data.images import Input, convert
from bench.data.samples import SourceInfo
from bench.datasets.base import DataSets
from bench.encoders.base import Encoder
from bench.encoders.parts import variational as _variational
from bench.encoders.parts.variational import reconstruction
from bench.encoders.variational.dfc_vae import FeatureMaps, convert_to, feature_reconstruction
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.workspace import Fitted, TrainingData, Workspace, fresh
from tests.kit import TOYS, trained
from tests.kit.trained import (
    FORM,
    apart,
    assert_slopes_are_those_of_small_steps,
    learnt,
    made,
    quadrants,
)

SIZES = "width=8,code=4"


class Whole(Encoder):
    """Features are the pixels: a true identity, in one piece."""

    def __init__(self, input: Input = FORM) -> None:
        super().__init__()
        self.input, self.dims = input, {"code": input.channels * input.size[0] * input.size[1]}

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"code": images.flatten(1)}


class Watched(Whole):
    """With batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head = nn.Flatten()

    def stages(self) -> nn.Sequential:
        return nn.Sequential(self.body, self.head)

    def taps(self, images: Tensor) -> Mapping[str, Tensor]:
        raise AssertionError("its stages are asked")


def dfc(features: Encoder | None = None, arguments: str = "", *, seed: int = 0) -> Any:
    """An untrained one of grey images, its features given."""
    features = features or made("autoencoder,width=8,code=4", seed=9)
    depends: Any = {"features": SimpleNamespace(encoder=features)}
    spec = resolve("encoders", f"dfc_vae,{SIZES}{arguments}")
    return fresh(spec, SourceInfo(1, 32, 32, {}), seed, depends)


def terms_of(encoder: Any, batch: Tensor) -> dict[str, Tensor]:
    """The loss of one batch; its noise begins anew."""
    loss = trained.loss_of(_variational, encoder, quadrants(2))
    return dict(loss(batch, np.arange(len(batch))))


def rebuilt(encoder: Any, batch: Tensor) -> tuple[Tensor, Normal]:
    """The images of the codes that the first loss draws, and their posterior."""
    mean, log_variance = encoder.posterior(batch)
    noise = _variational.posterior_noise(encoder, 0)
    images = encoder.decode(_variational.drawn(mean, log_variance, noise))
    return images, Normal(mean, (0.5 * log_variance).exp())


# --- Maps


def test_maps_are_the_outputs_of_all_stages() -> None:
    encoder, batch = made("autoencoder,width=8,code=4"), quadrants(3).read(np.arange(3))
    maps = FeatureMaps(encoder)(batch)
    assert [tuple(features.shape) for features in maps] == [(3, 8, 16, 16), (3, 16, 8, 8), (3, 512)]
    for values, expected in zip(maps, encoder.trunk.maps(batch), strict=True):
        assert torch.equal(values.flatten(1), expected.flatten(1))


def test_what_has_no_stages_gives_its_features() -> None:
    batch = quadrants(3).read(np.arange(3))
    [features_map] = FeatureMaps(Whole())(batch)
    assert torch.equal(features_map, batch.flatten(1))


@pytest.mark.parametrize(
    "spec", ["autoencoder,track=mlp", "pca,dim=3", "random_patches,patches=9", "supervised,width=8"]
)
def test_maps_of_many_kinds_of_encoders_pass_gradients(spec: str) -> None:
    features = testing.EncoderCase(resolve("encoders", spec)).encoder
    batch = quadrants(2).read(np.arange(2)).requires_grad_()
    for features_map in FeatureMaps(features)(batch):
        [slope] = torch.autograd.grad(features_map.square().sum(), batch, retain_graph=True)
        assert slope.isfinite().all() and slope.any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "form", [Input(size=(32, 32), channels=1), Input(size=(32, 32), channels=3)]
)
def test_images_are_shown_in_the_channels_that_the_network_takes(
    channels: int, form: Input
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, channels, 32, 32)).astype(np.uint8)
    converted = convert_to(torch.from_numpy(images) / 255, form)
    expected = torch.from_numpy(convert(images, form)) / 255
    torch.testing.assert_close(converted, expected, atol=0.6 / 255, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (28, 20), (64, 64)])
def test_images_are_shown_whole_at_the_size_that_the_network_takes(size: tuple[int, int]) -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    converted = convert_to(ramp, Input(size=size, channels=1, crop=0.9))
    assert converted.shape == (1, 1, *size)
    places = (torch.arange(size[1]) + 0.5) / size[1] * 32 - 0.5
    inner = converted[0, 0, size[0] // 2, 2:-2]
    torch.testing.assert_close(inner, places[2:-2] / 31, atol=3e-3, rtol=0)


# --- The loss


def test_each_stage_counts_alike_in_nats_a_value_times_the_values_of_an_image() -> None:
    encoder, features = dfc(), made("autoencoder,width=8,code=4", seed=9)
    batch = quadrants(6).read(np.arange(6))
    with torch.no_grad():
        terms, (images, posterior) = terms_of(encoder, batch), rebuilt(encoder, batch)
        nats = []
        for ours, theirs in zip(
            features.trunk.maps(batch), features.trunk.maps(images), strict=True
        ):
            deviation = (ours - theirs).square().mean().sqrt()
            nats.append(-Normal(theirs, deviation).log_prob(ours).mean())
        divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum() / 6
    assert list(terms) == ["features", "divergence"]
    torch.testing.assert_close(terms["features"], 1024 * sum(nats) / 3)
    assert float(terms["divergence"]) == pytest.approx(float(divergence), rel=1e-4)


@pytest.mark.parametrize("scales", [(100.0, 1.0), (0.1, 7.0)])
def test_no_scale_of_a_stage_changes_the_slope(scales: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    expected = [torch.randn(5, 3, 4, generator=generator), torch.randn(5, 9, generator=generator)]
    gradients = [
        torch.randn(values.shape, generator=generator).requires_grad_() for values in expected
    ]
    plain = torch.autograd.grad(feature_reconstruction(expected, gradients, 20), gradients)
    larger = [s * values for s, values in zip(scales, expected, strict=True)]
    scaled = feature_reconstruction(
        larger, [s * values for s, values in zip(scales, gradients, strict=True)], 20
    )
    for ours, theirs in zip(plain, torch.autograd.grad(scaled, gradients), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_stage_that_is_always_the_same_adds_no_slope() -> None:
    still = torch.ones(5, 3)
    images = torch.rand(5, 3).requires_grad_()
    lone = feature_reconstruction([still], [still + 0 * images], 3)
    [slope] = torch.autograd.grad(lone, images)
    assert lone.isfinite() and not slope.any()


def test_with_pixels_as_features_it_is_the_vae_bit_for_bit() -> None:
    batch, encoder, vae = quadrants(6).read(np.arange(6)), dfc(Whole()), made(f"vae,{SIZES}")
    terms, expected = terms_of(encoder, batch), terms_of(vae, batch)
    assert torch.equal(terms["features"], expected["reconstruction"])
    assert apart(learnt(dfc(Whole())), learnt(vae)) == []
    assert apart(learnt(dfc(Whole(), ",beta=4")), learnt(made(f"vae,{SIZES},beta=4"))) == []
    assert apart(learnt(dfc()), learnt(made(f"vae,{SIZES}"))) != []
    maps = batch.flatten(1), batch.flatten(1).flip(0)
    assert torch.equal(feature_reconstruction([maps[0]], [maps[1]], 1024), reconstruction(*maps))


def test_the_gradient_is_that_of_small_steps_with_the_noise_held() -> None:
    encoder = dfc(made("autoencoder,width=8,code=4", seed=9).double()).double()
    batch = quadrants(2).read(np.arange(2)).double()

    def value() -> Tensor:
        return torch.stack(list(terms_of(encoder, batch).values())).sum()

    assert_slopes_are_those_of_small_steps(value, list(encoder.parameters()))


# --- The feature network


def test_the_feature_network_stays_as_it_is_in_every_bit_and_in_eval_mode() -> None:
    features = Watched()
    features.body[1].running_mean.fill_(0.25)
    before = copy.deepcopy(features.state_dict())
    encoder = dfc(features)
    calls = list[tuple[bool, Tensor]]()

    def tell(norm: nn.Module, _: Any, __: Any) -> None:
        calls.append((norm.training, norm.running_mean.clone()))  # type: ignore[union-attr,operator]

    hook = nn.modules.module.register_module_forward_hook(
        lambda m, i, o: tell(m, i, o) if isinstance(m, nn.BatchNorm2d) else None
    )
    try:
        encoder.train()
        learnt(encoder)
    finally:
        hook.remove()
    assert len(calls) == 2 * 3 and not any(training for training, _ in calls)
    assert all(torch.equal(mean, torch.full((4,), 0.25)) for _, mean in calls)
    assert apart(before, features.state_dict()) == []
    # It was handed in in training mode, with gradients: that is the giver's business.
    assert features.training and all(p.requires_grad for p in features.parameters())
    assert all(p.grad is None for p in features.parameters())


def test_what_is_done_to_the_given_network_afterwards_changes_nothing() -> None:
    features = made("autoencoder,width=8,code=4", seed=9)
    encoder = dfc(features)
    with torch.no_grad():
        for p in features.parameters():
            p.zero_()
    assert apart(learnt(encoder), learnt(dfc())) == []


def test_its_own_weights_are_those_of_a_vae_and_no_more() -> None:
    encoder, vae = dfc(), made(f"vae,{SIZES}")
    assert apart(encoder.state_dict(), vae.state_dict()) == []
    assert [n for n, _ in encoder.named_modules()] == [n for n, _ in vae.named_modules()]


def test_a_deep_copy_trains_alike_and_encodes_the_posterior_mean() -> None:
    encoder = dfc()
    twin, batch = copy.deepcopy(encoder), quadrants(3).read(np.arange(3))
    assert apart(learnt(encoder), learnt(twin)) == []
    assert torch.equal(encoder.train().taps(batch)["code"], encoder.posterior(batch)[0])


def test_training_makes_the_maps_alike() -> None:
    features, images = made("autoencoder,width=8,code=4", seed=9), quadrants(256)
    maps, batch = FeatureMaps(features), images.read(np.arange(256))
    encoder = dfc(features, ",rate=0.005")

    def off() -> list[float]:
        with torch.no_grad():
            pairs = zip(maps(batch), maps(encoder.reconstruct(batch)), strict=True)
            return [float((a - b).square().mean()) for a, b in pairs]

    before = off()
    report = encoder.fit(images, labels=None, budget=20 * 128, seed=0)
    assert all(after < 0.7 * first for after, first in zip(off(), before, strict=True))
    assert set(report.notes) == {"units_in_use", "collapsed", "divergence_by_unit"}


# --- As a run builds it


def fitted(text: str) -> Fitted:
    dataset = (workspace := Workspace(DataSets(Path("nowhere")))).dataset(
        f"{TOYS / 'quadrants'}.py"
    )
    train = dataset.split("train")
    data = TrainingData.of(dataset, train.rows, train.y)
    return workspace.fitted(resolve("encoders", text), data, seed=0)


@pytest.mark.parametrize(("name", "supervised"), [("autoencoder", False), ("supervised", True)])
def test_features_are_fitted_first_and_their_images_and_labels_count(
    name: str, supervised: bool
) -> None:
    fit = fitted(f"dfc_vae,{SIZES},features={name}%2Cwidth%3D8%7E64~32")
    assert fit.images_seen == 96 and fit.report.images_seen == 32
    assert fit.supervised is supervised and not fit.encoder.uses_labels
    assert [fitted_one.report.images_seen for fitted_one in fit.depends.values()] == [64]


def test_by_default_features_are_those_of_the_autoencoder_as_it_is_ranked() -> None:
    spec = resolve("encoders", "dfc_vae")
    assert spec.depends["features"].identity == resolve("encoders", "autoencoder").identity


def test_features_without_gradients_are_reported_in_one_line() -> None:
    features = Whole()
    features.differentiable = False
    with pytest.raises(BenchError) as caught:
        dfc(features)
    message = "dfc_vae,features=...: this encoder's features have no gradients; give one that has"
    assert str(caught.value) == message


def test_a_negative_beta_is_reported_in_one_line() -> None:
    with pytest.raises(BenchError) as caught:
        dfc(arguments=",beta=-1")
    assert str(caught.value) == "dfc_vae,beta=-1: must be 0 or more"
