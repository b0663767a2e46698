"""Fine-tuning as protocols do it: a trunk goes on learning, under heads that start as its linear probe.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples
from bench.errors import BenchError, Declined
from bench.protocols.base import TransferProtocol, TrunkFactory
from bench.protocols.parts.probe import (
    LinearHeads,
    Probe,
    Scaler,
    best_temperature,
    fit_few,
    fit_probe,
    heads,
    log_probability,
)
from bench.protocols.parts.tuning import (
    Diverged,
    Recipe,
    cross_entropy,
    device_of,
    inputs,
    least_share,
    outputs,
    read_out,
    resident,
    right_share,
    tune,
)

Array = npt.NDArray[Any]
RUNGS = ((0.2, 2), (0.5, 1))  # share of the images that each rate gets, and how many rates are left


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The arguments of `build`."""

    images: int
    rate: float
    least: float
    blocks: int
    start: str


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One rate for some images on validation: accuracy, or another score in [0, 1], and likelihood,
    averaged over targets."""

    rate: float
    images: int
    score: float | None  # None: it has diverged
    nll: float | None

    @property
    def order(self) -> tuple[float, float, float]:
        """The best comes first."""
        return -(self.score or 0.0), self.nll or 0.0, self.rate


def halving(plan: Plan, trial: Callable[[float, int], Trial]) -> tuple[float, list[Trial]]:
    """The best of four rates from `plan.least` on, half a decade apart, by successive halving (Jamieson
    and Talwalkar 2016, arXiv:1502.07943), and all trials. `trial` gets a rate and how many images.

    Raises Diverged where all rates do.
    """
    rates, trials = [plan.least * 10 ** (step / 2) for step in range(4)], list[Trial]()
    for share, left in RUNGS:
        images = round(share * plan.images)
        rung = [trial(rate, images) for rate in rates]
        trials += rung
        if all(t.score is None for t in rung):
            raise Diverged(f"tuning diverges at all rates from {min(rates):g} on; give least=...")
        rates = [t.rate for t in sorted(rung, key=lambda t: t.order)[:left]]
    return float(f"{rates[0]:.6g}"), trials


class Tuned(nn.Module):
    """A trunk and its heads: images, activations or features to logits (n, k) by target."""

    def __init__(self, trunk: nn.Module, head: LinearHeads) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.head(self.trunk(x).flatten(1))
        return found

    def parts(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradients are cut together: what trains as one."""
        return [list(self.parameters())]

    def penalty(self) -> Tensor | None:
        """What is added to the loss, beside that of the labels."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What tuning begins with, and must not make worse."""

    model: Tuned
    probes: Mapping[str, Probe]
    right: float  # share of the shown training rows


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What tuning ends with."""

    model: Tuned
    rate: float
    halved: bool  # has a run at twice the rate diverged?
    right: float  # share of the shown training rows
    loss: float | None  # nats; None: nothing was tuned


class FineTune(TransferProtocol):
    """Four rates half a decade apart, by successive halving on validation: all on a fifth of the images,
    two on half, one on all; each with a cosine of its own. Then every replicate at that rate, on the
    training rows; validation gives the temperature.

    The head starts as the linear probe that was fitted on train alone, so that at step 0 its
    predictions are made (Kumar et al. 2022, arXiv:2202.10054, go on from there too). Scratch is the
    same on the untrained encoder, its head started alike. A run that has diverged is rerun once at
    half the rate, and told.
    """

    output = "log_probability"
    accepts = frozenset({"classes"})

    def __init__(self, meta: Meta, trunk: TrunkFactory, seed: int, plan: Plan) -> None:
        self._meta, self._trunk, self._seed, self._plan = meta, trunk, seed, plan
        self._report: dict[str, Any] = {}
        self._trials: list[Trial] = []

    def select(self, train: Samples, val: Samples | None) -> Mapping[str, Any]:
        """The rate of best mean accuracy on validation, `rate` where one is given."""
        if self._plan.rate or not self._plan.images:
            return {}
        if val is None:
            raise Declined(
                "finetune chooses its rate on validation, and this task grants none; give rate=..."
            )
        train = resident(train)
        start = self.begin(train, val)
        rate, self._trials = halving(
            self._plan, lambda rate, images: self._trial(start, train, val, rate, images)
        )
        return {"rate": rate}

    def fit(self, train: Samples, val: Samples | None) -> Self:
        train = resident(train)
        start, plan = self.begin(train, val), self._plan
        rate = plan.rate
        if plan.images and not rate:  # nobody has asked select
            rate = self.select(train, val)["rate"]
        found = self.settle(start, train, rate)
        self._model, self._probes = found.model, start.probes
        self._report = {
            "rate": found.rate,
            "halved": found.halved,
            "images_seen": plan.images,
            "steps": Recipe(images=plan.images, rate=found.rate).steps,
            "loss": found.loss,
            "train_accuracy": {"start": start.right, "end": found.right},
            "parameters": sum(p.numel() for p in self._model.parameters() if p.grad is not None),
            "probe": {name: probe.report["penalty"] for name, probe in start.probes.items()},
            "temperature": {} if val is None else self._temperatures(val),
        }
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return {name: log_probability(each) for name, each in outputs(self._model, x).items()}

    def report(self) -> Mapping[str, Any]:
        """What was done; `parameters` are those that were tuned, the loss is in nats."""
        return self._report

    def trials(self) -> Mapping[str, Any]:
        """Each trial's rate, images, accuracy and likelihood (null: it has diverged), and all images."""
        return {
            "trials": [[t.rate, t.images, t.score, t.nll] for t in self._trials],
            "images_seen": sum(t.images for t in self._trials),
        }

    def head(self) -> nn.Module:
        """The head at the start: it belongs to the encoder as it came."""
        return heads(self._probes)

    def begin(self, train: Samples, val: Samples | None) -> Start:
        """A trunk of its own under heads that are its linear probe."""
        trunk = self._trunk("trained", seed=self._seed, blocks=self._plan.blocks or None)
        x = read_out(trunk, inputs(train))
        other = None if val is None else read_out(trunk, inputs(val))
        probes: dict[str, Probe] = {}
        for name, target in self._meta.targets.items():
            known = train.y[name] >= 0
            if not known.any():
                raise BenchError(f"no training row has a label of {name!r}")
            own, y = x[known], train.y[name][known]
            if val is None or other is None:
                probes[name] = fit_few(own, y, target.size, Scaler.of(own))
                continue
            judged = val.y[name] >= 0
            if not judged.any():
                raise BenchError(f"no validation row has a label of {name!r}")
            parts = own, y, other[judged], val.y[name][judged]
            probes[name] = fit_probe(*parts, target.size, refit=False)
        head = heads(probes)
        right = right_share(Tuned(trunk, head), train)
        if self._plan.start == "zero":
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        return Start(self.joined(trunk, head.to(device_of(trunk))), probes, right)

    def joined(self, trunk: nn.Module, head: LinearHeads) -> Tuned:
        """What is tuned: the trunk under its heads."""
        return Tuned(trunk, head)

    def settle(self, start: Start, train: Samples, rate: float) -> Outcome:
        """Tuned on all images of the plan, once more at half the rate where that has diverged."""
        images = self._plan.images
        if not images:
            return Outcome(start.model, rate, False, start.right, None)
        try:
            return self.tuned(start, train, rate, images)
        except Diverged:
            return replace(self.tuned(start, train, rate / 2, images), halved=True)

    def tuned(self, start: Start, train: Samples, rate: float, images: int) -> Outcome:
        """A tuned copy; its loss is the mean of the last tenth of the steps.

        Raises Diverged where the loss is not finite, and where little more is right than always the
        largest class would be, though the probe got more.
        """
        model, x = copy.deepcopy(start.model), inputs(train)
        device = device_of(model)
        labels = {name: torch.from_numpy(train.y[name]).to(device) for name in self._meta.targets}
        moved = self._meta.flips and isinstance(x, Delivery)

        def loss(logits: Mapping[str, Tensor], rows: Array) -> Tensor:
            index = torch.from_numpy(rows).to(device)
            told = cross_entropy(logits, {name: y[index] for name, y in labels.items()})
            penalty = model.penalty()
            return told if penalty is None else told + penalty

        recipe = Recipe(images=images, rate=rate, moved=moved)
        end = tune(model, x, loss, recipe=recipe, seed=self._seed, parts=model.parts())
        right, least = right_share(model, train), least_share(train, labels)
        if right < least <= start.right:
            raise Diverged(
                f"tuning has diverged: at rate {rate:g} the accuracy on training rows went from "
                f"{start.right:.3f} to {right:.3f}"
            )
        return Outcome(model, rate, False, right, end)

    def _trial(self, start: Start, train: Samples, val: Samples, rate: float, images: int) -> Trial:
        try:
            model = self.tuned(start, train, rate, images).model
        except Diverged:
            return Trial(rate, images, None, None)
        scores = []
        for name, logits in outputs(model, inputs(val)).items():
            known = val.y[name] >= 0
            log_p, truth = log_probability(logits[known]), val.y[name][known]
            right = (log_p.argmax(axis=1) == truth).mean()
            scores.append((right, -log_p[np.arange(len(truth)), truth].mean(dtype=np.float64)))
        accuracy, nll = np.mean(scores, axis=0)
        return Trial(rate, images, float(accuracy), float(nll))

    def _temperatures(self, val: Samples) -> dict[str, float]:
        found = {}
        for name, logits in outputs(self._model, inputs(val)).items():
            known = val.y[name] >= 0
            found[name] = best_temperature(logits[known], val.y[name][known])
        return found


class Untuned(FineTune):
    """With no image to draw nothing is random: the frozen trunk under its own linear probe."""

    seeded = False
