"""Can codes be added and taken away? Sprites with one factor changed by a difference of mean codes."""

from __future__ import annotations

import numpy as np

from bench.data.images import ArrayImages, Delivery
from bench.data.samples import DataSet, SourceInfo
from bench.datasets import sprites
from bench.digests import digest
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.trunk import conv_input
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.workspace import TrainingData
from bench.seeding import torch_generator
from bench.studies.arithmetic._measures import (
    FACTORS,
    CodeReader,
    FactorImages,
    between,
    random_directions,
    scores,
    verdicts,
)
from bench.studies.arithmetic._report import (
    BETWEEN,
    BOUND,
    MEANS,
    RANDOM,
    AnalogyImages,
    report,
)
from bench.studies.base import Array, Report, Setting, require
from bench.studies.parts.fits import SourceFits

REVISION = 1
KNOWN_AS = "studies/arithmetic"  # its key in the revisions of records
DATASET = "sprites"
LESSONS = 60_000  # sprites that the judge learns from


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
                raise BenchError(
                    f"arithmetic: {name} has no level `code`; give encoders that have one"
                )
            reader = CodeReader.of(data, encoder)
            for (factor, way), values in _measured(reader, seed, draws).items():
                rows.setdefault((name, factor, way), []).append(values)
            examples += [_examples(name, reader)] if seed == 0 else []
    pixels = Delivery(data.sources, conv_input(fits.data.info)).read(np.arange(len(data.sources)))
    seen = verdicts(judge, pixels.to(next(judge.parameters()).device))
    return report(
        {key: np.stack(trainings, axis=1) for key, trainings in rows.items()},
        examples,
        judge={name: float((seen[name] == data.classes[name]).mean()) for name in FACTORS},
        names={name: dataset.meta.targets[name].names for name in FACTORS},
        parameters={
            "encoders": names,
            "budget": budget,
            "lessons": LESSONS,
            "seeds": seeds,
            "images": images,
            "draws": draws,
        },
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
