"""What can encoders make that make images? Likelihood, blur, classes, how regular latent space is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import SplitName
from bench.drawing.charts import load_altair
from bench.encoders.base import Encoder
from bench.encoders.classical.gmm import GMM
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.trunk import conv_input
from bench.encoders.parts.variational import Variational, divergence
from bench.encoders.variational.vq_vae import Quantiser
from bench.naming.specs import resolve
from bench.seeding import torch_generator
from bench.studies.base import Report, Setting, require
from bench.studies.generative._likelihood import Mixture, Principal, bounds, noise_variance
from bench.studies.generative._report import (
    DIVERGENCE,
    ERROR,
    HELD_OUT,
    NOISE,
    ModelRow,
    report,
)
from bench.studies.parts.fits import SourceFits, sampled_rows
from bench.studies.parts.samples import Judge, effective, in_chunks, sharpness, within
from bench.tasks.files import load

REVISION = 1
KNOWN_AS = "studies/generative"  # its key in the revisions of records
TASK = "fashion_mnist-linear"  # whose training and validation rows are used; test is not read
LATENT = 64
# What is compared. Those in DENSE have a density over pixels; `dfc_vae` has one over features.
MODELS = ["autoencoder", "vae", "iwae", "wae", "aae", "vq_vae", "dfc_vae"]
MODELS += ["gan", "conditional_gan", "infogan"]
DENSE = ("vae", "iwae")
BETAS = ("vae,beta=0.25", "vae", "vae,beta=4", "vae,beta=16")
CODES = 64  # an image, of a bound


@dataclass(frozen=True, slots=True, eq=False)
class SampleMeasures:
    """Images (n, c, 32, 32) and a judge of samples, the same for all models; `pictures` are the samples
    and reconstructions of those measured so far."""

    train: Tensor
    held_out: Tensor
    judge: Judge
    classes: int
    manifold: Tensor  # features of training images
    seed: int
    pictures: dict[str, tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    def row(
        self,
        name: str,
        samples: Tensor,
        rebuilt: Tensor | None,
        log_likelihood: tuple[float, float, str] | None = None,
    ) -> ModelRow:
        """Measures of samples and of reconstructions of `held_out`, both cut to [0, 1]."""
        self.pictures[name] = samples, rebuilt
        unit = float(sharpness(self.held_out).mean())
        features = self.judge.features(samples.clamp(0, 1))
        blur = None if rebuilt is None else float(sharpness(rebuilt.clamp(0, 1)).mean()) / unit
        return ModelRow(
            name=name,
            log_likelihood=log_likelihood,
            sharpness_of_samples=float(sharpness(samples.clamp(0, 1)).mean()) / unit,
            sharpness_of_reconstructions=blur,
            classes=effective(self.judge.classes(features), self.classes),
            accepted=within(self.manifold, features),
            recall=within(features, self.judge.features(self.held_out)),
        )

    def noise(self, purpose: str) -> torch.Generator:
        return torch_generator(self.seed, purpose, self.train.device)


def run(*, setting: Setting, budget: str = "300k", images: int = 2000, seed: int = 0) -> Report:
    """Train each model once on Fashion-MNIST's training rows at `budget` images, or take the weights that
    the cache has; measure it on `images` held-out (validation) images and as many samples. Raises
    BenchError for fewer than 10 images, and where charts cannot be drawn.
    """
    require("generative", 10, images=images)
    load_altair()
    fits = SourceFits.of(setting, load(TASK))
    form = conv_input(fits.data.info)

    def fitted(spec: str) -> Encoder:
        return fits.encoder(f"{spec}~{budget}", seed)

    judge = fitted("supervised")
    assert isinstance(judge, Supervised)
    device = next(judge.parameters()).device

    def sample(split: SplitName) -> Tensor:
        total = len(fits.dataset.split(split))
        rows = sampled_rows(total, images, seed=seed, purpose="images")
        return fits.images(split, form, rows, device)

    train, labels = sample("train"), next(iter(fits.data.labels.values()))
    measures = SampleMeasures(
        train,
        sample("val"),
        Judge(judge),
        int(labels.max() + 1),
        Judge(judge).features(train),
        seed,
    )
    rows = [*_controls(measures), *_classical(measures, fits.delivery("train", form))]
    for name in MODELS:
        rows.append(_model(name, fitted(name), measures))
        setting.progress(f"{name}: {rows[-1]}")
    return report(
        rows,
        [_beta_point(spec, fitted(spec), measures) for spec in BETAS],
        measures.pictures,
        classes=measures.classes,
        images=len(measures.held_out),
        parameters={"budget": budget, "seed": seed},
    )


def _controls(measures: SampleMeasures) -> Iterator[ModelRow]:
    """The measures of real images, and of noise."""
    held_out = measures.held_out
    noise = torch.rand(held_out.shape, generator=measures.noise("uniform"))
    yield measures.row(HELD_OUT, held_out, held_out)
    yield measures.row(NOISE, noise.to(held_out.device), None)
    del measures.pictures[NOISE]


def _classical(measures: SampleMeasures, train: Delivery) -> Iterator[ModelRow]:
    """Probabilistic PCA and the mixture of Gaussians, of the same images at the same size."""
    noise = torch_generator(measures.seed, "classical", torch.device("cpu"))
    held_out = measures.held_out.cpu()
    ppca = Principal.of(train, held_out[0].numel(), LATENT)
    gmm = GMM(train.input, min(256, len(train) // 2), LATENT)
    gmm.fit(train, labels=None, budget=len(train), seed=measures.seed)
    mixture = Mixture.of(gmm, train)

    def images(pixels: Tensor) -> Tensor:
        return pixels.float().view(-1, *held_out.shape[1:]).to(measures.train.device)

    rebuilt = images(ppca.reconstruct(held_out))
    for name, model, again in (("ppca", ppca, rebuilt), ("gmm", mixture, None)):
        samples = images(model.sample(len(held_out), noise))
        yield measures.row(name, samples, again, _mean(model.log_density(held_out), "exact"))


def _mean(nats: Tensor, kind: str) -> tuple[float, float, str]:
    return float(nats.mean()), 1.96 * float(nats.std()) / len(nats) ** 0.5, kind


@torch.inference_mode()
def _model(name: str, encoder: Encoder, measures: SampleMeasures) -> ModelRow:
    held_out = measures.held_out
    samples, density = latent_points(encoder, measures), None
    again = getattr(encoder, "reconstruct", None)
    rebuilt = None if again is None else in_chunks(again, held_out)
    if name in DENSE:
        assert isinstance(encoder, Variational)
        variance = noise_variance(encoder, measures.train, measures.noise("variance"))
        nats = bounds(encoder, held_out, variance, CODES, measures.noise("bound"))[1]
        density = _mean(nats, f"bound, {CODES} codes")
    return measures.row(name, samples, rebuilt, density)


@torch.inference_mode()
def latent_points(encoder: Any, measures: SampleMeasures) -> Tensor:
    """Decoded random latent points: draws from the prior; without one, codes of which each number, or
    each entry of a codebook, comes from a training image of its own."""
    count = len(measures.held_out)
    if hasattr(encoder, "sample"):
        samples: Tensor = encoder.sample(count, seed=measures.seed)
        return samples
    codes = in_chunks(lambda chunk: encoder.taps(chunk)["code"], measures.train)
    parts = [m.groups for m in encoder.modules() if isinstance(m, Quantiser)]
    split = codes.view(len(codes), parts[0] if parts else codes.shape[1], -1)
    chosen = torch.randint(
        len(codes), split.shape[:2], generator=measures.noise("codes"), device=codes.device
    )
    mixed = split.gather(0, chosen[..., None].expand_as(split)).flatten(1)[:count]
    return in_chunks(encoder.decode, mixed)


@torch.inference_mode()
def _beta_point(spec: str, encoder: Encoder, measures: SampleMeasures) -> dict[str, float]:
    """Reconstruction and divergence of a VAE on held-out images."""
    assert isinstance(encoder, Variational)
    mean, log_variance = encoder.posterior(measures.held_out)
    error = encoder.decode(mean) - measures.held_out
    features = measures.judge.features(latent_points(encoder, measures).clamp(0, 1))
    return {
        "beta": float(resolve("encoders", spec).arguments["beta"]),
        DIVERGENCE: float(divergence(mean, log_variance).sum(dim=1).mean()),
        ERROR: float(error.square().mean()),
        "units in use": int((mean.var(dim=0, correction=0) > 0.01).sum()),
        "accepted": within(measures.manifold, features),
    }
