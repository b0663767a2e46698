"""Do the autoencoders do what is said of them? Five claims, each measured on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images import Delivery
from bench.data.samples import DataSet
from bench.encoders.autoencoders.contractive import scale_free_contraction
from bench.encoders.autoencoders.overcomplete import copies
from bench.encoders.autoencoders.sparse import activity
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.features import images_of
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.scoring.scorer import primary_rows
from bench.statistics.intervals import Interval, paired_difference
from bench.studies.base import Claim, Report, Setting, judged, measured
from bench.tasks.cell import Cell
from bench.tasks.files import load
from bench.tasks.grants import task_targets
from bench.tasks.task import Task

__all__ = ["run"]

REVISION = 1
TASK = "fashion_mnist-linear"
PLAIN = "autoencoder"
SHIFTS: Mapping[str, float] = {"noise": 0.2, "missing": 0.25}

Array = npt.NDArray[Any]


def run(*, setting: Setting, seeds: int = 3, budget: str = "300k") -> Report:
    """Train each learner with `seeds` seeds on Fashion-MNIST's training rows at `budget` images, or take
    the weights that the cache has. Notes are of training images; shifted test images go through the
    clean probe of `autoencoder` and `denoising`, paired. Raises BenchError for fewer than 2 seeds.
    """
    if seeds < 2:
        raise BenchError(f"autoencoders: seeds={seeds}; 2 or more are wanted")
    task = load(TASK)
    found = [
        *_notes(task, setting, seeds, budget),
        *(_denoising(task, setting, seeds, budget, shift) for shift in SHIFTS),
    ]
    shown, told = judged(found)
    text = "\n\n".join(
        [
            "# What is said of the autoencoders",
            f"{seeds} trainings each of {budget} images on Fashion-MNIST. Jacobians, activations and "
            "reconstructions are of training images; the losses of accuracy are of test images under "
            "the probe of clean ones, in points, with the 95 % interval of the paired difference.",
            shown,
        ]
    )
    return Report(text, {"task": TASK, "budget": budget, "seeds": seeds, "claims": told})


def _notes(task: Task, setting: Setting, seeds: int, budget: str) -> list[Claim]:
    """What trained autoencoders show on their own training images."""
    device = chosen_device(setting.device)
    workspace = Workspace(setting.datasets, cache=setting.cache, levels={None}, device=device)
    dataset = workspace.dataset(task.dataset)

    def trained(name: str, look: Any) -> list[Any]:
        return [
            _trained(workspace, dataset, task, f"{name}~{budget}", seed, look)
            for seed in range(seeds)
        ]

    active = [notes["mean_activation"] for notes in trained("sparse", activity)]
    tight = trained("contractive", scale_free_contraction)
    loose = trained(PLAIN, scale_free_contraction)
    copied, kept = trained("overcomplete", copies), trained(PLAIN, copies)
    return [
        Claim(
            "units of the sparse autoencoder (kl) are active 3 to 7 % of the time",
            tuple(f"{value:.4f}" for value in active),
            all(0.03 <= value <= 0.07 for value in active),
        ),
        Claim(
            "the contractive Jacobian, free of scale, is below the plain one's",
            (_series("contractive", tight), _series("plain", loose)),
            max(tight) < min(loose),
        ),
        Claim(
            "the overcomplete autoencoder gives noise back, the bottleneck does not: "
            "share of the variance that is kept",
            (
                _series("overcomplete, noise", [n["noise_kept"] for n in copied]),
                _series("plain, noise", [n["noise_kept"] for n in kept]),
                _series("overcomplete, images", [n["images_kept"] for n in copied]),
                _series("plain, images", [n["images_kept"] for n in kept]),
            ),
            min(n["noise_kept"] for n in copied) > 0.5 > max(n["noise_kept"] for n in kept),
        ),
    ]


def _series(name: str, values: Sequence[float]) -> str:
    return f"{name} {', '.join(f'{value:.4g}' for value in values)}"


def _trained(
    workspace: Workspace, dataset: DataSet, task: Task, spec: str, seed: int, look: Any
) -> Any:
    """`look` at one trained autoencoder and some of its training images."""
    train = dataset.split("train")
    labels = {name: train.y[name] for name in task_targets(task, dataset.meta)}
    data = TrainingData.of(dataset, np.arange(len(train)), labels)
    encoder = workspace.fitted(resolve("encoders", spec), data, seed=seed).encoder
    return look(encoder, Delivery(images_of(train), encoder.input))


def _denoising(task: Task, setting: Setting, seeds: int, budget: str, shift: str) -> Claim:
    """Do shifted test images cost the denoising autoencoder's probe less than the plain one's?"""
    repeated = replace(task.replicates, seeds=seeds, shifts=(shift,), strengths=(SHIFTS[shift],))
    shifted = task.derive(name=f"{TASK}+{shift}", family="shift", replicates=repeated)
    specs = [f"{PLAIN}~{budget}", f"denoising~{budget}"]
    store, records = measured([Cell(shifted, resolve("encoders", spec)) for spec in specs], setting)
    lost = []
    for record in records:
        arrays = store.predictions(record)
        clean = primary_rows(record, shifted.derive(family="probe"), arrays)
        moved = primary_rows(record, shifted, arrays)
        lost.append(np.stack([clean[key] - moved[key] for key in clean]))
    plain, denoising = lost
    gain, p = paired_difference(plain, denoising)
    return Claim(
        f"under {_told(shift)} the denoising probe loses less than the plain one",
        (
            f"plain {100 * plain.mean():.2f}",
            f"denoising {100 * denoising.mean():.2f}",
            f"difference {_points(gain)}, p = {p:.2g}",
        ),
        gain.low > 0,
    )


def _told(shift: str) -> str:
    strength = SHIFTS[shift]
    return (
        f"Gaussian noise of {strength:g}" if shift == "noise" else f"{strength:.0%} missing pixels"
    )


def _points(interval: Interval) -> str:
    value, low, high = (100 * each for each in (interval.value, interval.low, interval.high))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
