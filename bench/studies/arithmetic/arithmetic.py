"""Can codes be added and subtracted? Sprites with one factor changed by a difference of mean codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data.images import ArrayImages, Delivery
from bench.data.samples import Array, DataSet, SourceInfo
from bench.datasets import sprites
from bench.digests import digest
from bench.drawing.sheet import sheet
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.trunk import conv_input
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.text import percent_text, table
from bench.running.workspace import TrainingData
from bench.seeding import torch_generator
from bench.statistics.intervals import mean_interval, paired_difference, seed_paired_difference
from bench.studies.arithmetic._measures import (
    ANALOGY,
    FACTORS,
    HIT,
    PRESERVED,
    CodeReader,
    FactorImages,
    between,
    random_directions,
    scores,
    verdicts,
)
from bench.studies.base import Claim, Report, Setting, require
from bench.studies.parts.differences import claim, with_holm
from bench.studies.parts.fits import SourceFits

REVISION = 1
KNOWN_AS = "studies/arithmetic"  # its key in the revisions of records
DATASET = "sprites"
LESSONS = 60_000  # sprites that the judge learns from
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


def run(
    *,
    setting: Setting,
    encoders: str = "autoencoder denoising vae",
    budget: str = "300k",
    seeds: int = 1,
    images: int = 500,
    draws: int = 3,
) -> Report:
    """Train each encoder on sprites' training rows at `budget` images with `seeds` seeds, and the judge,
    `supervised`, once on sprites of its own; or take the weights that the cache has. Change each factor of
    `images` validation images, beside `draws` of each control. Test images are not read.

    Raises BenchError for no or unknown encoders, one that has no level `code`, fewer than 1 seed or draw
    or 10 images.
    """
    names = list(dict.fromkeys(encoders.split()))
    require("arithmetic", 1, seeds=seeds, draws=draws, encoders=len(names))
    require("arithmetic", 10, images=images)
    specs = {name: resolve("encoders", _spec(name, budget)) for name in names}
    fits = SourceFits.of(setting, DATASET)
    dataset = fits.dataset
    judge_spec = resolve("encoders", f"supervised~{budget}")
    setting.progress(f"the judge, {judge_spec.text}: training, or from the cache")
    judge = fits.workspace.fitted(judge_spec, _judge_data(dataset), seed=0).encoder
    assert isinstance(judge, Supervised)
    data = FactorImages.of(dataset, judge, images)
    rows: dict[tuple[str, str, str], list[Array]] = {}
    examples: list[AnalogyImages] = []
    for name, spec in specs.items():
        for seed in range(seeds):
            encoder = fits.encoder(spec, seed)
            if "code" not in encoder.dims:
                raise BenchError(f"arithmetic: {name} has no level `code`; name one that has it")
            reader = CodeReader.of(data, encoder)
            for (factor, way), values in _measured(reader, seed, draws).items():
                rows.setdefault((name, factor, way), []).append(values)
            examples += [_examples(name, reader)] if seed == 0 else []
    pixels = Delivery(data.sources, conv_input(fits.data.info)).read(np.arange(len(data.sources)))
    seen = verdicts(judge, pixels.to(next(judge.parameters()).device))
    sizes = {"seeds": seeds, "images": images, "draws": draws}
    return report(
        {key: np.stack(trainings, axis=1) for key, trainings in rows.items()},
        examples,
        judge={name: float((seen[name] == data.classes[name]).mean()) for name in FACTORS},
        names={name: dataset.meta.targets[name].names for name in FACTORS},
        parameters={"encoders": names, "budget": budget, "lessons": LESSONS, **sizes},
    )


def _judge_data(dataset: DataSet) -> TrainingData:
    """What the judge learns from: many other sprites, with the five factors as labels. It would memorise
    the 5,000 that the encoders have."""
    factors = sprites.sample(LESSONS, seed=1, split="train")
    info = SourceInfo(3, 32, 32, {name: dataset.meta.targets[name] for name in FACTORS})
    labels = {name: getattr(factors, name) for name in FACTORS}
    images, rows = ArrayImages(sprites.draw(factors)), np.arange(LESSONS)
    recipe = {"sprites": sprites.REVISION, "seed": 1, "count": LESSONS}
    return TrainingData(images, rows, labels, info, digest(recipe))


def _spec(name: str, budget: str) -> str:
    """Encoders that are not trained by images seen have no budget."""
    trained = resolve("encoders", name).entry.training == "budget"
    return f"{name}~{budget}" if trained and "~" not in name else name


def _measured(reader: CodeReader, seed: int, draws: int) -> dict[tuple[str, str], Array]:
    """Factor and way -> scores (3, n) of one training."""
    data = reader.data
    codes = reader.codes(data.sources)
    before = reader.see(codes)
    by_way: dict[tuple[str, str], Array] = {}
    for factor, goal in data.goals.items():
        shifts = reader.shifts(factor)
        noise = torch_generator(seed, f"arithmetic:{factor}")
        moved = {
            MEANS: [codes + shifts],
            RANDOM: [codes + random_directions(shifts, noise) for _ in range(draws)],
            BETWEEN: [codes + between(reader.bank, shifts, noise) for _ in range(draws)],
            BOUND: [reader.codes(data.changed[factor])],
        }
        for way, variants in moved.items():
            values = [scores(reader.see(variant), before, factor, goal) for variant in variants]
            by_way[factor, way] = np.mean(values, axis=0)
    return by_way


def _examples(name: str, reader: CodeReader, count: int = 2) -> AnalogyImages:
    """The first sources, `count` a factor: none is chosen by its result."""
    data, codes = reader.data, reader.codes(reader.data.sources)
    columns: dict[str, list[Array]] = {way: [] for way in (MEANS, RANDOM, BOUND)}
    changed, heads = list[Array](), list[tuple[str, int]]()
    for number, factor in enumerate(FACTORS):
        rows = slice(count * number, count * (number + 1))
        shifts = reader.shifts(factor)
        noise = torch_generator(0, f"arithmetic:examples:{factor}")
        moved = {
            MEANS: codes + shifts,
            RANDOM: codes + random_directions(shifts, noise),
            BOUND: reader.codes(data.changed[factor]),
        }
        for way, points in moved.items():
            columns[way].extend(reader.images(points[rows]).clamp(0, 1).numpy())
        changed.extend(data.changed[factor].array[rows] / 255)
        heads += [(factor, int(goal)) for goal in data.goals[factor][rows]]
    sources = data.sources.array[: count * len(FACTORS)] / 255
    decoded = {way: np.stack(images) for way, images in columns.items()}
    return AnalogyImages(name, heads, sources, np.stack(changed), decoded)


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
    seen, preserved = (
        {f"{name}: {way}": (measure, way) for way in (MEANS, RANDOM, BOUND)}
        for name, measure in (("seen", HIT), ("kept", PRESERVED))
    )
    trainings = f" and {seeds} trainings" if seeds > 1 else " alone: one training each"
    parts = [
        f"To the code of each of {parameters['images']} validation images is added the mean code of "
        "training images with another value of one factor, minus the mean of those with its own value. "
        f"The sum is decoded, and a judge (`supervised`, trained on {parameters['lessons']:,} other "
        "sprites with their labels) predicts its factors; for an encoder without a decoder, those of the "
        "training image with the nearest code are taken instead. Trainings of "
        f"{parameters['budget']} images; 95 % intervals over images{trainings}. Test images are not "
        "read. A denoising autoencoder was not trained to decode the codes of clean images.",
        "- Analogy, %: how often the new value is seen and was not in the code before it was "
        "changed, and all four other factors are seen as before. No change has 0. Position and "
        "rotation do not count.\n"
        f"- {MEANS.capitalize()}: the arithmetic. {RANDOM.capitalize()}: a vector of the same "
        f"length, uniformly drawn. {BETWEEN.capitalize()}: of the same length, from one random "
        f"training image's code to another's. {parameters['draws']} draws of each. "
        f"{BOUND.capitalize()}: the code of the same sprite drawn with the new value, the upper bound "
        "of arithmetic.",
        _table(scores, encoders, {way: (ANALOGY, way) for way in WAYS}),
        "The two parts of it: how often the new value is seen and was not before, and the share of the "
        "other factors that are seen as before, both in %.",
        _table(scores, encoders, seen | preserved),
        "Accuracy of the judge on the sources themselves, in %: "
        + ", ".join(f"{name} {100 * share:.1f}" for name, share in judge.items())
        + ".",
        "![examples](examples.png)",
        "The first sources of the first training; over each column the factor and the new value.",
    ]
    head = ("encoder", "factor", "way", "hit", "kept", "analogy")  # as HIT, PRESERVED, ANALOGY
    rows = [
        dict(zip(head, (*key, *map(mean_interval, values)), strict=True))
        for key, values in scores.items()
    ]
    return Report.of(
        "Vector arithmetic with codes of sprites",
        parts,
        {**parameters, "judge": judge, "scores": rows},
        claims=_claims(scores, encoders),
        figures={"examples.png": _picture(examples, names)},
    )


def _table(scores: AnalogyScores, encoders: list[str], columns: dict[str, tuple[int, str]]) -> str:
    """`columns`: head -> measure and way."""
    lines = [
        [
            encoder if factor == FACTORS[0] else "",
            factor,
            *(
                percent_text(mean_interval(scores[encoder, factor, way][measure]))
                for measure, way in columns.values()
            ),
        ]
        for encoder in encoders
        for factor in (*FACTORS, ALL)
    ]
    return table(["encoder", "factor", *columns], lines)


def _picture(examples: Sequence[AnalogyImages], names: Mapping[str, Sequence[str]]) -> bytes:
    first = examples[0]
    rows = [("source", first.sources), ("goal", first.changed)]
    titles = ((MEANS, "analogue"), (RANDOM, "random"), (BOUND, "goal, rebuilt"))
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
        differences = with_holm(
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
