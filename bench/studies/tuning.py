"""Which setting suits each learner? Four short trials each, chosen on validation alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from bench.data.samples import Meta
from bench.naming import registry
from bench.naming.specs import Resolved, resolve
from bench.report.text import table
from bench.studies.base import Report, Setting
from bench.studies.parts.fits import SourceFits
from bench.studies.parts.partial import PartialResults
from bench.tasks.files import load
from bench.tasks.grants import task_targets
from bench.tasks.task import Task

REVISION = 1
TASK = "fashion_mnist-linear"
BUDGET = "30k"
RATES = ("rate=0.0005", "rate=0.001", "rate=0.002", "rate=0.004")
SHARES = ("strength=0.1", "strength=0.25", "strength=0.4", "strength=0.6")
GAME_RATES = ("rate=0.0001", "rate=0.0002", "rate=0.0004", "rate=0.0008")  # the discriminator's
# Learner -> what is tried: the same number of trials for all. The winners are what the suites run.
TRIALS: Mapping[str, tuple[str, ...]] = {
    "autoencoder": RATES,
    "overcomplete": RATES,
    "sparse,penalty=kl": ("weight=0.1", "weight=0.3", "weight=1", "weight=3"),
    "denoising,corruption=mask": SHARES,
    "contractive": ("weight=0.3", "weight=1", "weight=3", "weight=10"),
    "stacked,layers=denoising": RATES,
    "autoencoder,track=mlp": RATES,
    "sparse,penalty=l1": ("weight=0.03", "weight=0.1", "weight=0.3", "weight=1"),
    "sparse,penalty=topk": RATES,
    "denoising,corruption=salt_pepper": SHARES,
    "denoising,corruption=gaussian": tuple(f"strength={s}" for s in (0.1, 0.2, 0.3, 0.5)),
    "stacked,layers=plain": RATES,
    "stacked,layers=contractive": RATES,
    "guided": ("weight=1", "weight=3", "weight=10", "weight=30"),
    "sparse,track=mlp,rate=0.001,penalty=kl": ("weight=0.1", "weight=0.3", "weight=1", "weight=3"),
    "denoising,track=mlp,rate=0.001,corruption=mask": SHARES,
    "contractive,track=mlp,rate=0.001": ("weight=0.01", "weight=0.03", "weight=0.1", "weight=0.3"),
    "stacked,track=mlp,layers=denoising": RATES,
    "stacked,track=mlp,layers=contractive": RATES,
    "vae": RATES,
    "iwae": RATES,
    "wae": ("weight=20", "weight=60", "weight=200", "weight=600"),
    "aae": ("weight=3", "weight=10", "weight=30", "weight=100"),
    "vq_vae": RATES,
    "dfc_vae": RATES,
    "gan": GAME_RATES,
    "conditional_gan": GAME_RATES,
    "infogan": GAME_RATES,
}


@dataclass(frozen=True, slots=True)
class LearnerTrial:
    """A learner's setting, the spec of both, and the accuracy (0 to 1) of its probe on validation."""

    learner: str
    setting: str
    spec: str
    accuracy: float


def run(*, setting: Setting) -> Report:
    """Train every setting once on 30,000 images of Fashion-MNIST's training rows, put the linear probe on
    the ranked level, and take the setting of best accuracy on validation. The test split is not read.
    """
    trials = list(_trials(load(TASK), setting))
    best: dict[str, LearnerTrial] = {}
    for trial in trials:
        if trial.learner not in best or trial.accuracy > best[trial.learner].accuracy:
            best[trial.learner] = trial
    lines = [
        [t.learner, t.setting, f"{100 * t.accuracy:.2f}", "chosen" if t in best.values() else ""]
        for t in trials
    ]
    data = {
        "task": TASK,
        "budget": BUDGET,
        "trials": [{"spec": t.spec, "accuracy": t.accuracy} for t in trials],
        "chosen": {learner: t.setting for learner, t in best.items()},
    }
    parts = [
        f"{len(next(iter(TRIALS.values())))} trials a learner of {BUDGET} images each, seed 0, on "
        f"`{TASK}`: accuracy of the linear probe on validation in per cent. Test images are not "
        "read. The chosen setting is what the suites run: the default of `build`, or named in a "
        "suite where one `build` serves several learners.",
        table(["learner", "setting", "validation accuracy", ""], lines),
    ]
    return Report.of("Tuning", parts, data)


def _trials(task: Task, setting: Setting) -> Iterator[LearnerTrial]:
    """Every trial, from the folder's file where it was run before."""
    partial = PartialResults(setting, "trials.json")
    fits = cache(lambda: SourceFits.of(setting, task))  # reads data where there is something to run
    for learner, options in TRIALS.items():
        for option in options:
            text = f"{learner},{option}~{BUDGET}"
            spec = resolve("encoders", text)
            protocol = dict(task.resolved_protocol.identity)

            def compute(spec: Resolved = spec) -> float:
                return probe_accuracy(spec, task, fits())

            recipe = [spec.identity["digest"], task.digest, protocol]
            accuracy = partial(f"{spec.text} on validation", recipe, compute)
            yield LearnerTrial(learner, option, text, accuracy)


def probe_accuracy(spec: Resolved, task: Task, fits: SourceFits) -> float:
    """The probe's best accuracy on validation; fitted on train, the test split is not read."""
    targets = task_targets(task, fits.dataset.meta)
    fitted = fits.fitted(spec)
    train, val = (fits.samples(fitted, split, spec.level) for split in ("train", "val"))
    module = registry.load(task.resolved_protocol.entry)
    protocol = module.build(meta=Meta(targets), trunk=None, seed=0)
    [target] = protocol.fit(train, val).report()["targets"].values()
    return float(np.max([accuracy for _, accuracy, _ in target["trials"]]))
