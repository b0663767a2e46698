"""Arms of multi-task learning on features in memory: settings chosen on validation, runs scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.data.samples import Meta, Samples, Target
from bench.errors import BenchError
from bench.naming import registry
from bench.naming.specs import resolve
from bench.protocols.parts.multitask import BATCH, drawn_settings
from bench.protocols.parts.whitening import Whitening
from bench.solvers.towers import REVISION, Layout, Run, Towers, train
from bench.statistics.metrics import score

__all__ = ["Part", "Problem", "Runs", "Scores", "chosen", "layout", "scores", "settings"]

TRIALS = 12
Array = npt.NDArray[Any]
Scores = dict[str, dict[str, list[float]]]  # "val" or "test" -> target -> one a run


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What heads read of a split, float32 (n, d), and labels as `bench.solvers.towers.train` takes
    them."""

    x: Array
    y: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Problem:
    """Targets, and the three splits as heads read them; numbers are standardised. `name` is for people,
    `recipe` says all that it is made of."""

    targets: Mapping[str, Target]
    train: Part
    val: Part
    test: Part
    name: str
    recipe: str

    @classmethod
    def read(
        cls,
        parts: Mapping[str, Samples],
        targets: Mapping[str, Target],
        pca: int,
        *,
        name: str,
        recipe: str = "",
    ) -> Problem:
        """Features of the splits train, val and test as the protocols read them."""
        whitening = Whitening.of(parts["train"], targets, pca)
        read = {
            split: Part(
                whitening(np.asarray(part.x)),
                whitening.labels({name: part.y[name] for name in targets}),
            )
            for split, part in parts.items()
        }
        return cls(targets=targets, **read, name=name, recipe=f"{name}, {recipe}, pca {pca}")

    def only(self, *names: str) -> Problem:
        """These targets alone."""
        targets = {name: self.targets[name] for name in self.targets if name in names}
        return replace(self, targets=targets)

    def labelled(self, y: Mapping[str, Array], what: str) -> Problem:
        """With other training labels for some targets; `what` says which."""
        part = Part(self.train.x, {**self.train.y, **y})
        name, recipe = f"{self.name}, {what}", f"{self.recipe}, {what}"
        return replace(self, train=part, name=name, recipe=recipe)


def layout(problem: Problem, arm: str) -> Layout:
    """Towers and mixing of an arm, a protocol's spec, on this problem."""
    spec = resolve("protocols", arm)
    build = registry.load(spec.entry).build
    protocol = build(meta=Meta(problem.targets), trunk=None, seed=0, **spec.arguments)
    found: Layout = protocol.layout(problem.train.x.shape[1])
    return found


def settings(trials: int, seed: int) -> list[Run]:
    """Runs of one seed at the rates, decays and dropouts that the protocols try."""
    return [
        Run(seed=seed, rate=rate, decay=decay, dropout=dropout)
        for rate, decay, dropout in drawn_settings(trials)
    ]


def chosen(
    problem: Problem, arm: str, trials: Sequence[Run], *, on: Sequence[str], epochs: int
) -> Run:
    """The trial of best mean score on validation over the targets `on`, of equal ones the first.

    Raises BenchError where all diverge.
    """
    found = _outputs(problem, arm, trials, epochs, ("val",))["val"]
    means = [_mean(problem.only(*on), each) for each in found]
    if not np.isfinite(means).any():
        raise BenchError(f"{arm} diverges at all of {len(trials)} settings")
    return trials[int(np.argmax(means))]


def scores(problem: Problem, arm: str, runs: Sequence[Run], *, epochs: int) -> Scores:
    """Train the runs side by side: accuracy of classes, or R2 of numbers, on validation and test.

    Raises BenchError where a run diverges.
    """
    found = _outputs(problem, arm, runs, epochs, ("val", "test"))
    told: Scores = {}
    for split, each in found.items():
        part = problem.val if split == "val" else problem.test
        told[split] = {
            name: [_score(problem.targets[name], part.y[name], run[name], arm) for run in each]
            for name in problem.targets
        }
    return told


def _outputs(
    problem: Problem, arm: str, runs: Sequence[Run], epochs: int, splits: Sequence[str]
) -> dict[str, list[dict[str, Array]]]:
    """Split -> run by run, logits or values (n, k) by target."""
    sizes = {name: target.size for name, target in problem.targets.items()}
    kinds = {name: target.kind for name, target in problem.targets.items()}
    x, labels = problem.train.x, {name: problem.train.y[name] for name in sizes}
    towers = Towers(x.shape[1], sizes, layout(problem, arm), [run.seed for run in runs])
    train(towers, x, labels, kinds, runs, epochs=epochs, batch=BATCH)
    found: dict[str, list[dict[str, Array]]] = {}
    for split in splits:
        inputs = torch.from_numpy((problem.val if split == "val" else problem.test).x)
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in sizes}
        with torch.no_grad():
            for chunk in torch.split(inputs, 1024):
                for name, values in towers(chunk.expand(len(runs), -1, -1)).items():
                    parts[name].append(values)
        joined = {name: torch.cat(values, dim=1).numpy() for name, values in parts.items()}
        found[split] = [
            {name: values[run] for name, values in joined.items()} for run in range(len(runs))
        ]
    return found


def _mean(problem: Problem, outputs: Mapping[str, Array]) -> float:
    """Mean score on validation; minus infinity where the run has diverged."""
    if not all(np.isfinite(values).all() for values in outputs.values()):
        return -np.inf
    each = [_score(t, problem.val.y[n], outputs[n], n) for n, t in problem.targets.items()]
    return float(np.mean(each))


def _score(target: Target, truth: Array, output: Array, what: str) -> float:
    if not np.isfinite(output).all():
        raise BenchError(f"{what} has diverged at the setting that was chosen on validation")
    found = score(target.kind, truth, output, probabilistic=False)
    return found["r2" if target.kind == "number" else "accuracy"]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Choices and scores, as many `seeds` each; `keep` (what, recipe, make) gives what an equal recipe
    gave before, and `revision` is the study's."""

    keep: Callable[[str, object, Callable[[], Any]], Any]
    revision: int
    seeds: int
    epochs: int

    def chosen(self, problem: Problem, arm: str, on: Sequence[str]) -> Run:
        """The best of 12 trials on validation of the targets `on`."""

        def make() -> Any:
            return asdict(chosen(problem, arm, settings(TRIALS, 0), on=on, epochs=self.epochs))

        recipe = self._recipe("chosen", [problem], arm, [TRIALS, *on])
        found = self.keep(_told(arm, problem, f"{TRIALS} trials"), recipe, make)
        return Run(**{**found, "weights": tuple(found["weights"])})

    def scores(self, problems: Sequence[Problem], arm: str, run: Run) -> tuple[Array, Array]:
        """Validation and test, (t, s) each: seed i on problem i mod their number."""

        def make() -> Any:
            told: list[Scores] = [{} for _ in range(self.seeds)]
            for number, problem in enumerate(problems[: self.seeds]):
                own = range(number, self.seeds, len(problems))
                runs = [replace(run, seed=seed) for seed in own]
                found = scores(problem, arm, runs, epochs=self.epochs)
                for place, seed in enumerate(own):
                    told[seed] = {
                        split: {name: [values[place]] for name, values in each.items()}
                        for split, each in found.items()
                    }
            return told

        recipe = self._recipe("scores", problems, arm, [self.seeds, repr(run)])
        found = self.keep(_told(arm, problems[0], f"{self.seeds} seeds"), recipe, make)
        val, test = (
            np.array([[each[split][name][0] for each in found] for name in problems[0].targets])
            for split in ("val", "test")
        )
        return val, test

    def _recipe(
        self, what: str, problems: Sequence[Problem], arm: str, more: Sequence[Any]
    ) -> list[Any]:
        protocol = resolve("protocols", arm).identity["digest"]
        made_of = [[problem.recipe, *problem.targets] for problem in problems]
        return [self.revision, REVISION, what, made_of, protocol, self.epochs, *more]


def _told(arm: str, problem: Problem, what: str) -> str:
    return f"{arm} of {', '.join(problem.targets)}: {what}, {problem.name}"
