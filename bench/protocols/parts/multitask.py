"""What all multi-task heads share: their input, trials, seeds side by side, predictions, bookkeeping.

Without a REVISION of its own: an edit that moves numbers raises those of the protocols.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from bench.data.images import Delivery
from bench.data.samples import Meta, Samples, missing
from bench.errors import BenchError, Declined
from bench.protocols.base import Job, TransferProtocol
from bench.protocols.parts.readout import Reader, features_of
from bench.seeding import generator
from bench.solvers.towers import Layout, Run, Towers, parameter_count, train
from bench.statistics.metrics import score

Array = npt.NDArray[Any]
Weighting = Literal["equal", "static", "random"]
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
DECAYS = (0.0, 1e-4, 1e-2)
DROPOUTS = (0.0, 0.2)
BATCH = 256


def drawn_settings(trials: int) -> list[tuple[float, float, float]]:
    """Rates, decays and dropouts to try, from their grid; no two are equal while there are others."""
    grid = list(product(RATES, DECAYS, DROPOUTS))
    order = generator(0, "trials:").permutation(len(grid))
    return [grid[order[number % len(grid)]] for number in range(trials)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every arm's `build` takes: principal components of the features that heads read (`pca`, 0: all
    of them), units of one task's tower (`width`), `epochs`, and the setting of a run: `rate` (0: the best
    of `trials`), `decay`, `dropout`; how losses are weighed: all alike, by `weights` in the order of the
    tasks' names ("static": the trials choose), or by weights drawn anew each step."""

    pca: int
    width: int
    epochs: int
    trials: int
    weighting: Weighting
    rate: float
    decay: float
    dropout: float
    coupling: float
    weights: str

    def checked(self, name: str) -> Plan:
        """Itself. Raises BenchError for what no run can be."""
        for key, least in (("pca", 0), ("width", 1), ("epochs", 1), ("trials", 1)):
            if getattr(self, key) < least:
                raise BenchError(f"{name},{key}={getattr(self, key)}: {least} or more is wanted")
        if min(self.rate, self.decay, self.coupling) < 0 or not 0 <= self.dropout < 1:
            raise BenchError(
                f"{name},rate={self.rate:g},decay={self.decay:g},dropout={self.dropout:g}: none is "
                "below 0, and dropout is below 1"
            )
        return self

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
    trained side by side on the first seed; the best mean score on validation is taken. Every run ends
    after its epochs, and its last state counts.
    """

    output = "log_probability"
    accepts = frozenset({"classes", "binary", "number"})
    couplings: tuple[float, ...] = (0.0,)  # what trials draw from

    def __init__(self, meta: Meta, seed: int, plan: Plan) -> None:
        self._meta, self._seed, self._plan = meta, seed, plan
        self._trials: list[tuple[Plan, float]] = []

    @abstractmethod
    def layout(self, dim: int) -> Layout:
        """Towers and mixing on features (n, dim)."""

    @property
    def sizes(self) -> dict[str, int]:
        return {name: target.size for name, target in self._meta.targets.items()}

    def single(self, dim: int) -> int:
        """Parameters of a tower of its own for every task: what arms are matched to."""
        towers = Layout(towers=len(self.sizes), width=self._plan.width, mix="separate")
        return parameter_count(dim, list(self.sizes.values()), towers)

    def matched(self, dim: int, layout: Layout) -> Layout:
        """The layout at the width whose parameters come closest to those of `single`."""
        sizes, wanted = list(self.sizes.values()), self.single(dim)

        def off(width: int) -> int:
            return abs(parameter_count(dim, sizes, replace(layout, width=width)) - wanted)

        return replace(layout, width=min(range(1, 8 * self._plan.width + 1), key=off))

    def select(self, train: Samples, val: Samples | None) -> Mapping[str, Any]:
        """The setting of best mean score on validation; nothing where a rate is given."""
        if self._plan.rate:
            return {}
        if val is None:
            raise Declined("multi-task heads choose on validation, and this task grants none")
        plans = self._drawn()
        reader = Reader.of(train, self._meta.targets, self._plan.pca)
        towers, _ = self._trained(
            reader, reader(features_of(train.x)), train.y, [plan.run(self._seed) for plan in plans]
        )
        found = self._outputs(reader, towers, features_of(val.x))
        scores = [self._score(each, val) for each in found]
        self._trials = list(zip(plans, scores, strict=True))
        best = plans[int(np.argmax(scores))]  # of equal ones the first
        chosen = {key: getattr(best, key) for key in ("rate", "decay", "dropout", *self.knobs)}
        return {key: str(v) if key == "coupling" else v for key, v in chosen.items()}

    @property
    def knobs(self) -> tuple[str, ...]:
        """What trials choose beside rate, decay and dropout."""
        weights = ("weights",) if self._plan.weighting == "static" else ()
        return (*weights, "coupling") if len(self.couplings) > 1 else weights

    def _drawn(self) -> list[Plan]:
        """Settings, the same for every arm but for its own knob, whose values come in turn."""
        knob, weigh = (generator(0, f"trials:{name}") for name in ("coupling", "weights"))
        turns, plans = knob.permutation(len(self.couplings)), []
        for number, (rate, decay, dropout) in enumerate(drawn_settings(self._plan.trials)):
            weights = ""
            if self._plan.weighting == "static":
                drawn = weigh.dirichlet(np.ones(len(self.sizes)))
                weights = " ".join(f"{share:.4f}" for share in drawn)
            plans.append(
                replace(
                    self._plan,
                    rate=rate,
                    decay=decay,
                    dropout=dropout,
                    coupling=self.couplings[turns[number % len(turns)]],
                    weights=weights,
                )
            )
        return plans

    def trials(self) -> Mapping[str, Any]:
        """Each trial's rate, decay, dropout, coupling (null: infinite) and mean score on validation."""
        rates = [plan.rate for plan, _ in self._trials]
        best = max(self._trials, key=lambda t: t[1])[0].rate if self._trials else None
        return {
            "trials": [
                [p.rate, p.decay, p.dropout, None if math.isinf(p.coupling) else p.coupling, score]
                for p, score in self._trials
            ],
            "at_edge": best in (min(rates), max(rates)) if rates else None,
        }

    def fit(self, train: Samples, val: Samples | None) -> Self:
        if not self._plan.rate:
            chosen = self.select(train, val)
            coupling = float(chosen.get("coupling", self._plan.coupling))
            self._plan = replace(self._plan, **{**chosen, "coupling": coupling})
        self._reader = Reader.of(train, self._meta.targets, self._plan.pca)
        x = self._reader(features_of(train.x))
        self._towers, losses = self._trained(self._reader, x, train.y, [self._plan.run(self._seed)])
        self._told = self._bookkeeping(x, float(losses[0]))
        return self

    def predict(self, x: Array | Delivery) -> Mapping[str, Array]:
        return self._outputs(self._reader, self._towers, features_of(x))[0]

    def report(self) -> Mapping[str, Any]:
        """The setting, the layout, parameters, multiplications an image, steps, the last epoch's loss."""
        return self._told

    def sweep(
        self, samples: Samples, jobs: Sequence[Job], x: Array
    ) -> Sequence[tuple[Mapping[str, Array], Mapping[str, Any]]]:
        """Runs on equal rows and targets are trained side by side."""
        if not self._plan.rate:
            raise BenchError("a sweep is given its setting by select, or by rate=...")
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, job in enumerate(jobs):
            unseen = tuple(
                sorted((n, tuple(sorted(t.unseen))) for n, t in job.meta.targets.items())
            )
            groups.setdefault((job.train.tobytes(), unseen), []).append(number)
        found: dict[int, tuple[Mapping[str, Array], Mapping[str, Any]]] = {}
        for members in groups.values():
            rows = jobs[members[0]].train
            part = Samples(
                features_of(samples.x)[rows], {n: y[rows] for n, y in samples.y.items()}, rows
            )
            reader = Reader.of(part, self._meta.targets, self._plan.pca)
            inputs = reader(features_of(part.x))
            towers, losses = self._trained(
                reader, inputs, part.y, [self._plan.run(jobs[number].seed) for number in members]
            )
            outputs = self._outputs(reader, towers, x)
            for number, output, loss in zip(members, outputs, losses, strict=True):
                found[number] = output, self._bookkeeping(inputs, float(loss))
        return [found[number] for number in range(len(jobs))]

    def _trained(
        self, reader: Reader, x: Array, y: Mapping[str, Array], runs: Sequence[Run]
    ) -> tuple[Towers, Array]:
        for name, target in self._meta.targets.items():
            if missing(target, y[name]).all():
                raise BenchError(f"no training row has a label of {name!r}")
        towers = Towers(x.shape[1], self.sizes, self.layout(x.shape[1]), [run.seed for run in runs])
        kinds = {name: target.kind for name, target in self._meta.targets.items()}
        labels = reader.labels({name: y[name] for name in kinds})
        losses = train(towers, x, labels, kinds, runs, epochs=self._plan.epochs, batch=BATCH)
        if not np.isfinite(losses).any():
            raise BenchError("multi-task training has diverged at every setting; try lower rates")
        return towers, losses

    def _outputs(self, reader: Reader, towers: Towers, x: Array) -> list[dict[str, Array]]:
        """Run by run, predictions by target."""
        inputs = torch.from_numpy(reader(x))
        runs = len(next(iter(towers.parameters.values())))
        parts: dict[str, list[torch.Tensor]] = {}
        with torch.no_grad():
            for chunk in torch.split(inputs, 1024):
                for name, values in towers(chunk.expand(runs, -1, -1)).items():
                    parts.setdefault(name, []).append(values)
        joined = {name: torch.cat(values, dim=1) for name, values in parts.items()}
        return [
            {name: self._prediction(reader, name, joined[name][run]) for name in self.sizes}
            for run in range(runs)
        ]

    def _prediction(self, reader: Reader, name: str, values: torch.Tensor) -> Array:
        kind = self._meta.targets[name].kind
        if kind == "classes":
            found: Array = values.log_softmax(dim=1).numpy()
        elif kind == "binary":
            found = torch.nn.functional.logsigmoid(values).numpy()
        else:
            centre, spread = reader.centres[name]
            found = (values.numpy() * spread + centre).astype(np.float32)
        return found

    def _score(self, predictions: Mapping[str, Array], val: Samples) -> float:
        """Mean over targets: accuracy, or R² of numbers; -1 where the run has diverged."""
        scores = []
        for name, target in self._meta.targets.items():
            if not np.isfinite(predictions[name]).all():
                return -1.0
            found = score(target.kind, val.y[name], predictions[name], probabilistic=True)
            scores.append(found["r2" if target.kind == "number" else "accuracy"])
        return float(np.mean(scores))

    def _bookkeeping(self, x: Array, loss: float) -> dict[str, Any]:
        layout, sizes = self.layout(x.shape[1]), list(self.sizes.values())
        gates = len(sizes) * layout.towers if layout.mix == "gates" else 0
        macs = x.shape[1] * (layout.towers * layout.width + gates) + layout.width * sum(sizes)
        steps = self._plan.epochs * math.ceil(len(x) / BATCH)
        plan = self._plan
        return {
            "rate": plan.rate,
            "decay": plan.decay,
            "dropout": plan.dropout,
            **({"coupling": str(plan.coupling)} if "coupling" in self.knobs else {}),
            **({"weights": plan.weights} if plan.weights else {}),
            "towers": layout.towers,
            "width": layout.width,
            "dimensions": x.shape[1],
            "parameters": parameter_count(x.shape[1], sizes, layout),
            "macs": macs,
            "steps": steps,
            "images_seen": self._plan.epochs * len(x),
            "loss": loss,
        }
