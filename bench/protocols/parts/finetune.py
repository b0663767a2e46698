"""Fine-tuning as protocols do it: a trunk is tuned under heads that start as its linear probe."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples
from bench.errors import BenchError, Declined
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.protocols.parts.probe import (
    LinearHeads,
    Probe,
    Scaler,
    best_temperature,
    fit_few,
    fit_probe,
    linear_heads,
    log_probability,
)
from bench.protocols.parts.tuning import (
    Diverged,
    Recipe,
    collapsed_accuracy,
    cross_entropy,
    device_of,
    inputs,
    outputs,
    resident,
    train_accuracy,
    trunk_features,
    tune,
)

RUNGS = ((0.2, 2), (0.5, 1))  # share of the images for each rate, and how many rates go on


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningPlan:
    """How a trunk is tuned.

    images: drawn for each run (0: nothing is tuned)
    rate: highest learning rate (0: chosen among four, half a decade apart)
    least: the lowest of these four
    blocks: how many of the last stages are tuned, where the task's input is activations
    start: of the head, "probe" or "zero"
    """

    images: int
    rate: float
    least: float
    blocks: int
    start: str


@dataclass(frozen=True, slots=True, eq=False)
class RateTrial:
    """One rate on validation rows: a score in [0, 1], usually accuracy, and the negative log-likelihood in
    nats, averaged over targets."""

    rate: float
    images: int
    score: float | None  # None: it diverged
    nll: float | None

    @property
    def order(self) -> tuple[float, float, float]:
        """Sorts the best first."""
        return -(self.score or 0.0), self.nll or 0.0, self.rate


def halving(
    plan: TuningPlan, run_trial: Callable[[float, int], RateTrial]
) -> tuple[float, list[RateTrial]]:
    """The best of four rates from `plan.least` on, half a decade apart, by successive halving (Jamieson
    and Talwalkar 2016, arXiv:1502.07943), and all trials. `run_trial` gets a rate and a number of images.

    Raises Diverged where all rates do.
    """
    rates, trials = [plan.least * 10 ** (step / 2) for step in range(4)], list[RateTrial]()
    for share, remaining in RUNGS:
        images = round(share * plan.images)
        rung = [run_trial(rate, images) for rate in rates]
        trials += rung
        if all(t.score is None for t in rung):
            raise Diverged(f"tuning diverges at all rates from {min(rates):g} on; give least=...")
        rates = [t.rate for t in sorted(rung, key=lambda t: t.order)[:remaining]]
    return float(f"{rates[0]:.6g}"), trials


class TunedModel(nn.Module):
    """A trunk and its heads: images, activations or features to logits (n, k) by target."""

    def __init__(self, trunk: nn.Module, head: LinearHeads) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.head(self.trunk(x).flatten(1))
        return logits

    def clipped(self) -> list[list[nn.Parameter]]:
        """Groups of parameters, the gradient of each clipped by itself."""
        return [list(self.parameters())]

    def penalty(self) -> Tensor | None:
        """A term that is added to the loss of the labels."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class TuningStart:
    """The model before tuning."""

    model: TunedModel
    probes: Mapping[str, Probe]
    accuracy: float  # of the probe on training rows


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """The model after tuning."""

    model: TunedModel
    rate: float
    halved: bool  # a run at twice the rate diverged
    accuracy: float  # on training rows
    loss: float | None  # nats; None: nothing was tuned


class FineTune(TransferProtocol):
    """Four rates half a decade apart, by successive halving on validation: all on a fifth of the images,
    two on half; then every replicate tunes at the best rate on all images, its learning rate a cosine of
    its own. Validation gives the temperature.

    Heads start as the linear probe of the training rows, so at step 0 its predictions are made (as in
    Kumar et al. 2022, arXiv:2202.10054). Scratch is the same on the untrained encoder. A run that
    diverges is repeated once at half the rate, and reported. Labelled training rows alone are tuned on,
    though the encoder was trained on all images.
    """

    output = "log_probability"
    accepts = frozenset({"classes"})

    def __init__(self, meta: Meta, trunk: TrunkFactory, seed: int, plan: TuningPlan) -> None:
        self._meta, self._trunk, self._seed, self._plan = meta, trunk, seed, plan
        self._report: dict[str, Any] = {}
        self._trials: list[RateTrial] = []

    def select(self, train: Samples, val: Samples | None) -> Mapping[str, Any]:
        """The rate of best mean accuracy on validation; {} where one is given."""
        if self._plan.rate or not self._plan.images:
            return {}
        if val is None:
            raise Declined(
                "finetune chooses its rate on validation, and this task grants none; give rate=..."
            )
        train = resident(train)
        start = self.start_as_probe(train, val)
        rate, self._trials = halving(
            self._plan, lambda rate, images: self._trial(start, train, val, rate, images)
        )
        return {"rate": rate}

    def fit(self, train: Samples, val: Samples | None) -> Self:
        train = resident(train)
        start, plan = self.start_as_probe(train, val), self._plan
        rate = plan.rate
        if plan.images and not rate:  # `select` was not called
            rate = self.select(train, val)["rate"]
        tuned = self.tune_fully(start, train, rate)
        self._model, self._probes = tuned.model, start.probes
        self._report = {
            "rate": tuned.rate,
            "halved": tuned.halved,
            "images_seen": plan.images,
            "steps": Recipe(images=plan.images, rate=tuned.rate).steps,
            "loss": tuned.loss,
            "train_accuracy": {"start": start.accuracy, "end": tuned.accuracy},
            "parameters": sum(p.numel() for p in self._model.parameters() if p.grad is not None),
            "probe": {name: probe.report["penalty"] for name, probe in start.probes.items()},
            "temperature": {} if val is None else self._temperatures(val),
        }
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return {name: log_probability(z) for name, z in outputs(self._model, x).items()}

    def report(self) -> Mapping[str, Any]:
        """Of the last fit; `parameters` counts those that were tuned, `loss` is in nats."""
        return self._report

    def trials(self) -> Mapping[str, Any]:
        """Each trial's rate, images, accuracy and likelihood (null: it diverged), and all images drawn."""
        return {
            "trials": [[t.rate, t.images, t.score, t.nll] for t in self._trials],
            "images_seen": sum(t.images for t in self._trials),
        }

    def head(self) -> nn.Module:
        """The probe at the start, since the encoder that diagnostics read is not tuned."""
        return linear_heads(self._probes)

    def start_as_probe(self, train: Samples, val: Samples | None) -> TuningStart:
        """A new trunk under heads that are its linear probe.

        Raises BenchError where a target has no training or no validation label.
        """
        trunk = self._trunk("trained", seed=self._seed, blocks=self._plan.blocks or None)
        x = trunk_features(trunk, inputs(train))
        val_x = None if val is None else trunk_features(trunk, inputs(val))
        probes: dict[str, Probe] = {}
        for name, target in self._meta.targets.items():
            labelled = train.y[name] >= 0
            if not labelled.any():
                raise BenchError(f"no training row has a label of {name!r}")
            rows = x[labelled], train.y[name][labelled]
            if val is None or val_x is None:
                probes[name] = fit_few(*rows, target.size, Scaler.of(rows[0]))
                continue
            labelled = val.y[name] >= 0
            if not labelled.any():
                raise BenchError(f"no validation row has a label of {name!r}")
            val_rows = val_x[labelled], val.y[name][labelled]
            probes[name] = fit_probe(*rows, *val_rows, target.size, refit=False)
        head = linear_heads(probes)
        accuracy = train_accuracy(TunedModel(trunk, head), train)
        if self._plan.start == "zero":
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        return TuningStart(self.assembled(trunk, head.to(device_of(trunk))), probes, accuracy)

    def assembled(self, trunk: nn.Module, head: LinearHeads) -> TunedModel:
        """The model that is tuned."""
        return TunedModel(trunk, head)

    def tune_fully(self, start: TuningStart, train: Samples, rate: float) -> TuningResult:
        """Tune on all images of the plan, once more at half the rate where that diverges."""
        images = self._plan.images
        if not images:
            return TuningResult(start.model, rate, False, start.accuracy, None)
        try:
            return self.tune_copy(start, train, rate, images)
        except Diverged:
            return replace(self.tune_copy(start, train, rate / 2, images), halved=True)

    def tune_copy(
        self, start: TuningStart, train: Samples, rate: float, images: int
    ) -> TuningResult:
        """Tune a copy of the model; the loss is the mean of the last tenth of the steps.

        Raises Diverged where the loss is not finite, and where the accuracy on training rows falls below
        `collapsed_accuracy`, which the probe had reached.
        """
        model, x = copy.deepcopy(start.model), inputs(train)
        device = device_of(model)
        labels = {name: torch.from_numpy(train.y[name]).to(device) for name in self._meta.targets}
        augment = self._meta.flips and isinstance(x, Delivery)

        def loss(logits: Mapping[str, Tensor], rows: Array) -> Tensor:
            index = torch.from_numpy(rows).to(device)
            label_loss = cross_entropy(logits, {name: y[index] for name, y in labels.items()})
            penalty = model.penalty()
            return label_loss if penalty is None else label_loss + penalty

        recipe = Recipe(images=images, rate=rate, augment=augment)
        last = tune(model, x, loss, recipe=recipe, seed=self._seed, clipped=model.clipped())
        accuracy, collapsed = train_accuracy(model, train), collapsed_accuracy(train, labels)
        if accuracy < collapsed <= start.accuracy:
            raise Diverged(
                f"tuning has diverged: at rate {rate:g} the accuracy on training rows went from "
                f"{start.accuracy:.3f} to {accuracy:.3f}"
            )
        return TuningResult(model, rate, False, accuracy, last)

    def _trial(
        self, start: TuningStart, train: Samples, val: Samples, rate: float, images: int
    ) -> RateTrial:
        try:
            model = self.tune_copy(start, train, rate, images).model
        except Diverged:
            return RateTrial(rate, images, None, None)
        scores = []
        for logits, truth in self._validated(model, val).values():
            log_p = log_probability(logits)
            accuracy = (log_p.argmax(axis=1) == truth).mean()
            scores.append((accuracy, -log_p[np.arange(len(truth)), truth].mean(dtype=np.float64)))
        accuracy, nll = np.mean(scores, axis=0)
        return RateTrial(rate, images, float(accuracy), float(nll))

    def _temperatures(self, val: Samples) -> dict[str, float]:
        validated = self._validated(self._model, val)
        return {name: best_temperature(*pair) for name, pair in validated.items()}

    def _validated(self, model: nn.Module, val: Samples) -> dict[str, tuple[Array, Array]]:
        """By target logits (m, k) and labels (m,) of the validation rows that have one."""
        pairs = {}
        for name, logits in outputs(model, inputs(val)).items():
            labelled = val.y[name] >= 0
            pairs[name] = logits[labelled], val.y[name][labelled]
        return pairs


class FrozenFineTune(FineTune):
    """With no images to draw nothing is random: the frozen trunk under its own linear probe."""

    seeded = False
