"""Arms of multi-task learning on features in memory: settings chosen on validation, runs scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from bench.data.samples import Array, Meta, Samples, SplitName, Target
from bench.errors import BenchError
from bench.naming import registry
from bench.naming.specs import resolve
from bench.protocols.parts.multitask import BATCH, drawn_settings
from bench.protocols.parts.whitening import Whitening
from bench.solvers.towers import REVISION, Layout, Run, Towers, train
from bench.statistics.metrics import score
from bench.studies.parts.partial import PartialResults

TRIALS = 12
RunScores = dict[str, dict[str, list[float]]]  # "val" or "test" -> target -> a score for each run


@dataclass(frozen=True, slots=True, eq=False)
class SplitInputs:
    """The input of heads on a split, float32 (n, d), and labels as `bench.solvers.towers.train` takes
    them."""

    x: Array
    y: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Problem:
    """Targets, and the three splits as heads read them; numbers are standardised. `name` is for people,
    `recipe` names all that the problem depends on."""

    targets: Mapping[str, Target]
    train: SplitInputs
    val: SplitInputs
    test: SplitInputs
    name: str
    recipe: str

    @classmethod
    def read(
        cls,
        parts: Mapping[SplitName, Samples],
        targets: Mapping[str, Target],
        pca: int,
        *,
        name: str,
        recipe: str = "",
    ) -> Problem:
        """Features of the splits train, val and test as the protocols read them."""
        whitening = Whitening.of(parts["train"], targets, pca)
        inputs: dict[str, SplitInputs] = {
            split: SplitInputs(
                whitening(np.asarray(part.x)),
                whitening.labels({name: part.y[name] for name in targets}),
            )
            for split, part in parts.items()
        }
        return cls(targets=targets, **inputs, name=name, recipe=f"{name}, {recipe}, pca {pca}")

    def only(self, *names: str) -> Problem:
        """These targets alone."""
        targets = {name: self.targets[name] for name in self.targets if name in names}
        return replace(self, targets=targets)

    def labelled(self, y: Mapping[str, Array], label: str) -> Problem:
        """With other training labels for some targets; `label` names them."""
        train = SplitInputs(self.train.x, {**self.train.y, **y})
        name, recipe = f"{self.name}, {label}", f"{self.recipe}, {label}"
        return replace(self, train=train, name=name, recipe=recipe)


def layout(problem: Problem, arm: str) -> Layout:
    """Towers and mixing of an arm, a protocol's spec, on this problem."""
    spec = resolve("protocols", arm)
    build = registry.load(spec.entry).build
    protocol = build(meta=Meta(problem.targets), trunk=None, seed=0, **spec.arguments)
    towers: Layout = protocol.layout(problem.train.x.shape[1])
    return towers


def settings(trials: int, seed: int) -> list[Run]:
    """Runs of one seed at the rates, decays and dropouts that the protocols try."""
    return [
        Run(seed=seed, rate=rate, decay=decay, dropout=dropout)
        for rate, decay, dropout in drawn_settings(trials)
    ]


def chosen(problem: Problem, arm: str, trials: list[Run], *, on: Sequence[str], epochs: int) -> Run:
    """The trial of best mean score on validation over the targets `on`, of equal ones the first.

    Raises BenchError where all diverge.
    """
    outputs = _outputs(problem, arm, trials, epochs, ("val",))["val"]
    means = [_mean(problem.only(*on), by_target) for by_target in outputs]
    if not np.isfinite(means).any():
        raise BenchError(f"{arm} diverges at all of {len(trials)} settings")
    return trials[int(np.argmax(means))]


def scores(problem: Problem, arm: str, runs: Sequence[Run], *, epochs: int) -> RunScores:
    """Train the runs side by side: accuracy of classes, or R2 of numbers, on validation and test.

    Raises BenchError where a run diverges.
    """
    outputs = _outputs(problem, arm, runs, epochs, ("val", "test"))
    return {
        split: {
            name: [_score(target, truth[name], run[name], arm) for run in outputs[split]]
            for name, target in problem.targets.items()
        }
        for split, truth in (("val", problem.val.y), ("test", problem.test.y))
    }


def _outputs(
    problem: Problem, arm: str, runs: Sequence[Run], epochs: int, splits: Sequence[str]
) -> dict[str, list[dict[str, Array]]]:
    """Split -> run by run, logits or values (n, k) by target."""
    sizes = {name: target.size for name, target in problem.targets.items()}
    kinds = {name: target.kind for name, target in problem.targets.items()}
    x, labels = problem.train.x, {name: problem.train.y[name] for name in sizes}
    towers = Towers(x.shape[1], sizes, layout(problem, arm), [run.seed for run in runs])
    train(towers, x, labels, kinds, runs, epochs=epochs, batch=BATCH)
    outputs: dict[str, list[dict[str, Array]]] = {}
    for split in splits:
        inputs = torch.from_numpy((problem.val if split == "val" else problem.test).x)
        with torch.no_grad():
            chunks = [towers(c.expand(len(runs), -1, -1)) for c in torch.split(inputs, 1024)]
        joined = {name: torch.cat([c[name] for c in chunks], dim=1).numpy() for name in sizes}
        outputs[split] = [{n: v[run] for n, v in joined.items()} for run in range(len(runs))]
    return outputs


def _mean(problem: Problem, outputs: Mapping[str, Array]) -> float:
    """Mean score on validation; minus infinity where the run has diverged."""
    if not all(np.isfinite(values).all() for values in outputs.values()):
        return -np.inf
    by_target = [_score(t, problem.val.y[n], outputs[n], n) for n, t in problem.targets.items()]
    return float(np.mean(by_target))


def _score(target: Target, truth: Array, output: Array, name: str) -> float:
    if not np.isfinite(output).all():
        raise BenchError(f"{name} has diverged at the setting that was chosen on validation")
    metrics = score(target.kind, truth, output, probabilistic=False)
    return metrics["r2" if target.kind == "number" else "accuracy"]


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """Choices and scores, as many `seeds` each; `partial` has what earlier runs gave, and `revision` is
    the study's."""

    partial: PartialResults
    revision: int
    seeds: int
    epochs: int

    def chosen(self, problem: Problem, arm: str, on: Sequence[str]) -> Run:
        """The best of 12 trials on validation of the targets `on`."""

        def compute() -> Any:
            return asdict(chosen(problem, arm, settings(TRIALS, 0), on=on, epochs=self.epochs))

        recipe = self._recipe("chosen", [problem], arm, [TRIALS, *on])
        fields = self.partial(_title(arm, problem, f"{TRIALS} trials"), recipe, compute)
        return Run(**{**fields, "weights": tuple(fields["weights"])})

    def scores(self, problems: Sequence[Problem], arm: str, run: Run) -> tuple[Array, Array]:
        """Validation and test, (t, s) each: seed i on problem i mod their number."""

        def compute() -> Any:
            by_seed: list[RunScores] = [{} for _ in range(self.seeds)]
            for number, problem in enumerate(problems[: self.seeds]):
                seeds = range(number, self.seeds, len(problems))
                runs = [replace(run, seed=seed) for seed in seeds]
                by_split = scores(problem, arm, runs, epochs=self.epochs)
                for place, seed in enumerate(seeds):
                    by_seed[seed] = {
                        split: {name: [values[place]] for name, values in by_target.items()}
                        for split, by_target in by_split.items()
                    }
            return by_seed

        recipe = self._recipe("scores", problems, arm, [self.seeds, repr(run)])
        by_seed = self.partial(_title(arm, problems[0], f"{self.seeds} seeds"), recipe, compute)
        val, test = (
            np.array([[seed[split][name][0] for seed in by_seed] for name in problems[0].targets])
            for split in ("val", "test")
        )
        return val, test

    def _recipe(
        self, step: str, problems: Sequence[Problem], arm: str, details: Sequence[Any]
    ) -> list[Any]:
        protocol = resolve("protocols", arm).identity["digest"]
        inputs = [[problem.recipe, *problem.targets] for problem in problems]
        return [self.revision, REVISION, step, inputs, protocol, self.epochs, *details]


def _title(arm: str, problem: Problem, count: str) -> str:
    return f"{arm} of {', '.join(problem.targets)}: {count}, {problem.name}"
