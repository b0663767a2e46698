"""What the study of vector arithmetic says: its tables, its claims, its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.drawing.sheet import sheet
from bench.report.text import percent_text, table
from bench.statistics.intervals import bootstrap_mean, paired_difference, seed_paired_difference
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, judged

__all__ = ["BETWEEN", "BOUND", "MEANS", "RANDOM", "Examples", "Found", "report"]

MEANS, RANDOM = "difference of means", "random direction"
BETWEEN, BOUND = "between two images", "true image"
WAYS = (MEANS, RANDOM, BETWEEN, BOUND)
ALL = "mean of the factors"

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Scores in [0, 1] of trainings by images (r, n), of one encoder, factor and way."""

    encoder: str
    factor: str
    way: str
    hit: Array
    kept: Array
    analogy: Array


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Columns of the picture: factor and wanted value, sources and sources drawn anew (n, 3, 32, 32),
    and what one encoder makes of them, by way."""

    encoder: str
    heads: Sequence[tuple[str, int]]
    sources: Array
    changed: Array
    made: Mapping[str, Array]


def report(
    found: Sequence[Found],
    shown: Sequence[Examples],
    *,
    judge: Mapping[str, float],
    names: Mapping[str, Sequence[str]],
    asked: Mapping[str, Any],
) -> Report:
    """The study's answer. `judge`: its accuracy on the sources by factor; `names` of the classes of each
    factor; `asked` is what was asked of the study."""
    by = {(f.encoder, f.factor, f.way): f for f in [*found, *_over_factors(found)]}
    claims, told = judged(_claims(by, asked["encoders"], [*judge]))
    seeds = asked["seeds"]
    of = (
        "over images alone: one training each"
        if seeds == 1
        else f"over images and {seeds} trainings"
    )
    text = "\n\n".join(
        [
            "# Vector arithmetic with codes of sprites",
            f"To the code of each of {asked['images']} validation images is added the mean code of "
            "training images with another value of one factor, minus the mean of those with its own. "
            f"The sum is decoded, and a judge (`supervised`, of {asked['lessons']:,} other sprites with "
            "their labels) says which values it sees; of an encoder without a decoder the factors "
            "of the training image with the nearest code count. Trainings of "
            f"{asked['budget']} images; 95 % intervals {of}. Test images are not read. A denoising "
            "autoencoder has never decoded the code of a clean image while it was trained.",
            "- Analogy, %: how often the wanted value is seen and was not in the code before it was "
            "changed, and all four other factors are seen as they were there. What changes nothing has "
            "0. Position and rotation are not asked.\n"
            f"- {MEANS.capitalize()}: the arithmetic. {RANDOM.capitalize()}: a vector of the same "
            f"length, uniformly drawn. {BETWEEN.capitalize()}: of the same length, from one random "
            f"training image's code to another's. {asked['draws']} draws of each. "
            f"{BOUND.capitalize()}: the code of the same sprite drawn with the wanted value, which is "
            "what arithmetic can reach at best.",
            table(
                ["encoder", "factor", *WAYS], _lines(by, asked["encoders"], judge, "analogy", WAYS)
            ),
            "The two parts of it: how often the wanted value is newly seen, and the share of the other "
            "factors that are seen as before, both in %.",
            _parts(by, asked["encoders"], judge),
            "The judge is right on the sources themselves, in %: "
            + ", ".join(f"{name} {100 * share:.1f}" for name, share in judge.items())
            + ".",
            "![examples](examples.png)",
            "The first sources of the first training; over each column the factor and the wanted value.",
            "## What is said of them",
            claims,
        ]
    )
    data = {
        **asked,
        "judge": dict(judge),
        "scores": [
            {
                "encoder": f.encoder,
                "factor": f.factor,
                "way": f.way,
                **{
                    name: asdict(bootstrap_mean(getattr(f, name)))
                    for name in ("hit", "kept", "analogy")
                },
            }
            for f in by.values()
        ],
        "claims": told,
    }
    return Report(text, data, {"examples.png": _picture(shown, names)})


def _over_factors(found: Sequence[Found]) -> list[Found]:
    """The mean over factors, image by image, of each encoder and way."""
    groups: dict[tuple[str, str], list[Found]] = {}
    for each in found:
        groups.setdefault((each.encoder, each.way), []).append(each)
    return [
        Found(
            encoder,
            ALL,
            way,
            *(
                np.mean([getattr(f, name) for f in some], axis=0)
                for name in ("hit", "kept", "analogy")
            ),
        )
        for (encoder, way), some in groups.items()
    ]


Places = Mapping[tuple[str, str, str], Found]


def _lines(
    by: Places,
    encoders: Sequence[str],
    factors: Mapping[str, Any],
    measure: str,
    ways: Sequence[str],
) -> list[list[str]]:
    return [
        [
            encoder if not number else "",
            factor,
            *(
                percent_text(bootstrap_mean(getattr(by[encoder, factor, way], measure)))
                for way in ways
            ),
        ]
        for encoder in encoders
        for number, factor in enumerate((*factors, ALL))
    ]


def _parts(by: Places, encoders: Sequence[str], factors: Mapping[str, Any]) -> str:
    ways = (MEANS, RANDOM, BOUND)
    hit = _lines(by, encoders, factors, "hit", ways)
    kept = _lines(by, encoders, factors, "kept", ways)
    heads = [f"{measure}: {way}" for measure in ("seen", "kept") for way in ways]
    return table(
        ["encoder", "factor", *heads], [[*a, *b[2:]] for a, b in zip(hit, kept, strict=True)]
    )


def _picture(shown: Sequence[Examples], names: Mapping[str, Sequence[str]]) -> bytes:
    first = shown[0]
    rows = [("source", first.sources), ("wanted", first.changed)]
    for each in shown:
        rows += [
            (f"{each.encoder}\n{title}", each.made[way])
            for way, title in ((MEANS, "analogue"), (RANDOM, "random"), (BOUND, "wanted, rebuilt"))
        ]
    heads = [f"{factor}\n{names[factor][value]}" for factor, value in first.heads]
    return sheet(rows, scale=3, heads=heads)


def _claims(by: Places, encoders: Sequence[str], factors: Sequence[str]) -> list[Claim]:
    """p-values are adjusted by Holm over all encoders and factors of one kind of claim."""
    claims = []
    for other, said, sign in (
        (RANDOM, f"is right more often than a {RANDOM}", 1),
        (BETWEEN, f"is right more often than a vector {BETWEEN}", 1),
        (BOUND, f"is right less often than the {BOUND}", -1),
    ):
        pairs = [(e, f) for e in encoders for f in factors]
        told = [
            seed_paired_difference(by[e, f, MEANS].analogy, by[e, f, other].analogy)
            for e, f in pairs
        ]
        adjusted = holm([p for _, p in told])
        for encoder in encoders:
            own = [
                (f, interval, p)
                for (e, f), (interval, _), p in zip(pairs, told, adjusted, strict=True)
                if e == encoder
            ]
            claims.append(
                Claim(
                    f"`{encoder}`: for every factor the {MEANS} {said}",
                    tuple(
                        f"{f} {percent_text(interval, '+')}, p = {p:.2g}" for f, interval, p in own
                    ),
                    all(sign * interval.value > 0 and p < 0.05 for _, interval, p in own),
                )
            )
    for encoder in encoders[1:]:
        a, b = (by[e, ALL, MEANS].analogy for e in (encoder, encoders[0]))
        interval, p = paired_difference(a, b)
        claims.append(
            Claim(
                f"analogies of `{encoder}` are right more often than those of `{encoders[0]}`, "
                f"{ALL}",
                (f"difference {percent_text(interval, '+')}, p = {p:.2g}",),
                interval.value > 0 and p < 0.05,
            )
        )
    return claims
