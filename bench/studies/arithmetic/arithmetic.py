"""Can codes be added and taken away? Sprites with one factor changed by a difference of mean codes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.images import ArrayImages, Delivery
from bench.data.samples import DataSet, SourceInfo
from bench.datasets import sprites
from bench.digests import digest
from bench.encoders.base import Encoder
from bench.encoders.controls.supervised import Supervised
from bench.encoders.parts.trunk import conv_input
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.running.machine import chosen_device
from bench.running.workspace import TrainingData, Workspace
from bench.seeding import torch_generator
from bench.studies.arithmetic._measures import (
    FACTORS,
    Bench,
    Reader,
    Scores,
    between,
    means,
    random_directions,
    scores,
    verdicts,
)
from bench.studies.arithmetic._report import BETWEEN, BOUND, MEANS, RANDOM, Examples, Found, report
from bench.studies.base import Report, Setting

__all__ = ["run"]

REVISION = 1
KNOWN_AS = "studies/arithmetic"  # its key in the revisions of records
DATASET = "sprites"
LESSONS = 60_000  # sprites that the judge learns from

Array = npt.NDArray[Any]


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
    names = encoders.split()
    for name, value, least in (
        ("seeds", seeds, 1),
        ("images", images, 10),
        ("draws", draws, 1),
        ("encoders", len(names), 1),
    ):
        if value < least:
            raise BenchError(f"arithmetic: {name}={value}; {least} or more is wanted")
    specs = {name: resolve("encoders", _spec(name, budget)) for name in dict.fromkeys(names)}
    device = chosen_device(setting.device)
    workspace = Workspace(setting.datasets, cache=setting.cache, levels={None}, device=device)
    dataset = workspace.dataset(DATASET)
    train = dataset.split("train")
    data = TrainingData.of(dataset, train.rows, dict(train.y))

    def fitted(name: str, seed: int) -> Encoder:
        setting.tell(f"{specs[name].text}, seed {seed}: training, or from the cache")
        encoder = workspace.fitted(specs[name], data, seed=seed).encoder
        if "code" not in encoder.dims:
            raise BenchError(f"arithmetic: {name} has no level `code`; give encoders that have one")
        return encoder

    setting.tell(f"the judge, supervised~{budget}: training, or from the cache")
    judge = workspace.fitted(
        resolve("encoders", f"supervised~{budget}"), _lessons(dataset), seed=0
    ).encoder
    assert isinstance(judge, Supervised)
    bench = Bench.of(dataset, judge, images, draws)
    found: list[Found] = []
    shown: list[Examples] = []
    for name in specs:
        readers = [Reader.of(bench, fitted(name, seed)) for seed in range(seeds)]
        each = [_measured(bench, reader, seed) for seed, reader in enumerate(readers)]
        found += [
            Found(name, factor, way, *_stacked([one[factor, way] for one in each]))
            for factor, way in each[0]
        ]
        shown.append(_examples(bench, name, readers[0]))
    held_out = Delivery(bench.sources, conv_input(data.info)).read(np.arange(len(bench.sources)))
    seen = verdicts(judge, held_out.to(device))
    right = {name: float((seen[name] == bench.classes[name]).mean()) for name in FACTORS}
    return report(
        found,
        shown,
        judge=right,
        names={name: dataset.meta.targets[name].names for name in FACTORS},
        asked={
            "encoders": [*specs],
            "budget": budget,
            "lessons": LESSONS,
            "seeds": seeds,
            "images": images,
            "draws": draws,
        },
    )


def _lessons(dataset: DataSet) -> TrainingData:
    """What the judge learns from: many other sprites, with the five factors as labels. From the 5,000
    that the encoders have it learns shapes by heart."""
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


def _stacked(some: list[Scores]) -> tuple[Array, Array, Array]:
    """Scores of trainings, each (r, n)."""
    hit, kept, analogy = (np.stack([getattr(s, f.name) for s in some]) for f in fields(Scores))
    return hit, kept, analogy


def _measured(bench: Bench, reader: Reader, seed: int) -> dict[tuple[str, str], Scores]:
    """Factor and way -> scores of one training."""
    codes = reader.codes(bench.sources)
    before = reader.see(codes)
    found = {}
    for factor, asked in bench.asked.items():
        shifts = _shifts(bench, reader, factor)
        noise = torch_generator(seed, f"arithmetic:{factor}")

        def of(moved: Tensor, factor: str = factor, asked: Array = asked) -> Scores:
            return scores(reader.see(moved), before, factor, asked)

        lots = [random_directions(shifts, noise) for _ in range(bench.draws)]
        pairs = [between(reader.bank, shifts, noise) for _ in range(bench.draws)]
        found[factor, MEANS] = of(codes + shifts)
        found[factor, RANDOM] = _mean([of(codes + each) for each in lots])
        found[factor, BETWEEN] = _mean([of(codes + each) for each in pairs])
        found[factor, BOUND] = of(reader.codes(bench.changed[factor]))
    return found


def _shifts(bench: Bench, reader: Reader, factor: str) -> Tensor:
    """Mean code with the wanted value minus mean code with the source's: (n, d)."""
    centres = means(reader.bank, bench.train_classes[factor], bench.sizes[factor])
    to, of = (torch.from_numpy(each[factor]) for each in (bench.asked, bench.classes))
    found: Tensor = centres[to] - centres[of]
    return found


def _mean(some: list[Scores]) -> Scores:
    return Scores(*(np.mean([getattr(s, f.name) for s in some], axis=0) for f in fields(Scores)))


def _examples(bench: Bench, name: str, reader: Reader, each: int = 2) -> Examples:
    """The first sources, `each` a factor: none is chosen by what came of it."""
    codes = reader.codes(bench.sources)
    columns: dict[str, list[Array]] = {way: [] for way in (MEANS, RANDOM, BOUND)}
    sources, changed = list[Array](), list[Array]()
    heads: list[tuple[str, int]] = []
    for number, factor in enumerate(FACTORS):
        rows = slice(each * number, each * (number + 1))
        shifts = _shifts(bench, reader, factor)
        noise = torch_generator(0, f"arithmetic:examples:{factor}")
        moved = {
            MEANS: codes + shifts,
            RANDOM: codes + random_directions(shifts, noise),
            BOUND: reader.codes(bench.changed[factor]),
        }
        for way, some in moved.items():
            columns[way].extend(reader.images(some[rows]).clamp(0, 1).numpy())
        sources.extend(bench.sources.array[rows] / 255)
        changed.extend(bench.changed[factor].array[rows] / 255)
        heads += [(factor, int(value)) for value in bench.asked[factor][rows]]
    rows_of = {way: np.stack(images) for way, images in columns.items()}
    return Examples(name, heads, np.stack(sources), np.stack(changed), rows_of)
