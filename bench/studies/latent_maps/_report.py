"""What the study of latent maps says: its table, its claims, its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.drawing.plane import scatter
from bench.drawing.sheet import sheet
from bench.report.text import table
from bench.statistics.intervals import Interval, bootstrap_mean, paired_difference, student_interval
from bench.studies.base import Claim, Report, judged

__all__ = ["BOTH", "DIVERGENCE", "RECONSTRUCTION", "Bench", "Found", "report"]

RECONSTRUCTION, DIVERGENCE, BOTH = "reconstruction only", "KL only", "both"
USED = 0.01  # a unit is in use if the variance of its mean is above this (Burda et al. 2016)
_SHOWN = 1500  # points a panel

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Images (n, c, 32, 32) with classes (n,), their names, and who judges what is made of the prior:
    a classifier that is sure from a probability on, and the manifold of training images (n, d)."""

    train: Tensor
    train_classes: Tensor
    val: Tensor
    val_classes: Tensor
    names: Sequence[str]
    judge: Any
    threshold: float
    manifold: Tensor

    @classmethod
    def of(
        cls,
        train: tuple[Tensor, Tensor],
        val: tuple[Tensor, Tensor],
        judge: Any,
        names: Sequence[str],
        threshold: float,
    ) -> Bench:
        return cls(*train, *val, names, judge, threshold, judge.features(train[0]))

    def sure(self, features: Tensor) -> Tensor:
        """Of which images the judge is sure, from features (n, d): bool (n,)."""
        found: Tensor = self.judge.probabilities(features).amax(dim=1) >= self.threshold
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One training: means and draws (n, 2) of validation images; scores (n,) by measure; KL and variance
    of the mean by unit; distance of the draws from N(0, I); how many classes the judge finds in what the
    prior decodes to; the decoded grid (m, c, 32, 32)."""

    name: str
    seed: int
    means: Array
    draws: Array
    rows: Mapping[str, Array]
    by_unit: Sequence[float]
    variance: Sequence[float]
    away: float
    classes: float
    grid: Array

    @property
    def used(self) -> int:
        return sum(each > USED for each in self.variance)


def report(found: Sequence[Found], bench: Bench, *, asked: Mapping[str, Any]) -> Report:
    """The study's answer; `asked` is what was asked of it."""
    maps = {
        name: [f for f in found if f.name == name] for name in (RECONSTRUCTION, DIVERGENCE, BOTH)
    }
    features = bench.judge.features(bench.val)
    judge = {
        "accuracy": float((bench.judge.classes(features) == bench.val_classes).double().mean()),
        "sure": float(bench.sure(features).double().mean()),
    }
    chance = float(bench.val_classes.bincount().max()) / len(bench.val)
    claims, told = judged(_claims(maps, chance))
    text = "\n\n".join(
        [
            "# A plane of codes under each term of the loss, and under both",
            f"A `vae` with a code of two numbers, {asked['seeds']} trainings each of {asked['budget']} "
            f"images of {asked['dataset']}: its reconstruction alone (beta = 0), its divergence from "
            "N(0, I) alone (the decoder stays as it began), and their sum (beta = 1). "
            f"{len(bench.val):,} validation images, and as many draws of the prior; test images are not "
            "read. 95 % intervals over images and trainings, distances over trainings.",
            "![codes](codes.png)",
            f"The first training, {min(_SHOWN, len(bench.val)):,} validation images. Above the means of "
            "their posteriors, below one draw of each, on axes that fit. The circle holds 95 % of the "
            "prior.",
            table(["", *maps], _lines(maps)),
            f"- Accuracy: that of the 15 nearest of {len(bench.train):,} training images in the plane, of "
            "means and of one draw of each posterior. Neighbours feel no scale: they may find what is "
            f"left of the class in means that hardly differ. The largest class has {100 * chance:.1f} %.\n"
            "- Distance: of one draw of each image from N(0, I), sliced 2-Wasserstein, 0 at best.\n"
            f"- In use: units whose mean has a variance above {USED:g} (Burda et al. 2016).\n"
            f"- Sure: the share of draws of the prior whose decoding a classifier (`supervised`, "
            f"{100 * judge['accuracy']:.1f} % right on these validation images) gives a class of "
            f"{asked['sure']:g} or more; of true images it is sure of {100 * judge['sure']:.1f} %. It may "
            "be sure of what is no image. Accepted: the share that lies in the manifold of training "
            "images in its features (Kynkäänniemi et al. 2019).\n"
            "- Classes of the prior: exp of the entropy of the classes that the classifier finds in these "
            "decodings.",
            "![prior](prior.png)",
            "Cells of equal mass of the prior, decoded; the first training.",
            "## What is said of them",
            claims,
        ]
    )
    data = {
        **asked,
        "images": len(bench.val),
        "chance": chance,
        "judge": judge,
        "maps": {name: _told(some) for name, some in maps.items()},
        "claims": told,
    }
    figures = {"codes.png": _codes(maps, bench), "prior.png": _prior(maps)}
    return Report(text, data, figures)


def _stacked(some: Sequence[Found], measure: str) -> Array:
    """Scores (r, n) of trainings by images."""
    return np.stack([each.rows[measure] for each in some])


def _told(some: Sequence[Found]) -> dict[str, Any]:
    return {
        **{m: asdict(bootstrap_mean(_stacked(some, m))) for m in some[0].rows},
        "distance": asdict(student_interval([each.away for each in some])),
        "classes of the prior": asdict(student_interval([each.classes for each in some])),
        "trainings": [
            {
                "seed": each.seed,
                "divergence by unit": list(each.by_unit),
                "variance of means": list(each.variance),
                "units in use": each.used,
                "distance": each.away,
                "classes of the prior": each.classes,
                "largest mean": float(np.abs(each.means).max()),
            }
            for each in some
        ],
    }


def _lines(maps: Mapping[str, Sequence[Found]]) -> list[list[str]]:
    def line(head: str, text: Any) -> list[str]:
        return [head, *(text(some) for some in maps.values())]

    def mean(measure: str, scale: float, digits: int) -> Any:
        return lambda some: _text(bootstrap_mean(_stacked(some, measure)), scale, digits)

    def of(name: str, digits: int) -> Any:
        return lambda some: _text(student_interval([getattr(f, name) for f in some]), 1, digits)

    def units(some: Sequence[Found]) -> str:
        """The units of each training, the larger first: which is which says nothing."""
        pairs = [sorted(each.by_unit, reverse=True) for each in some]
        return "; ".join(" and ".join(f"{nats:.2f}" for nats in pair) for pair in pairs)

    return [
        line("accuracy of means, %", mean("accuracy of means", 100, 1)),
        line("accuracy of draws, %", mean("accuracy of draws", 100, 1)),
        line("divergence, nats an image", mean("divergence", 1, 2)),
        line("by unit, each training", units),
        line("in use, each training", lambda some: ", ".join(str(each.used) for each in some)),
        line("distance from N(0, I)", of("away", 2)),
        line("squared error a pixel", mean("squared error", 1, 4)),
        line("sure, % of the prior", mean("sure", 100, 1)),
        line("accepted, % of the prior", mean("accepted", 100, 1)),
        line("classes of the prior", of("classes", 1)),
    ]


def _text(interval: Interval, scale: float = 1, digits: int = 2, sign: str = "") -> str:
    value, low, high = (
        f"{scale * each:{sign}.{digits}f}" for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


def _codes(maps: Mapping[str, Sequence[Found]], bench: Bench) -> bytes:
    labels = [bench.names[c] for c in bench.val_classes[:_SHOWN].tolist()]
    rows = [
        ("means, common axes", {name: some[0].means[:_SHOWN] for name, some in maps.items()}, True),
        ("draws, own axes", {name: some[0].draws[:_SHOWN] for name, some in maps.items()}, False),
    ]
    return scatter(rows, labels, colour="class", circle=math.sqrt(-2 * math.log(0.05)))


def _prior(maps: Mapping[str, Sequence[Found]]) -> bytes:
    tiles = []
    for some in maps.values():
        grid = some[0].grid
        across = round(len(grid) ** 0.5)
        rows = grid.reshape(across, across, *grid.shape[1:])
        tiles.append(np.concatenate(np.concatenate(rows.transpose(1, 0, 2, 3, 4), axis=3), axis=1))
    return sheet([("", np.stack(tiles))], scale=1, heads=list(maps))


def _claims(maps: Mapping[str, Sequence[Found]], chance: float) -> list[Claim]:
    plain, tight, both = maps.values()

    def more(measure: str, a: Sequence[Found], b: Sequence[Found]) -> Interval:
        return paired_difference(_stacked(a, measure), _stacked(b, measure))[0]

    def than(measure: str) -> tuple[tuple[str, ...], bool]:
        """Both minus each alone, in points."""
        found = {some[0].name: more(measure, both, some) for some in (plain, tight)}
        texts = tuple(f"than {n} {_text(each, 100, 1, '+')}" for n, each in found.items())
        return texts, all(each.low > 0 for each in found.values())

    blind = bootstrap_mean(_stacked(tight, "accuracy of draws"))
    farther, wider = (
        student_interval([getattr(a, name) - getattr(b, name) for a, b in zip(x, y, strict=True)])
        for name, x, y in (("away", plain, both), ("classes", both, plain))
    )
    told = more("accuracy of draws", both, tight)
    cost = more("squared error", both, plain)
    return [
        Claim(
            f"{DIVERGENCE}: no unit is in use, and a draw says nothing of the class",
            (
                f"units in use {', '.join(str(each.used) for each in tight)}",
                f"accuracy of draws {_text(blind, 100, 1)}, chance {100 * chance:.1f}",
            ),
            all(each.used == 0 for each in tight) and blind.low <= chance,
        ),
        Claim(
            f"{RECONSTRUCTION}: codes lie farther from the prior than with both",
            (
                *(f"{s[0].name} {', '.join(f'{f.away:.2f}' for f in s)}" for s in (plain, both)),
                f"difference {_text(farther, 1, 2, '+')}",
            ),
            farther.low > 0,
        ),
        Claim(
            f"{BOTH}: the prior decodes to more classes than with {RECONSTRUCTION}",
            (
                *(f"{s[0].name} {', '.join(f'{f.classes:.1f}' for f in s)}" for s in (plain, both)),
                f"difference {_text(wider, 1, 1, '+')}",
            ),
            wider.low > 0,
        ),
        Claim(f"{BOTH}: more of the prior is accepted than with one alone", *than("accepted")),
        Claim(
            f"{BOTH}: the classifier is sure of more of the prior than with one alone",
            *than("sure"),
        ),
        Claim(
            f"{BOTH}: a draw tells the class better than with {DIVERGENCE}",
            (f"difference {_text(told, 100, 1, '+')}",),
            told.low > 0,
        ),
        Claim(
            f"{BOTH}: the error of reconstructions is larger than with {RECONSTRUCTION}",
            (f"difference {_text(cost, 1, 4, '+')}",),
            cost.low > 0,
        ),
    ]
