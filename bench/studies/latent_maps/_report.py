"""What the study of latent maps reports: its table, its claims, its figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.samples import Array
from bench.drawing.plane import scatter
from bench.drawing.sheet import sheet
from bench.report.text import interval_text, table
from bench.statistics.intervals import Interval, mean_interval, paired_difference, student_interval
from bench.studies.base import Claim, Report
from bench.studies.parts.differences import interval_claim
from bench.studies.parts.samples import Judge

RECONSTRUCTION, DIVERGENCE, BOTH = "reconstruction only", "KL only", "both"
USED = 0.01  # a unit is in use if the variance of its mean is above this (Burda et al. 2016)
SURE = 0.9  # the judge's largest probability from which on it is sure
_SHOWN = 1500  # points a panel
MEANS, DRAWS = "accuracy of means", "accuracy of draws"


@dataclass(frozen=True, slots=True, eq=False)
class MapImages:
    """Images (n, c, 32, 32) with classes (n,), their names, a classifier that judges decoded images, and
    the manifold of training images (n, d) in its features."""

    train: Tensor
    train_classes: Tensor
    val: Tensor
    val_classes: Tensor
    names: Sequence[str]
    judge: Judge
    manifold: Tensor

    def sure(self, features: Tensor) -> Tensor:
        """Of which images the judge is sure, from features (n, d): bool (n,)."""
        return torch.ge(self.judge.probabilities(features).amax(dim=1), SURE)


@dataclass(frozen=True, slots=True, eq=False)
class LatentMap:
    """One training: means and draws (n, 2) of validation images; scores (n,) by measure; KL and variance
    of the mean by unit; distance of the draws from N(0, I); the effective number of classes that the
    judge finds in decoded draws of the prior; the decoded grid (m, c, 32, 32)."""

    name: str
    seed: int
    means: Array
    draws: Array
    rows: Mapping[str, Array]
    by_unit: Sequence[float]
    variance: Sequence[float]
    distance: float
    classes: float
    grid: Array

    @property
    def units(self) -> int:
        """How many are in use."""
        return sum(variance > USED for variance in self.variance)


Trainings = Sequence[LatentMap]


def report(trainings: Trainings, images: MapImages, *, parameters: Mapping[str, Any]) -> Report:
    """The study's answer; `parameters`: data set, budget and seeds."""
    names = (RECONSTRUCTION, DIVERGENCE, BOTH)
    maps = {name: [t for t in trainings if t.name == name] for name in names}
    features = images.judge.features(images.val)
    judge = {
        "accuracy": float((images.judge.classes(features) == images.val_classes).double().mean()),
        "sure": float(images.sure(features).double().mean()),
    }
    count = len(images.val)
    chance = float(images.val_classes.bincount().max()) / count
    parts = [
        f"A `vae` with a code of two numbers, {parameters['seeds']} trainings each of "
        f"{parameters['budget']} images of {parameters['dataset']}: its reconstruction alone (beta = 0), "
        "its divergence from N(0, I) alone (the decoder stays untrained), and their sum (beta = 1). "
        f"{count:,} validation images, and as many draws of the prior; test images are not "
        "read. 95 % intervals over images and trainings, distances over trainings.",
        "![codes](codes.png)",
        f"The first training, {min(_SHOWN, count):,} validation images. Above, the means of "
        "their posteriors; below, one draw of each posterior, on axes that fit. The circle holds 95 % "
        "of the prior.",
        table(["", *maps], _lines(maps)),
        f"- Accuracy: that of the 15 nearest of {len(images.train):,} training images in the plane, of "
        "means and of one draw of each posterior. Neighbours do not depend on scale: they may find the "
        f"class in means that hardly differ. The largest class has {100 * chance:.1f} %.\n"
        "- Distance: of one draw of each image from N(0, I), sliced 2-Wasserstein, 0 at best.\n"
        f"- In use: units whose mean has a variance above {USED:g} (Burda et al. 2016).\n"
        f"- Sure: the share of draws of the prior whose decoding a classifier (`supervised`, "
        f"{100 * judge['accuracy']:.1f} % right on these validation images) gives a class of "
        f"{SURE:g} or more; of true images it is sure of {100 * judge['sure']:.1f} %. It may "
        "be sure of what is not an image. Accepted: the share of draws in the manifold of training "
        "images in its features (Kynkäänniemi et al. 2019).\n"
        "- Classes of the prior: exp of the entropy of the classes that the classifier sees in these "
        "decodings.",
        "![prior](prior.png)",
        "Cells of equal mass of the prior, decoded; the first training.",
    ]
    data = {
        **parameters,
        "sure": SURE,
        "images": count,
        "chance": chance,
        "judge": judge,
        "maps": {name: _summary(trainings) for name, trainings in maps.items()},
    }
    return Report.of(
        "Two-dimensional codes under each term of the loss, and under both",
        parts,
        data,
        claims=_claims(maps, chance),
        figures={"codes.png": _codes(maps, images), "prior.png": _prior(maps)},
    )


def _rows(trainings: Trainings, measure: str) -> Array:
    """Scores (r, n) of trainings by images."""
    return np.stack([training.rows[measure] for training in trainings])


def _mean(trainings: Trainings, field: str) -> Interval:
    return student_interval([getattr(training, field) for training in trainings])


def _summary(trainings: Trainings) -> dict[str, Any]:
    return {
        **{m: mean_interval(_rows(trainings, m)) for m in trainings[0].rows},
        "distance": _mean(trainings, "distance"),
        "classes of the prior": _mean(trainings, "classes"),
        "trainings": [
            {
                "seed": training.seed,
                "divergence by unit": training.by_unit,
                "variance of means": training.variance,
                "units in use": training.units,
                "distance": training.distance,
                "classes of the prior": training.classes,
                "largest mean": float(np.abs(training.means).max()),
            }
            for training in trainings
        ],
    }


def _lines(maps: Mapping[str, Trainings]) -> list[list[str]]:
    def mean(measure: str, scale: float, digits: int) -> Callable[[Trainings], str]:
        return lambda trainings: interval_text(
            mean_interval(_rows(trainings, measure)), scale=scale, digits=digits
        )

    def by_unit(trainings: Trainings) -> str:
        """The units of each training, the larger first: their order has no meaning."""
        pairs = [sorted(training.by_unit, reverse=True) for training in trainings]
        return "; ".join(" and ".join(f"{nats:.2f}" for nats in pair) for pair in pairs)

    cells: dict[str, Callable[[Trainings], str]] = {
        f"{MEANS}, %": mean(MEANS, 100, 1),
        f"{DRAWS}, %": mean(DRAWS, 100, 1),
        "divergence, nats an image": mean("divergence", 1, 2),
        "by unit, each training": by_unit,
        "in use, each training": _units,
        "distance from N(0, I)": lambda trainings: interval_text(_mean(trainings, "distance")),
        "squared error a pixel": mean("squared error", 1, 4),
        "sure, % of the prior": mean("sure", 100, 1),
        "accepted, % of the prior": mean("accepted", 100, 1),
        "classes of the prior": lambda t: interval_text(_mean(t, "classes"), digits=1),
    }
    return [[head, *map(text, maps.values())] for head, text in cells.items()]


def _units(trainings: Trainings) -> str:
    return ", ".join(str(training.units) for training in trainings)


def _codes(maps: Mapping[str, Trainings], images: MapImages) -> bytes:
    labels = [images.names[c] for c in images.val_classes[:_SHOWN].tolist()]
    means, draws = (
        {name: getattr(trainings[0], kind)[:_SHOWN] for name, trainings in maps.items()}
        for kind in ("means", "draws")
    )
    rows = [("means, common axes", means, True), ("draws, own axes", draws, False)]
    return scatter(rows, labels, colour="class", circle=math.sqrt(-2 * math.log(0.05)))


def _prior(maps: Mapping[str, Trainings]) -> bytes:
    tiles = []
    for trainings in maps.values():
        grid = trainings[0].grid
        across = round(len(grid) ** 0.5)
        rows = grid.reshape(across, across, *grid.shape[1:])
        tiles.append(np.concatenate(np.concatenate(rows.transpose(1, 0, 2, 3, 4), axis=3), axis=1))
    return sheet([("", np.stack(tiles))], scale=1, heads=list(maps))


def _claims(maps: Mapping[str, Trainings], chance: float) -> list[Claim]:
    plain, tight, both = maps.values()

    def gain(measure: str, a: Trainings, b: Trainings) -> Interval:
        return paired_difference(_rows(a, measure), _rows(b, measure))[0]

    def than_alone(more: str, measure: str) -> Claim:
        """Both minus each alone, in points."""
        gains = {f"than {t[0].name}": gain(measure, both, t) for t in (plain, tight)}
        return interval_claim(f"{BOTH}: {more} than with one alone", gains, digits=1, scale=100)

    def by_seed(statement: str, field: str, a: Trainings, b: Trainings, digits: int) -> Claim:
        """Differences of trainings of equal seeds."""
        values = {t[0].name: [getattr(training, field) for training in t] for t in (plain, both)}
        texts = [f"{n} {', '.join(f'{v:.{digits}f}' for v in vs)}" for n, vs in values.items()]
        x, y = values[a[0].name], values[b[0].name]
        gap = student_interval([p - q for p, q in zip(x, y, strict=True)])
        return interval_claim(statement, {"difference": gap}, digits=digits, beside=texts)

    farther = f"{RECONSTRUCTION}: codes lie farther from the prior than with both"
    wider = f"{BOTH}: the prior decodes to more classes than with {RECONSTRUCTION}"
    better = f"{BOTH}: a draw predicts the class better than with {DIVERGENCE}"
    costs = f"{BOTH}: the error of reconstructions is larger than with {RECONSTRUCTION}"
    blind = mean_interval(_rows(tight, DRAWS))
    return [
        Claim(
            f"{DIVERGENCE}: no unit is in use, and a draw has no information about the class",
            (
                f"units in use {_units(tight)}",
                f"{DRAWS} {interval_text(blind, scale=100, digits=1)}, chance {100 * chance:.1f}",
            ),
            all(training.units == 0 for training in tight) and blind.low <= chance,
        ),
        by_seed(farther, "distance", plain, both, 2),
        by_seed(wider, "classes", both, plain, 1),
        than_alone("more of the prior is accepted", "accepted"),
        than_alone("the classifier is sure of more of the prior", "sure"),
        interval_claim(better, {"difference": gain(DRAWS, both, tight)}, digits=1, scale=100),
        interval_claim(costs, {"difference": gain("squared error", both, plain)}, digits=4),
    ]
