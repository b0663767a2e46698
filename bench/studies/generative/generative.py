"""How good are the images of generative encoders? Likelihood, blur, classes, and the latent space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.data.images import Delivery
from bench.data.samples import SplitName
from bench.drawing.charts import curve, load_altair
from bench.drawing.sheet import sheet
from bench.encoders.base import Encoder
from bench.encoders.classical.gmm import GMM
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.trunk import conv_input
from bench.encoders.parts.variational import Variational, divergence
from bench.encoders.variational.vq_vae import Quantiser
from bench.naming.specs import resolve
from bench.report.text import series_text, table
from bench.seeding import torch_generator
from bench.studies.base import Claim, Report, Setting, require
from bench.studies.generative._likelihood import Mixture, Principal, bounds, noise_variance
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
SHOWN = 12  # images a row of a picture
HELD_OUT, NOISE = "held-out images", "uniform noise"
DIVERGENCE, ERROR = "divergence, nats an image", "squared error a pixel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A row of the table. `log_likelihood`: mean over held-out images in nats, half the width of its
    95 % interval, and its kind. Sharpness in units of held-out images'."""

    name: str
    log_likelihood: tuple[float, float, str] | None = None
    sharpness_of_samples: float | None = None
    sharpness_of_reconstructions: float | None = None
    classes: float | None = None
    accepted: float | None = None
    recall: float | None = None

    def line(self) -> list[str]:
        likelihood = ["", "" if self.name in (HELD_OUT, NOISE) else "none"]
        if self.log_likelihood is not None:
            value, half, kind = self.log_likelihood
            likelihood = [f"{value:.1f} ± {half:.1f}", kind]
        sharpness = (self.sharpness_of_samples, self.sharpness_of_reconstructions)
        numbers = (*sharpness, self.classes, self.accepted, self.recall)
        return [self.name, *likelihood, *("" if x is None else f"{x:.3g}" for x in numbers)]


_HEAD = ["model", "log-likelihood, nats an image", "", "sharpness of samples"]
_HEAD += ["of reconstructions", "classes", "accepted", "recall"]
_NOTES = """- Log-likelihood is that of a density over pixels in [0, 1], each with Gaussian noise of one
  variance that was fitted on training images; a bound is below the true value. A GAN has none; those
  of codes without noise (`autoencoder`, `wae`, `aae`, `vq_vae`) and of features (`dfc_vae`) are not
  densities of pixels.
- Sharpness: variance of the Laplacian (Tolstikhin et al. 2018), held-out images being 1.
- Classes: exp of the entropy of the classes that a reference classifier (`supervised`, with labels of
  the training rows) sees in the samples; of equally frequent classes it is their number.
- Accepted: the share of random latent points whose decoding lies in the manifold of training images, in
  the classifier's trunk features (3 neighbours; Kynkäänniemi et al. 2019): how complete the latent
  space is. Recall: the share of held-out images in the manifold of the samples. Random points come
  from the prior; `autoencoder` and `vq_vae` have none: each number of their code, or entry of the
  codebook, comes from a different training image."""


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

    supervised = fitted("supervised")
    assert isinstance(supervised, Supervised)
    judge, device = Judge(supervised), next(supervised.parameters()).device

    def sample(split: SplitName) -> Tensor:
        total = len(fits.dataset.split(split))
        rows = sampled_rows(total, images, seed=seed, purpose="images")
        return fits.images(split, form, rows, device)

    train, count = sample("train"), int(next(iter(fits.data.labels.values())).max() + 1)
    measures = SampleMeasures(train, sample("val"), judge, count, judge.features(train), seed)
    rows = [*_controls(measures), *_classical(measures, fits.delivery("train", form))]
    for name in MODELS:
        rows.append(_model(name, fitted(name), measures))
        setting.progress(f"{name}: {rows[-1]}")
    points = [_beta_point(spec, fitted(spec), measures) for spec in BETAS]
    return report(rows, points, measures, {"budget": budget, "seed": seed})


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
    each entry of a codebook, comes from a different training image."""
    count = len(measures.held_out)
    if hasattr(encoder, "sample"):
        samples: Tensor = encoder.sample(count, seed=measures.seed)
        return samples
    codes = in_chunks(lambda chunk: encoder.taps(chunk)["code"], measures.train)
    parts = [m.groups for m in encoder.modules() if isinstance(m, Quantiser)]
    split = codes.view(len(codes), parts[0] if parts else codes.shape[1], -1)
    noise = measures.noise("codes")
    chosen = torch.randint(len(codes), split.shape[:2], generator=noise, device=codes.device)
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


def report(
    rows: Sequence[ModelRow],
    points: Sequence[Mapping[str, float]],
    measures: SampleMeasures,
    parameters: Mapping[str, Any],
) -> Report:
    """The study's answer; `points` are the VAEs of several beta, `parameters` the budget and the seed."""
    points = sorted(points, key=lambda point: point["beta"])
    images, pictures = len(measures.held_out), measures.pictures.items()
    by_name = {row.name: row for row in rows}
    parts = [
        f"One training each (seed {parameters['seed']}) of {parameters['budget']} images of "
        f"Fashion-MNIST, 32 x 32 pixels; {images} held-out images of the validation split, and as many "
        "samples. The test split is not read. These numbers rank no encoder.",
        table(_HEAD, [row.line() for row in rows]),
        _NOTES,
        "## Reconstruction against divergence",
        table([*points[0]], [[f"{value:.4g}" for value in point.values()] for point in points]),
        "![beta](beta.svg)",
        "## Samples, then reconstructions of the first row",
        "![samples](samples.png)",
        "![reconstructions](reconstructions.png)",
    ]
    title = "VAE: what a weight of the divergence (beta) costs"
    return Report.of(
        "Samples and likelihoods of generative encoders",
        parts,
        {"rows": rows, "betas": points, **parameters},
        claims=_claims(by_name, points, measures.classes, images),
        figures={
            "beta.svg": curve(points, x=DIVERGENCE, y=ERROR, label="beta", title=title),
            "samples.png": _sheet({name: samples for name, (samples, _) in pictures}),
            "reconstructions.png": _sheet({name: again for name, (_, again) in pictures}),
        },
    )


def _sheet(images: Mapping[str, Tensor | None]) -> bytes:
    return sheet([(n, x[:SHOWN].cpu().numpy()) for n, x in images.items() if x is not None])


def _claims(
    rows: Mapping[str, ModelRow], points: Sequence[Mapping[str, float]], classes: int, images: int
) -> list[Claim]:
    """What textbooks claim, and the answer of the table."""

    def of(name: str, measure: str) -> float:
        return float(getattr(rows[name], measure))

    def compared(statement: str, measure: str, *names: str, holds: bool) -> Claim:
        return Claim(statement, tuple(f"{n} {of(n, measure):.3g}" for n in names), holds)

    samples, again = "sharpness_of_samples", "sharpness_of_reconstructions"
    dense = {n: row.log_likelihood[0] for n, row in rows.items() if row.log_likelihood is not None}
    errors, nats = ([point[key] for point in points] for key in (ERROR, DIVERGENCE))
    return [
        compared(
            "samples of a VAE are blurrier than images and than samples of a GAN",
            *(samples, "vae", "gan", HELD_OUT),
            holds=of("vae", samples) < min(1, of("gan", samples)),
        ),
        compared(
            "reconstructions in feature space are sharper than in pixels",
            *(again, "vae", "dfc_vae", HELD_OUT),
            holds=of("dfc_vae", again) > of("vae", again),
        ),
        compared(
            "the VAE's latent space is more regular than the plain autoencoder's: more of its random "
            "points are accepted",
            *("accepted", "vae", "autoencoder"),
            holds=larger(of("vae", "accepted"), of("autoencoder", "accepted"), images),
        ),
        compared(
            "draws of N(0, I) become images of all classes, by the VAE and by the GAN "
            f"(at least {0.9 * classes:g} of {classes})",
            *("classes", "vae", "gan"),
            holds=min(of("vae", "classes"), of("gan", "classes")) >= 0.9 * classes,
        ),
        Claim(
            "the VAE's bound is above the exact likelihood of its linear relative, PPCA",
            tuple(f"{name} {value:.1f}" for name, value in dense.items()),
            dense["vae"] > dense["ppca"],
        ),
        Claim(
            "a larger beta gives less divergence and a larger error",
            (series_text("divergence", nats), series_text("error", errors)),
            sorted(errors) == errors and sorted(nats, reverse=True) == nats,
        ),
    ]


def larger(share: float, reference: float, count: int) -> bool:
    """Is a share larger than another, each of `count` draws, beyond their 95 % interval?"""
    variance = (share * (1 - share) + reference * (1 - reference)) / count
    return bool(share - reference > 1.96 * variance**0.5)
