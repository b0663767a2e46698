"""Which setting suits each learner? Four short trials each, judged on validation alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.samples import Meta, Samples
from bench.digests import digest
from bench.errors import BenchError
from bench.files import write_atomically
from bench.naming import registry
from bench.naming.specs import Resolved, resolve
from bench.report.text import table
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.studies.base import Report, Setting
from bench.tasks.files import load
from bench.tasks.grants import task_targets
from bench.tasks.task import Task

__all__ = ["TRIALS", "Trial", "run"]

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
    "denoising,corruption=gaussian": (
        "strength=0.1",
        "strength=0.2",
        "strength=0.3",
        "strength=0.5",
    ),
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
class Trial:
    """A learner's setting and the accuracy (0 to 1) of its probe on validation."""

    learner: str
    setting: str
    accuracy: float

    @property
    def spec(self) -> str:
        return f"{self.learner},{self.setting}~{BUDGET}"


def run(*, setting: Setting) -> Report:
    """Train every setting once on 30,000 images of Fashion-MNIST's training rows, put the linear probe on
    the ranked level, and take the setting of best accuracy on validation. The test split is not read.
    """
    task = load(TASK)
    found = list(_trials(task, setting))
    best = {
        learner: max((t for t in found if t.learner == learner), key=lambda t: t.accuracy)
        for learner in TRIALS
    }
    lines = [
        [
            t.learner,
            t.setting,
            f"{100 * t.accuracy:.2f}",
            "chosen" if best[t.learner] is t else "",
        ]
        for t in found
    ]
    text = "\n\n".join(
        [
            "# Tuning",
            f"{len(next(iter(TRIALS.values())))} trials a learner of {BUDGET} images each, seed 0, on "
            f"`{TASK}`: accuracy of the linear probe on validation in per cent. Test images are not "
            "read. What is chosen is what the suites run: the default of `build`, or named in a "
            "suite where one `build` serves several learners.",
            table(["learner", "setting", "validation accuracy", ""], lines),
        ]
    )
    chosen = {learner: t.setting for learner, t in best.items()}
    return Report(text, {"task": TASK, "budget": BUDGET, "trials": _json(found), "chosen": chosen})


def _trials(task: Task, setting: Setting) -> Iterator[Trial]:
    """Every trial, from the folder's file where it was run before."""
    path = setting.folder / "trials.json"
    known = _read(path)
    workspace = None
    for learner, options in TRIALS.items():
        for option in options:
            spec = resolve("encoders", f"{learner},{option}~{BUDGET}")
            key = digest(
                [spec.identity["digest"], task.digest, dict(task.resolved_protocol.identity)]
            )
            if key not in known:
                if workspace is None:
                    device = chosen_device(setting.device)
                    workspace = Workspace(
                        setting.datasets, cache=setting.cache, levels={None}, device=device
                    )
                known[key] = _accuracy(spec, task, workspace)
                write_atomically(path, json.dumps(known, indent=1, sort_keys=True).encode())
                setting.tell(f"{spec.text}: {100 * known[key]:.2f} % on validation")
            yield Trial(learner, option, known[key])


def _accuracy(spec: Resolved, task: Task, workspace: Workspace) -> float:
    """The probe's best accuracy on validation; fitted on train, labels of test never asked for."""
    dataset = workspace.dataset(task.dataset)
    train, val = dataset.split("train"), dataset.split("val")
    targets = task_targets(task, dataset.meta)
    data = TrainingData.of(dataset, train.rows, {name: train.y[name] for name in targets})
    fitted = workspace.fitted(spec, data, seed=0)
    level = spec.level or fitted.encoder.level

    def samples(split: Any, given: Samples) -> Samples:
        features = workspace.features(fitted, dataset, split, level=level)
        return Samples(features.levels[level], {n: given.y[n] for n in targets}, given.rows)

    protocol = registry.load(task.resolved_protocol.entry).build(
        meta=Meta(targets), trunk=None, seed=0
    )
    report = protocol.fit(samples("train", train), samples("val", val)).report()
    [target] = report["targets"].values()
    return float(np.max([accuracy for _, accuracy, _ in target["trials"]]))


def _read(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BenchError(f"{path} cannot be read ({error}); move it away to begin anew") from error


def _json(trials: list[Trial]) -> list[dict[str, Any]]:
    return [{"spec": t.spec, "accuracy": t.accuracy} for t in trials]
