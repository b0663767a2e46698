"""Do autoencoders have the properties claimed for them? Five claims, each measured on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.encoders.autoencoders.contractive import scale_free_contraction
from bench.encoders.autoencoders.overcomplete import copies
from bench.encoders.autoencoders.sparse import activity
from bench.naming.specs import resolve
from bench.report.text import percent_text, series_text
from bench.scoring.scorer import primary_rows
from bench.statistics.intervals import paired_difference
from bench.studies.base import Claim, Report, Setting, measure, require
from bench.studies.parts.fits import SourceFits
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.task import Task

REVISION = 1
TASK = "fashion_mnist-linear"
PLAIN = "autoencoder"
SHIFTS: Mapping[str, float] = {"noise": 0.2, "missing": 0.25}


def run(*, setting: Setting, seeds: int = 3, budget: str = "300k") -> Report:
    """Train each learner with `seeds` seeds on Fashion-MNIST's training rows at `budget` images, or take
    the weights that the cache has. Notes are of training images; shifted test images go through the
    clean probe of `autoencoder` and `denoising`, paired. Raises BenchError for fewer than 2 seeds.
    """
    require("autoencoders", 2, seeds=seeds)
    task = load(TASK)
    text = (
        f"{seeds} trainings each of {budget} images on Fashion-MNIST. Jacobians, activations and "
        "reconstructions are of training images; the losses of accuracy are of shifted test images "
        "under the probe of clean ones, in points, with the 95 % interval of the paired difference."
    )
    return Report.of(
        "Claims about the autoencoders",
        [text],
        {"task": TASK, "budget": budget, "seeds": seeds},
        claims=[
            *_training_claims(task, setting, seeds, budget),
            *(_denoising_claim(task, setting, seeds, budget, shift) for shift in SHIFTS),
        ],
    )


def _training_claims(task: Task, setting: Setting, seeds: int, budget: str) -> list[Claim]:
    """Claims about trained autoencoders on the images that they were trained on."""
    fits = SourceFits.of(setting, task)

    def trained(name: str, look: Callable[..., Any]) -> list[Any]:
        return [_look(fits, f"{name}~{budget}", seed, look) for seed in range(seeds)]

    active = [notes["mean_activation"] for notes in trained("sparse", activity)]
    contractive = trained("contractive", scale_free_contraction)
    plain = trained(PLAIN, scale_free_contraction)
    copied = {name: trained(name, copies) for name in ("overcomplete", PLAIN)}
    noise, images = (
        {name: [n[key] for n in notes] for name, notes in copied.items()}
        for key in ("noise_kept", "images_kept")
    )
    return [
        Claim(
            "units of the sparse autoencoder (kl) are active 3 to 7 % of the time",
            tuple(f"{value:.4f}" for value in active),
            all(0.03 <= value <= 0.07 for value in active),
        ),
        Claim(
            "the scale-free Jacobian of the contractive autoencoder is smaller than the plain one's",
            (series_text("contractive", contractive), series_text("plain", plain)),
            max(contractive) < min(plain),
        ),
        Claim(
            "the overcomplete autoencoder reconstructs noise, the plain one does not: "
            "share of the variance that is reconstructed",
            (
                series_text("overcomplete, noise", noise["overcomplete"]),
                series_text("plain, noise", noise[PLAIN]),
                series_text("overcomplete, images", images["overcomplete"]),
                series_text("plain, images", images[PLAIN]),
            ),
            min(noise["overcomplete"]) > 0.5 > max(noise[PLAIN]),
        ),
    ]


def _look(fits: SourceFits, spec: str, seed: int, look: Callable[..., Any]) -> Any:
    """`look` at one trained autoencoder and some of its training images."""
    encoder = fits.encoder(spec, seed)
    return look(encoder, fits.delivery("train", encoder.input))


def _denoising_claim(task: Task, setting: Setting, seeds: int, budget: str, shift: str) -> Claim:
    """Do shifted test images lower the accuracy of the denoising autoencoder's probe less?"""
    strength = SHIFTS[shift]
    repeated = replace(task.replicates, seeds=seeds, shifts=(shift,), strengths=(strength,))
    shifted = task.derive(name=f"{TASK}+{shift}", family="shift", replicates=repeated)
    cells = [Cell(shifted, resolve("encoders", f"{n}~{budget}")) for n in (PLAIN, "denoising")]
    measured, losses = measure(cells, setting), []
    for record in map(measured.record, cells):
        arrays = measured.store.predictions(record)
        clean = primary_rows(record, shifted.derive(family="probe"), arrays)
        moved = primary_rows(record, shifted, arrays)
        losses.append(np.stack([clean[key] - moved[key] for key in clean]))
    plain, denoising = losses
    gain, p = paired_difference(plain, denoising)
    noise = f"Gaussian noise of {strength:g}"
    return Claim(
        f"under {noise if shift == 'noise' else f'{strength:.0%} missing pixels'} the probe of the "
        "denoising autoencoder loses less than that of the plain one",
        (
            f"plain {100 * plain.mean():.2f}",
            f"denoising {100 * denoising.mean():.2f}",
            f"difference {percent_text(gain)}, p = {p:.2g}",
        ),
        gain.low > 0,
    )
