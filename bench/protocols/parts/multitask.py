"""The base of multi-task protocols: settings tried and trained side by side, predictions, costs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, Self

import numpy as np
import torch

from bench.data.images import Delivery
from bench.data.samples import Array, Meta, Samples, missing
from bench.errors import BenchError, Declined
from bench.protocols.base import Job, TransferProtocol, features_of
from bench.protocols.parts.whitening import READER, Whitening
from bench.seeding import generator
from bench.solvers.towers import Layout, Run, Towers, parameter_count, train
from bench.statistics.metrics import score

Weighting = Literal["equal", "static", "random"]
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
DECAYS = (0.0, 1e-4, 1e-2)
DROPOUTS = (0.0, 0.2)
BATCH = 256


def drawn_settings(trials: int) -> list[tuple[float, float, float]]:
    """(rate, decay, dropout) of each trial, drawn from their grid; they repeat once it is used up."""
    grid = list(product(RATES, DECAYS, DROPOUTS))
    order = generator(0, "trials:").permutation(len(grid))
    return [grid[order[number % len(grid)]] for number in range(trials)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSettings:
    """The arguments of every arm's `build`.

    arm: the protocol's name, for messages
    pca: principal components of the features that are read (0: all)
    width: units of one task's tower
    epochs: of each run
    trials: settings that are tried where `rate` is 0
    weighting: of the tasks' losses; "equal", "static" (by `weights`, which trials choose) or "random"
      (drawn anew each step)
    rate: learning rate (0: the best trial gives it, and what else trials choose)
    decay: weight decay, 0 or more
    dropout: share of units, in [0, 1)
    weights: "0.2 0.8", one a task, in the order of their names
    coupling: of towers, 0 to infinity, where the arm has one

    Raises BenchError for values outside these ranges.
    """

    arm: str
    pca: int
    width: int
    epochs: int
    trials: int
    weighting: Weighting
    rate: float
    decay: float
    dropout: float
    weights: str
    coupling: float = 0.0

    def __post_init__(self) -> None:
        for key, least in (("pca", 0), ("width", 1), ("epochs", 1), ("trials", 1)):
            if getattr(self, key) < least:
                raise BenchError(f"{self.arm},{key}={getattr(self, key)}: must be {least} or more")
        if min(self.rate, self.decay, self.coupling) < 0 or not 0 <= self.dropout < 1:
            raise BenchError(
                f"{self.arm},rate={self.rate:g},decay={self.decay:g},dropout={self.dropout:g}: each must "
                "be 0 or more, and dropout below 1"
            )

    def run(self, seed: int) -> Run:
        weights = tuple(float(part) for part in self.weights.split())
        return Run(
            seed=seed,
            rate=self.rate,
            decay=self.decay,
            dropout=self.dropout,
            coupling=self.coupling,
            weights=weights,
            random_weights=self.weighting == "random",
        )


class MultiTask(TransferProtocol):
    """Heads of one hidden layer for all targets of a task, by an arm's `layout`.

    Settings (rate, decay, dropout, and the arm's own) are drawn at random, as many for every arm, and
    trained side by side on the first seed; the best mean score on validation is taken. A run is the same
    alone and beside others; its state after the last epoch counts.
    """

    output = "log_probability"
    accepts = frozenset({"classes", "binary", "number"})
    couplings: tuple[float, ...] = (0.0,)  # what trials draw from

    def __init__(self, meta: Meta, seed: int, settings: ArmSettings) -> None:
        self._meta, self._seed, self._settings = meta, seed, settings
        self._trials: list[tuple[ArmSettings, float]] = []

    @abstractmethod
    def layout(self, dim: int) -> Layout:
        """Towers and mixing on features (n, dim)."""

    @property
    def sizes(self) -> dict[str, int]:
        """Outputs of each target's head."""
        return {name: target.size for name, target in self._meta.targets.items()}

    def single_task_parameters(self, dim: int) -> int:
        """The number of parameters, on features (n, dim), of a tower of its own for every task."""
        towers = Layout(towers=len(self.sizes), width=self._settings.width, mix="separate")
        return parameter_count(dim, list(self.sizes.values()), towers)

    def matched(self, dim: int, layout: Layout) -> Layout:
        """The layout at the width that brings its parameters closest to `single_task_parameters`."""
        sizes, reference = list(self.sizes.values()), self.single_task_parameters(dim)

        def difference(width: int) -> int:
            return abs(parameter_count(dim, sizes, replace(layout, width=width)) - reference)

        widths = range(1, 8 * self._settings.width + 1)
        return replace(layout, width=min(widths, key=difference))

    def select(self, train: Samples, val: Samples | None) -> Mapping[str, Any]:
        """The setting of best mean score on validation; {} where a rate is given."""
        if self._settings.rate:
            return {}
        if val is None:
            raise Declined("multi-task heads choose on validation, and this task grants none")
        candidates = self._drawn()
        whitening = Whitening.of(train, self._meta.targets, self._settings.pca)
        runs = [candidate.run(self._seed) for candidate in candidates]
        towers, _ = self._trained(whitening, whitening(features_of(train.x, READER)), train.y, runs)
        predictions_by_run = self._predictions(whitening, towers, features_of(val.x, READER))
        scores = [self._score(predictions, val) for predictions in predictions_by_run]
        self._trials = list(zip(candidates, scores, strict=True))
        best = candidates[int(np.argmax(scores))]  # the first of equals
        chosen = {key: getattr(best, key) for key in ("rate", "decay", "dropout", *self.knobs)}
        return {key: str(v) if key == "coupling" else v for key, v in chosen.items()}

    @property
    def knobs(self) -> tuple[str, ...]:
        """Arguments that trials choose beside rate, decay and dropout."""
        weights = ("weights",) if self._settings.weighting == "static" else ()
        return (*weights, "coupling") if len(self.couplings) > 1 else weights

    def _drawn(self) -> list[ArmSettings]:
        """The settings to try: the same for every arm but for its couplings, which are taken in turn."""
        knob, weigh = (generator(0, f"trials:{name}") for name in ("coupling", "weights"))
        turns, candidates = knob.permutation(len(self.couplings)), []
        for number, (rate, decay, dropout) in enumerate(drawn_settings(self._settings.trials)):
            weights = ""
            if self._settings.weighting == "static":
                shares = weigh.dirichlet(np.ones(len(self.sizes)))
                weights = " ".join(f"{share:.4f}" for share in shares)
            coupling = self.couplings[turns[number % len(turns)]]
            candidates.append(
                replace(
                    self._settings,
                    rate=rate, decay=decay, dropout=dropout, coupling=coupling, weights=weights,
                )
            )  # fmt: skip
        return candidates

    def trials(self) -> Mapping[str, Any]:
        """Each trial's rate, decay, dropout, coupling (null: infinite) and mean score on validation."""
        rates = [settings.rate for settings, _ in self._trials]
        best = max(self._trials, key=lambda t: t[1])[0].rate if self._trials else None
        return {
            "trials": [
                [s.rate, s.decay, s.dropout, None if math.isinf(s.coupling) else s.coupling, score]
                for s, score in self._trials
            ],
            "at_edge": best in (min(rates), max(rates)) if rates else None,
        }

    def fit(self, train: Samples, val: Samples | None) -> Self:
        if not self._settings.rate:
            chosen = self.select(train, val)
            coupling = float(chosen.get("coupling", self._settings.coupling))
            self._settings = replace(self._settings, **{**chosen, "coupling": coupling})
        self._whitening = Whitening.of(train, self._meta.targets, self._settings.pca)
        x = self._whitening(features_of(train.x, READER))
        runs = [self._settings.run(self._seed)]
        self._towers, losses = self._trained(self._whitening, x, train.y, runs)
        self._report = self._run_report(x, float(losses[0]))
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return self._predictions(self._whitening, self._towers, features_of(x, READER))[0]

    def report(self) -> Mapping[str, Any]:
        """The setting, the layout, parameters, multiplications an image (`macs`), steps, the last epoch's
        loss."""
        return self._report

    def sweep(
        self, samples: Samples, jobs: Sequence[Job], x: Array
    ) -> Sequence[tuple[Mapping[str, Array], Mapping[str, Any]]]:
        """As `Sweeps`: runs on equal rows and targets are trained side by side."""
        if not self._settings.rate:
            raise BenchError("a sweep needs a setting: call select first, or give rate=...")
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, job in enumerate(jobs):
            unseen = tuple(
                sorted((n, tuple(sorted(t.unseen))) for n, t in job.meta.targets.items())
            )
            groups.setdefault((job.train.tobytes(), unseen), []).append(number)
        results: dict[int, tuple[Mapping[str, Array], Mapping[str, Any]]] = {}
        for members in groups.values():
            rows = jobs[members[0]].train
            labels = {name: y[rows] for name, y in samples.y.items()}
            part = Samples(features_of(samples.x, READER)[rows], labels, rows)
            whitening = Whitening.of(part, self._meta.targets, self._settings.pca)
            inputs = whitening(features_of(part.x, READER))
            runs = [self._settings.run(jobs[number].seed) for number in members]
            towers, losses = self._trained(whitening, inputs, labels, runs)
            predictions_by_run = self._predictions(whitening, towers, x)
            for number, predictions, loss in zip(members, predictions_by_run, losses, strict=True):
                results[number] = predictions, self._run_report(inputs, float(loss))
        return [results[number] for number in range(len(jobs))]

    def _trained(
        self, whitening: Whitening, x: Array, y: Mapping[str, Array], runs: Sequence[Run]
    ) -> tuple[Towers, Array]:
        """Towers of all runs, trained on whitened features x (n, p), and each run's last loss."""
        for name, target in self._meta.targets.items():
            if missing(target, y[name]).all():
                raise BenchError(f"no training row has a label of {name!r}")
        towers = Towers(x.shape[1], self.sizes, self.layout(x.shape[1]), [run.seed for run in runs])
        kinds = {name: target.kind for name, target in self._meta.targets.items()}
        labels = whitening.labels({name: y[name] for name in kinds})
        losses = train(towers, x, labels, kinds, runs, epochs=self._settings.epochs, batch=BATCH)
        if not np.isfinite(losses).any():
            raise BenchError("multi-task training has diverged at every setting; try lower rates")
        return towers, losses

    def _predictions(
        self, whitening: Whitening, towers: Towers, x: Array
    ) -> list[dict[str, Array]]:
        """Of each run, predictions by target for features (n, d)."""
        inputs = torch.from_numpy(whitening(x))
        runs = len(next(iter(towers.parameters.values())))
        parts: dict[str, list[torch.Tensor]] = {}
        with torch.no_grad():
            for chunk in torch.split(inputs, 1024):
                for name, values in towers(chunk.expand(runs, -1, -1)).items():
                    parts.setdefault(name, []).append(values)
        joined = {name: torch.cat(values, dim=1) for name, values in parts.items()}
        return [
            {name: self._prediction(whitening, name, joined[name][run]) for name in self.sizes}
            for run in range(runs)
        ]

    def _prediction(self, whitening: Whitening, name: str, values: torch.Tensor) -> Array:
        """Log-probabilities, or numbers in their own units, of a head's outputs (n, k)."""
        kind = self._meta.targets[name].kind
        if kind == "classes":
            prediction: Array = values.log_softmax(dim=1).numpy()
        elif kind == "binary":
            prediction = torch.nn.functional.logsigmoid(values).numpy()
        else:
            mean, spread = whitening.numbers[name]
            prediction = (values.numpy() * spread + mean).astype(np.float32)
        return prediction

    def _score(self, predictions: Mapping[str, Array], val: Samples) -> float:
        """Mean over targets: accuracy, or R² of numbers; -1 where the run has diverged."""
        scores = []
        for name, target in self._meta.targets.items():
            if not np.isfinite(predictions[name]).all():
                return -1.0
            metrics = score(target.kind, val.y[name], predictions[name], probabilistic=True)
            scores.append(metrics["r2" if target.kind == "number" else "accuracy"])
        return float(np.mean(scores))

    def _run_report(self, x: Array, loss: float) -> dict[str, Any]:
        """`report()` of a run on whitened features x (n, p)."""
        layout, sizes = self.layout(x.shape[1]), list(self.sizes.values())
        gates = len(sizes) * layout.towers if layout.mix == "gates" else 0
        settings = self._settings
        return {
            "rate": settings.rate,
            "decay": settings.decay,
            "dropout": settings.dropout,
            **({"coupling": str(settings.coupling)} if "coupling" in self.knobs else {}),
            **({"weights": settings.weights} if settings.weights else {}),
            "towers": layout.towers,
            "width": layout.width,
            "dimensions": x.shape[1],
            "parameters": parameter_count(x.shape[1], sizes, layout),
            "macs": x.shape[1] * (layout.towers * layout.width + gates) + layout.width * sum(sizes),
            "steps": settings.epochs * math.ceil(len(x) / BATCH),
            "images_seen": settings.epochs * len(x),
            "loss": loss,
        }
