"""What can encoders make that make images? Likelihood, blur, classes, how regular latent space is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.drawing.charts import load_altair
from bench.encoders.base import Encoder
from bench.encoders.classical.gmm import GMM
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.trunk import conv_input
from bench.encoders.parts.variational import Variational, divergence
from bench.encoders.variational.vq_vae import Quantiser
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.features import images_of
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.seeding import generator, torch_generator
from bench.studies.base import Report, Setting
from bench.studies.generative._likelihood import Mixture, Principal, bounds, noise_variance
from bench.studies.generative._report import Found, report
from bench.studies.parts.samples import Judge, effective, sharpness, within
from bench.tasks.files import load
from bench.tasks.grants import task_targets

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/generative"  # its key in the revisions of records
TASK = "fashion_mnist-linear"  # whose training and validation rows are used; test is not read
LATENT = 64
# What is compared. Those in DENSE have a density over pixels; `dfc_vae` has one over features.
MODELS = (
    "autoencoder",
    "vae",
    "iwae",
    "wae",
    "aae",
    "vq_vae",
    "dfc_vae",
    "gan",
    "conditional_gan",
    "infogan",
)
DENSE = ("vae", "iwae")
BETAS = ("vae,beta=0.25", "vae", "vae,beta=4", "vae,beta=16")
CODES = 64  # an image, of a bound


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What all models are measured with: images (n, c, 32, 32), and who judges samples."""

    train: Tensor
    held_out: Tensor
    judge: Judge
    classes: int
    manifold: Tensor  # features of training images
    seed: int

    def row(self, name: str, samples: Tensor, rebuilt: Tensor | None, **rest: Any) -> Found:
        """Measures of samples and of reconstructions of `held_out`, both cut to [0, 1]."""
        usual = float(sharpness(self.held_out).mean())
        features = self.judge.features(samples.clamp(0, 1))
        blur = None if rebuilt is None else float(sharpness(rebuilt.clamp(0, 1)).mean()) / usual
        return Found(
            name=name,
            sharpness_of_samples=float(sharpness(samples.clamp(0, 1)).mean()) / usual,
            sharpness_of_reconstructions=blur,
            classes=effective(self.judge.classes(features), self.classes),
            accepted=within(self.manifold, features),
            recall=within(features, self.judge.features(self.held_out)),
            **rest,
        )

    def noise(self, what: str) -> torch.Generator:
        return torch_generator(self.seed, what, self.train.device)


def run(*, setting: Setting, budget: str = "300k", images: int = 2000, seed: int = 0) -> Report:
    """Train each model once on Fashion-MNIST's training rows at `budget` images, or take the weights that
    the cache has; measure it on `images` held-out (validation) images and as many samples. Raises
    BenchError for fewer than 10 images, and where charts cannot be drawn.
    """
    if images < 10:
        raise BenchError(f"generative: images={images}; 10 or more are wanted")
    load_altair()
    task = load(TASK)
    device = chosen_device(setting.device)
    workspace = Workspace(setting.datasets, cache=setting.cache, levels={None}, device=device)
    dataset = workspace.dataset(task.dataset)
    train, val = dataset.split("train"), dataset.split("val")
    labels = {name: train.y[name] for name in task_targets(task, dataset.meta)}
    data = TrainingData.of(dataset, np.arange(len(train)), labels)

    def fitted(spec: str) -> Encoder:
        setting.tell(f"{spec}: training, or from the cache")
        return workspace.fitted(resolve("encoders", f"{spec}~{budget}"), data, seed=seed).encoder

    def read(split: Any) -> Tensor:
        some = generator(seed, "images").permutation(len(split))[:images]
        return delivered(split).read(np.sort(some)).to(device)

    def delivered(split: Any) -> Delivery:
        return Delivery(images_of(split), conv_input(data.info))

    judge = fitted("supervised")
    assert isinstance(judge, Supervised)
    seen = read(train)
    size = next(iter(labels.values())).max() + 1
    bench = Bench(seen, read(val), Judge(judge), int(size), Judge(judge).features(seen), seed)
    pictures: dict[str, tuple[Tensor, Tensor | None]] = {}
    found = list(_controls(bench, pictures))
    setting.tell("ppca and gmm")
    found += _classical(bench, delivered(train), pictures)
    for name in MODELS:
        found.append(_model(name, fitted(name), bench, pictures))
        setting.tell(f"{name}: {found[-1]}")
    points = [_point(spec, fitted(spec), bench) for spec in BETAS]
    return report(
        found,
        points,
        pictures,
        classes=bench.classes,
        images=len(bench.held_out),
        asked={"budget": budget, "seed": seed},
    )


def _controls(bench: Bench, pictures: dict[str, Any]) -> Iterator[Found]:
    """What the measures say of real images, and of no images."""
    noise = torch.rand(bench.held_out.shape, generator=bench.noise("uniform"))
    pictures["held-out images"] = bench.held_out, bench.held_out
    yield bench.row("held-out images", bench.held_out, bench.held_out)
    yield bench.row("uniform noise", noise.to(bench.train.device), None)


def _classical(bench: Bench, train: Delivery, pictures: dict[str, Any]) -> Iterator[Found]:
    """Probabilistic PCA and the mixture of Gaussians, of the same images at the same size."""
    shape, device = bench.train.shape[1:], bench.train.device
    noise = torch_generator(bench.seed, "classical", torch.device("cpu"))
    held_out = bench.held_out.cpu()
    ppca = Principal.of(train, held_out[0].numel(), LATENT)
    gmm = GMM(train.input, min(256, len(train) // 2), LATENT)
    gmm.fit(train, labels=None, budget=len(train), seed=bench.seed)
    mixture = Mixture.of(gmm, train)
    rebuilt = ppca.reconstruct(held_out).float().view(-1, *shape).to(device)
    for name, model, again in (("ppca", ppca, rebuilt), ("gmm", mixture, None)):
        samples = model.sample(len(held_out), noise).float().view(-1, *shape).to(device)
        pictures[name] = samples, again
        density = _mean(model.log_density(held_out), "exact")
        yield bench.row(name, samples, again, log_likelihood=density)


def _mean(nats: Tensor, kind: str) -> tuple[float, float, str]:
    return float(nats.mean()), 1.96 * float(nats.std()) / len(nats) ** 0.5, kind


@torch.inference_mode()
def _model(name: str, encoder: Encoder, bench: Bench, pictures: dict[str, Any]) -> Found:
    samples = _latent_points(encoder, bench)
    rebuilt = None
    again = getattr(encoder, "reconstruct", None)
    if again is not None:
        rebuilt = torch.cat([again(each) for each in torch.split(bench.held_out, 500)])
    density = None
    if name in DENSE:
        assert isinstance(encoder, Variational)
        variance = noise_variance(encoder, bench.train, bench.noise("variance"))
        nats = bounds(encoder, bench.held_out, variance, CODES, bench.noise("bound"))[1]
        density = _mean(nats, f"bound, {CODES} codes")
    pictures[name] = samples, rebuilt
    return bench.row(name, samples, rebuilt, log_likelihood=density)


@torch.inference_mode()
def _latent_points(encoder: Any, bench: Bench) -> Tensor:
    """Decoded random latent points: draws from the prior; without one, codes of which each number, or
    each entry of a codebook, comes from a training image of its own."""
    count = len(bench.held_out)
    if hasattr(encoder, "sample"):
        made: Tensor = encoder.sample(count, seed=bench.seed)
        return made
    codes = torch.cat([encoder.taps(each)["code"] for each in torch.split(bench.train, 500)])
    parts = [m.groups for m in encoder.modules() if isinstance(m, Quantiser)]
    split = codes.view(len(codes), parts[0] if parts else codes.shape[1], -1)
    chosen = torch.randint(
        len(codes), split.shape[:2], generator=bench.noise("codes"), device=codes.device
    )
    mixed = split.gather(0, chosen[..., None].expand_as(split)).flatten(1)[:count]
    return torch.cat([encoder.decode(each) for each in torch.split(mixed, 500)])


@torch.inference_mode()
def _point(spec: str, encoder: Encoder, bench: Bench) -> dict[str, Any]:
    """Reconstruction and divergence of a VAE on held-out images."""
    assert isinstance(encoder, Variational)
    mean, log_variance = encoder.posterior(bench.held_out)
    off = encoder.decode(mean) - bench.held_out
    accepted = within(
        bench.manifold, bench.judge.features(_latent_points(encoder, bench).clamp(0, 1))
    )
    return {
        "beta": float(resolve("encoders", spec).arguments["beta"]),
        "divergence, nats an image": float(divergence(mean, log_variance).sum(dim=1).mean()),
        "squared error a pixel": float(off.square().mean()),
        "units in use": int((mean.var(dim=0, correction=0) > 0.01).sum()),
        "accepted": accepted,
    }
