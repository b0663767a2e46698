"""What the study of generative encoders says: its table, its claims, its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from bench.drawing.charts import curve
from bench.drawing.sheet import sheet
from bench.report.text import table
from bench.studies.base import Claim, Report, judged

__all__ = ["Found", "more", "report"]

SHOWN = 12  # images a row of a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row of the table. `log_likelihood`: mean over held-out images in nats, half the width of its
    95 % interval, and what it is. Sharpness in units of held-out images'."""

    name: str
    log_likelihood: tuple[float, float, str] | None = None
    sharpness_of_samples: float | None = None
    sharpness_of_reconstructions: float | None = None
    classes: float | None = None
    accepted: float | None = None
    recall: float | None = None


_HEADS = [
    "model",
    "log-likelihood, nats an image",
    "",
    "sharpness of samples",
    "of reconstructions",
    "classes",
    "accepted",
    "recall",
]
_NOTES = """- Log-likelihood is that of a density over pixels in [0, 1], each with Gaussian noise of one
  variance that was fitted on training images; a bound is below the true value. A GAN has none; those
  of codes without noise (`autoencoder`, `wae`, `aae`, `vq_vae`) and of features (`dfc_vae`) are not
  densities of pixels.
- Sharpness: variance of the Laplacian (Tolstikhin et al. 2018), held-out images being 1.
- Classes: exp of the entropy of the classes that a reference classifier (`supervised`, with labels of
  the training rows) finds in the samples; of as many equally frequent ones it is their number.
- Accepted: the share of random latent points whose decoding lies in the manifold of training images, in
  the classifier's trunk features (3 neighbours; Kynkäänniemi et al. 2019): how complete the latent
  space is. Recall: the share of held-out images in the manifold of the samples. Random points come
  from the prior; `autoencoder` and `vq_vae` have none: each number of their code, or entry of the
  codebook, comes from a training image of its own."""


def report(
    found: list[Found],
    points: list[dict[str, Any]],
    pictures: Mapping[str, tuple[Tensor, Tensor | None]],
    *,
    classes: int,
    images: int,
    asked: Mapping[str, Any],
) -> Report:
    """The study's answer; `points` are the VAEs of several beta, `pictures` samples and reconstructions
    of the same held-out images by name, `asked` what was asked of the study."""
    shown, told = judged(_claims({f.name: f for f in found}, points, classes, images))
    ordered = sorted(points, key=lambda p: float(p["beta"]))
    text = "\n\n".join(
        [
            "# What encoders that make images make",
            f"One training each (seed {asked['seed']}) of {asked['budget']} images of Fashion-MNIST, "
            f"32 x 32 pixels; {images} held-out images of the validation split, and as many samples. The "
            "test split is not read. No number here ranks anything.",
            table(_HEADS, [_line(f) for f in found]),
            _NOTES,
            "## Reconstruction against divergence",
            table(
                [*ordered[0]],
                [[f"{value:.4g}" for value in point.values()] for point in ordered],
            ),
            "![beta](beta.svg)",
            "## What is said of them",
            shown,
            "## Samples, then reconstructions of the first row",
            "![samples](samples.png)",
            "![reconstructions](reconstructions.png)",
        ]
    )
    figures = {
        "beta.svg": curve(
            ordered,
            x="divergence, nats an image",
            y="squared error a pixel",
            label="beta",
            title="VAE: what a weight of the divergence (beta) costs",
        ),
        "samples.png": _sheet({n: samples for n, (samples, _) in pictures.items()}),
        "reconstructions.png": _sheet({n: again for n, (_, again) in pictures.items()}),
    }
    data = {"rows": [asdict(f) for f in found], "betas": ordered, "claims": told, **asked}
    return Report(text, data, figures)


def _sheet(images: Mapping[str, Tensor | None]) -> bytes:
    rows = [(name, x[:SHOWN].cpu().numpy()) for name, x in images.items() if x is not None]
    return sheet(rows)


def _line(found: Found) -> list[str]:
    likelihood = ["", "none"]
    if found.log_likelihood is not None:
        value, half, kind = found.log_likelihood
        likelihood = [f"{value:.1f} ± {half:.1f}", kind]
    elif found.name in ("held-out images", "uniform noise"):
        likelihood = ["", ""]
    shares = (found.sharpness_of_samples, found.sharpness_of_reconstructions)
    rest = (found.classes, found.accepted, found.recall)
    return [found.name, *likelihood, *("" if x is None else f"{x:.3g}" for x in (*shares, *rest))]


def _claims(
    rows: Mapping[str, Found], points: list[dict[str, Any]], classes: int, images: int
) -> list[Claim]:
    """What the lecture says or asks, and what the table answers."""

    def told(key: str, *names: str) -> tuple[str, ...]:
        return tuple(f"{name} {getattr(rows[name], key):.3g}" for name in names)

    def of(name: str, key: str) -> float:
        return float(getattr(rows[name], key))

    vae, gan, plain = "vae", "gan", "autoencoder"
    dense = {n: r.log_likelihood for n, r in rows.items() if r.log_likelihood is not None}
    points = sorted(points, key=lambda p: float(p["beta"]))
    errors = [p["squared error a pixel"] for p in points]
    nats = [p["divergence, nats an image"] for p in points]
    return [
        Claim(
            "samples of a VAE are blurrier than images and than samples of a GAN",
            told("sharpness_of_samples", vae, gan, "held-out images"),
            of(vae, "sharpness_of_samples") < min(1, of(gan, "sharpness_of_samples")),
        ),
        Claim(
            "reconstructions in feature space are sharper than in pixels",
            told("sharpness_of_reconstructions", vae, "dfc_vae", "held-out images"),
            of("dfc_vae", "sharpness_of_reconstructions") > of(vae, "sharpness_of_reconstructions"),
        ),
        Claim(
            "the VAE's latent space is more regular than the plain autoencoder's: more of its random "
            "points are accepted",
            told("accepted", vae, plain),
            more(of(vae, "accepted"), of(plain, "accepted"), images),
        ),
        Claim(
            "what VAE and GAN share: draws of N(0, I) become images of all classes "
            f"(at least {0.9 * classes:g} of {classes})",
            told("classes", vae, gan),
            min(of(vae, "classes"), of(gan, "classes")) >= 0.9 * classes,
        ),
        Claim(
            "the VAE's bound is above the exact likelihood of its linear relative, PPCA",
            tuple(f"{name} {found[0]:.1f}" for name, found in dense.items()),
            dense[vae][0] > dense["ppca"][0],
        ),
        Claim(
            "a larger beta buys less divergence with a larger error",
            (_series("divergence", nats), _series("error", errors)),
            sorted(errors) == errors and sorted(nats, reverse=True) == nats,
        ),
    ]


def _series(name: str, values: list[float]) -> str:
    return f"{name} {', '.join(f'{value:.4g}' for value in values)}"


def more(share: float, other: float, count: int) -> bool:
    """Is a share larger than another, each of `count` draws, beyond their 95 % interval?"""
    variance = (share * (1 - share) + other * (1 - other)) / count
    return bool(share - other > 1.96 * variance**0.5)
