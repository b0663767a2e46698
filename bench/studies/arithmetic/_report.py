"""What the study of vector arithmetic reports: its tables, its claims, its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.drawing.sheet import sheet
from bench.report.text import percent_text, table
from bench.statistics.intervals import bootstrap_mean, paired_difference, seed_paired_difference
from bench.studies.arithmetic._measures import ANALOGY, FACTORS, HIT, PRESERVED
from bench.studies.base import Array, Claim, Report
from bench.studies.parts.differences import claim, holm_adjusted

MEANS, RANDOM = "difference of means", "random direction"
BETWEEN, BOUND = "between two images", "true image"
WAYS = (MEANS, RANDOM, BETWEEN, BOUND)
ALL = "mean of the factors"

# Encoder, factor and way -> scores (3, r, n) in [0, 1] of trainings by images.
AnalogyScores = Mapping[tuple[str, str, str], Array]


@dataclass(frozen=True, slots=True, eq=False)
class AnalogyImages:
    """Columns of the picture: factor and goal, sources and sources drawn anew (n, 3, 32, 32), and what
    the codes of one encoder decode to, by way."""

    encoder: str
    heads: Sequence[tuple[str, int]]
    sources: Array
    changed: Array
    decoded: Mapping[str, Array]


def report(
    scores: AnalogyScores,
    examples: Sequence[AnalogyImages],
    *,
    judge: Mapping[str, float],
    names: Mapping[str, Sequence[str]],
    parameters: Mapping[str, Any],
) -> Report:
    """The study's answer. `judge`: its accuracy on the sources by factor; `names` of the classes of each
    factor; `parameters`: those of `run`, and the size of the judge's training set."""
    encoders, seeds = parameters["encoders"], parameters["seeds"]
    means = {
        (encoder, ALL, way): np.mean([scores[encoder, f, way] for f in FACTORS], axis=0)
        for encoder in encoders
        for way in WAYS
    }
    scores = {**scores, **means}
    trainings = f" and {seeds} trainings" if seeds > 1 else " alone: one training each"
    parts = [
        f"To the code of each of {parameters['images']} validation images is added the mean code of "
        "training images with another value of one factor, minus the mean of those with its own. "
        f"The sum is decoded, and a judge (`supervised`, of {parameters['lessons']:,} other sprites with "
        "their labels) says which values it sees; of an encoder without a decoder the factors "
        "of the training image with the nearest code count. Trainings of "
        f"{parameters['budget']} images; 95 % intervals over images{trainings}. Test images are not "
        "read. A denoising autoencoder was not trained to decode the codes of clean images.",
        "- Analogy, %: how often the new value is seen and was not in the code before it was "
        "changed, and all four other factors are seen as they were there. No change has 0. Position and "
        "rotation do not count.\n"
        f"- {MEANS.capitalize()}: the arithmetic. {RANDOM.capitalize()}: a vector of the same "
        f"length, uniformly drawn. {BETWEEN.capitalize()}: of the same length, from one random "
        f"training image's code to another's. {parameters['draws']} draws of each. "
        f"{BOUND.capitalize()}: the code of the same sprite drawn with the new value, the upper bound "
        "of arithmetic.",
        _table(scores, encoders, {way: (ANALOGY, way) for way in WAYS}),
        "The two parts of it: how often the new value is seen and was not before, and the share of the "
        "other factors that are seen as before, both in %.",
        _table(
            scores,
            encoders,
            {
                f"{name}: {way}": (measure, way)
                for name, measure in (("seen", HIT), ("kept", PRESERVED))
                for way in (MEANS, RANDOM, BOUND)
            },
        ),
        "The judge is right on the sources themselves, in %: "
        + ", ".join(f"{name} {100 * share:.1f}" for name, share in judge.items())
        + ".",
        "![examples](examples.png)",
        "The first sources of the first training; over each column the factor and the new value.",
    ]
    rows = [
        {
            "encoder": encoder,
            "factor": factor,
            "way": way,
            "hit": bootstrap_mean(values[HIT]),
            "kept": bootstrap_mean(values[PRESERVED]),
            "analogy": bootstrap_mean(values[ANALOGY]),
        }
        for (encoder, factor, way), values in scores.items()
    ]
    return Report.of(
        "Vector arithmetic with codes of sprites",
        parts,
        {**parameters, "judge": judge, "scores": rows},
        claims=_claims(scores, encoders),
        figures={"examples.png": _picture(examples, names)},
    )


def _table(
    scores: AnalogyScores, encoders: Sequence[str], columns: Mapping[str, tuple[int, str]]
) -> str:
    """`columns`: head -> measure and way."""
    lines = [
        [
            encoder if factor == FACTORS[0] else "",
            factor,
            *(
                percent_text(bootstrap_mean(scores[encoder, factor, way][measure]))
                for measure, way in columns.values()
            ),
        ]
        for encoder in encoders
        for factor in (*FACTORS, ALL)
    ]
    return table(["encoder", "factor", *columns], lines)


def _picture(examples: Sequence[AnalogyImages], names: Mapping[str, Sequence[str]]) -> bytes:
    first = examples[0]
    rows = [("source", first.sources), ("wanted", first.changed)]
    titles = ((MEANS, "analogue"), (RANDOM, "random"), (BOUND, "wanted, rebuilt"))
    rows += [(f"{e.encoder}\n{title}", e.decoded[way]) for e in examples for way, title in titles]
    heads = [f"{factor}\n{names[factor][value]}" for factor, value in first.heads]
    return sheet(rows, scale=3, heads=heads)


def _claims(scores: AnalogyScores, encoders: Sequence[str]) -> list[Claim]:
    """p-values are adjusted by Holm over all encoders and factors of one kind of claim."""
    claims = []
    for reference, statement, sign in (
        (RANDOM, f"is right more often than a {RANDOM}", 1),
        (BETWEEN, f"is right more often than a vector {BETWEEN}", 1),
        (BOUND, f"is right less often than the {BOUND}", -1),
    ):
        differences = holm_adjusted(
            {
                (encoder, f): seed_paired_difference(
                    scores[encoder, f, MEANS][ANALOGY], scores[encoder, f, reference][ANALOGY]
                )
                for encoder in encoders
                for f in FACTORS
            }
        )
        claims += [
            claim(
                f"`{encoder}`: for every factor the {MEANS} {statement}",
                {f: differences[encoder, f] for f in FACTORS},
                sign,
            )
            for encoder in encoders
        ]
    for encoder in encoders[1:]:
        a, b = (scores[e, ALL, MEANS][ANALOGY] for e in (encoder, encoders[0]))
        interval, p = paired_difference(a, b)
        claims.append(
            Claim(
                f"analogies of `{encoder}` are right more often than those of `{encoders[0]}`, {ALL}",
                (f"difference {percent_text(interval, '+')}, p = {p:.2g}",),
                interval.value > 0 and p < 0.05,
            )
        )
    return claims
