"""What do labels discard? A trunk trained on one factor of sprites, and probed for all the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.data.samples import Array, Target
from bench.diagnostics.factors import probe_predictions
from bench.diagnostics.parts.factors import independent
from bench.drawing.charts import heat, load_altair
from bench.errors import BenchError
from bench.report.text import percent_text, table
from bench.statistics.intervals import mean_interval
from bench.studies.base import Claim, Report, Setting, require
from bench.studies.parts.differences import Difference, claim, compared
from bench.studies.parts.fits import SourceFits

REVISION = 1
DATASET = "sprites"
CODE = "code"  # the layer that a head reads, beside the default level
AUTOENCODER, UNTRAINED = "autoencoder", "untrained"

# Level, learner and factor -> scores (r, n) of trainings by images, whose mean is accuracy, or R2 of
# numbers.
FactorScores = Mapping[tuple[str, str, str], Array]


def run(
    *,
    setting: Setting,
    lessons: str = "shape colour size texture dot",
    budget: str = "100k",
    seeds: int = 5,
) -> Report:
    """Train `supervised` on each of `lessons`, factors of sprites, and `autoencoder` without labels, at
    `budget` images with `seeds` seeds, or take the weights that the cache has, and predict every factor
    from each by a ridge probe. Scores are of validation images; test images are not read.

    Raises BenchError for fewer than 2 seeds, lessons that are not factors with classes, and where
    charts cannot be drawn.
    """
    require("labels_lost", 2, seeds=seeds)
    load_altair()
    fits = SourceFits.of(setting, DATASET, workspace=setting.workspace(CODE))
    train, val = fits.dataset.split("train"), fits.dataset.split("val")
    factors = independent(fits.dataset.meta.targets)
    labels = {name: train.y[name] for name in factors}
    allowed = [name for name, target in factors.items() if target.kind == "classes"]
    names = list(dict.fromkeys(lessons.split()))
    if not names or not set(names) <= set(allowed):
        raise BenchError(f"labels_lost: lessons={lessons!r}; give some of {', '.join(allowed)}")
    specs = {taught(name): f"supervised,target={name}~{budget}" for name in names}
    specs |= {AUTOENCODER: f"autoencoder~{budget}", UNTRAINED: "autoencoder~0"}
    rows: dict[tuple[str, str, str], list[Array]] = {}
    for learner, spec in specs.items():
        for seed in range(seeds):
            fitted = fits.fitted(spec, seed)
            for level in (fitted.encoder.level, CODE):
                x, z = (fits.features(fitted, split, level) for split in ("train", "val"))
                for name, values in probe_predictions(factors, x, labels, z).items():
                    scores = row_scores(factors[name], values, val.y[name])
                    rows.setdefault((level, learner, name), []).append(scores)
    return report(
        {key: np.stack(trainings) for key, trainings in rows.items()},
        names,
        {"budget": budget, "seeds": seeds, "images": len(val)},
    )


def taught(factor: str) -> str:
    """The name of a learner that had this factor as labels."""
    return f"taught {factor}"


def row_scores(target: Target, values: Array, truth: Array) -> Array:
    """What each image (n,) adds to the score: right or wrong; of numbers 1 less the squared error in units
    of their variance, whose mean is R2."""
    if target.kind == "classes":
        return np.asarray(values.argmax(axis=1) == truth, dtype=np.float64)
    wide = truth.astype(np.float64)
    rows: Array = 1 - (np.square(values - wide) / wide.var(axis=0)).mean(axis=1)
    return rows


def report(scores: FactorScores, lessons: Sequence[str], parameters: Mapping[str, Any]) -> Report:
    """The study's answer; `lessons` are the factors that a learner was taught, `parameters` the budget,
    seeds and images."""
    levels, learners, factors = (list(dict.fromkeys(keys)) for keys in zip(*scores, strict=True))
    means = {key: mean_interval(rows) for key, rows in scores.items()}
    parts = [
        f"The same trunk on sprites, {parameters['seeds']} trainings each of {parameters['budget']} "
        "images: taught one factor by its labels (`supervised`), trained without labels (`autoencoder`), "
        "or not trained (`untrained`). A ridge probe, fitted to the 5,000 training images, then predicts "
        f"every factor from the frozen features of {parameters['images']:,} validation images: accuracy "
        "in %, of position and rotation R² in %. 95 % intervals over images and trainings. Test images "
        "are not read.",
        "![factors](factors.svg)",
        "Each cell has the score; its colour is the difference from the autoencoder, in points.",
    ]
    for level in levels:
        lines = [
            [learner, *(percent_text(means[level, learner, factor]) for factor in factors)]
            for learner in learners
        ]
        parts += [f"### Level `{level}`", table(["", *factors], lines)]
    rows = [
        {"learner": learner, "level": level, "factor": factor, **asdict(mean)}
        for (level, learner, factor), mean in means.items()
    ]
    return Report.of(
        "What labels discard",
        parts,
        {**parameters, "scores": rows},
        claims=[c for level in levels for c in _claims(scores, level, lessons, factors)],
        note="Differences are paired over images, p adjusted by Holm over those of one claim.",
        figures={"factors.svg": _figure(scores)},
    )


def _figure(scores: FactorScores) -> bytes:
    means = {key: float(rows.mean()) for key, rows in scores.items()}
    x, label = "predicted factor", "value"
    cells = [
        {
            x: factor,
            "learner": learner,
            "level": f"level {level}",
            "difference": 100 * (mean - means[level, AUTOENCODER, factor]),
            label: f"{100 * mean:.0f}",
        }
        for (level, learner, factor), mean in means.items()
    ]
    return heat(cells, x=x, y="learner", side="level", colour="difference", label=label)


def _claims(
    scores: FactorScores, level: str, lessons: Sequence[str], factors: Sequence[str]
) -> list[Claim]:
    def minus(
        pairs: Sequence[tuple[str, str]], reference: str
    ) -> dict[tuple[str, str], Difference]:
        """Lesson and factor -> the taught learner's score minus that of the reference."""
        by_level = {key[1:]: rows for key, rows in scores.items() if key[0] == level}
        return compared(by_level, {(a, f): ((taught(a), f), (reference, f)) for a, f in pairs})

    gains = minus([(lesson, lesson) for lesson in lessons], AUTOENCODER)
    claims = [
        claim(
            f"`{level}`: the taught factor is predicted better than from the autoencoder",
            {lesson: gain for (lesson, _), gain in gains.items()},
        )
    ]
    untaught = [(lesson, f) for lesson in lessons for f in factors if f != lesson]
    for reference, name in ((AUTOENCODER, "autoencoder"), (UNTRAINED, "untrained trunk")):
        changes = minus(untaught, reference)
        texts = [
            f"{taught(lesson)}: {_counted({f: d for (own, f), d in changes.items() if own == lesson})}"
            for lesson in lessons
        ]
        worse = all(change.sign < 0 for change in changes.values())
        statement = f"`{level}`: every other factor is predicted worse than from the {name}"
        claims.append(Claim(statement, tuple(texts), worse))
    return claims


def _counted(changes: Mapping[str, Difference]) -> str:
    """Which factors are predicted significantly worse or better, and which are tied."""
    groups: dict[str, list[str]] = {"worse": [], "better": [], "tied": []}
    for factor, change in changes.items():
        group = {-1: "worse", 0: "tied", 1: "better"}[change.sign]
        groups[group].append(f"{factor} {100 * change.value:+.1f}")
    return ", ".join(f"{name} {', '.join(factors)}" for name, factors in groups.items() if factors)
