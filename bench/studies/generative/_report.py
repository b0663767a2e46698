"""What the study of generative encoders reports: its table, its claims, its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.drawing.charts import curve
from bench.drawing.sheet import sheet
from bench.report.text import table
from bench.studies.base import Claim, Report

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
  the training rows) finds in the samples; of equally frequent ones it is their number.
- Accepted: the share of random latent points whose decoding lies in the manifold of training images, in
  the classifier's trunk features (3 neighbours; Kynkäänniemi et al. 2019): how complete the latent
  space is. Recall: the share of held-out images in the manifold of the samples. Random points come
  from the prior; `autoencoder` and `vq_vae` have none: each number of their code, or entry of the
  codebook, comes from a training image of its own."""


def report(
    rows: Sequence[ModelRow],
    points: Sequence[Mapping[str, float]],
    pictures: Mapping[str, tuple[Tensor, Tensor | None]],
    *,
    classes: int,
    images: int,
    parameters: Mapping[str, Any],
) -> Report:
    """The study's answer; `points` are the VAEs of several beta, `pictures` samples and reconstructions
    of the same held-out images by name, `parameters` the budget and the seed."""
    points = sorted(points, key=lambda point: point["beta"])
    parts = [
        f"One training each (seed {parameters['seed']}) of {parameters['budget']} images of "
        f"Fashion-MNIST, 32 x 32 pixels; {images} held-out images of the validation split, and as many "
        "samples. The test split is not read. No number here ranks anything.",
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
        claims=_claims({row.name: row for row in rows}, points, classes, images),
        figures={
            "beta.svg": curve(points, x=DIVERGENCE, y=ERROR, label="beta", title=title),
            "samples.png": _sheet({name: samples for name, (samples, _) in pictures.items()}),
            "reconstructions.png": _sheet({name: again for name, (_, again) in pictures.items()}),
        },
    )


def _sheet(images: Mapping[str, Tensor | None]) -> bytes:
    return sheet([(n, x[:SHOWN].cpu().numpy()) for n, x in images.items() if x is not None])


def _claims(
    rows: Mapping[str, ModelRow], points: Sequence[Mapping[str, float]], classes: int, images: int
) -> list[Claim]:
    """What the lecture states or asks, and the answer of the table."""

    def compared(statement: str, measure: str, *names: str, holds: bool) -> Claim:
        texts = (f"{name} {getattr(rows[name], measure):.3g}" for name in names)
        return Claim(statement, tuple(texts), holds)

    def of(name: str, measure: str) -> float:
        return float(getattr(rows[name], measure))

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
            "VAE and GAN have in common: draws of N(0, I) become images of all classes "
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
            (_series("divergence", nats), _series("error", errors)),
            sorted(errors) == errors and sorted(nats, reverse=True) == nats,
        ),
    ]


def _series(name: str, values: Sequence[float]) -> str:
    return f"{name} {', '.join(f'{value:.4g}' for value in values)}"


def larger(share: float, reference: float, count: int) -> bool:
    """Is a share larger than another, each of `count` draws, beyond their 95 % interval?"""
    variance = (share * (1 - share) + reference * (1 - reference)) / count
    return bool(share - reference > 1.96 * variance**0.5)
