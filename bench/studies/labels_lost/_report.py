"""What the study of labels says: its tables, its claims, its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from bench.drawing.charts import heat
from bench.report.text import percent_text, table
from bench.statistics.intervals import Interval, bootstrap_mean, paired_difference
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, judged

__all__ = ["AUTOENCODER", "UNTRAINED", "Found", "report", "taught"]

AUTOENCODER, UNTRAINED = "autoencoder", "untrained"

Array = npt.NDArray[Any]
Told = tuple[Interval, float]  # a difference and its p-value, adjusted


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What is read of one factor off one level of a learner: scores (r, n) of trainings by images, whose
    mean is accuracy, or R2 of numbers."""

    learner: str
    level: str
    factor: str
    scores: Array


def taught(factor: str) -> str:
    """The name of a learner that was given this factor as labels."""
    return f"taught {factor}"


def report(found: Sequence[Found], *, lessons: Sequence[str], asked: Mapping[str, Any]) -> Report:
    """The study's answer; `lessons` are the factors that a learner was taught, `asked` what was asked of
    the study."""
    by = {(each.level, each.learner, each.factor): each.scores for each in found}
    levels, learners, factors = (list(dict.fromkeys(parts)) for parts in zip(*by, strict=True))
    claims, told = judged(
        [claim for level in levels for claim in _claims(by, level, lessons, factors)]
    )
    tables = [
        part
        for level in levels
        for part in (
            f"### Level `{level}`",
            table(
                ["", *factors],
                [
                    [who, *(percent_text(bootstrap_mean(by[level, who, f])) for f in factors)]
                    for who in learners
                ],
            ),
        )
    ]
    text = "\n\n".join(
        [
            "# What labels throw away",
            f"The same trunk on sprites, {asked['seeds']} trainings each of {asked['budget']} images: "
            "taught one factor by its labels (`supervised`), taught none (`autoencoder`), and as both "
            "begin (`untrained`). A ridge probe, fitted to the 5,000 training images, then reads every "
            f"factor off the frozen features of {asked['images']:,} validation images: accuracy in %, of "
            "position and rotation R² in %. 95 % intervals over images and trainings. Test images are "
            "not read.",
            "![factors](factors.svg)",
            "In the cells the score; the colour is the difference from the autoencoder, in points.",
            *tables,
            "## What is said of them",
            claims,
            "Differences are paired over images, p adjusted by Holm over those of one claim.",
        ]
    )
    data = {
        **asked,
        "scores": [
            {
                "learner": each.learner,
                "level": each.level,
                "factor": each.factor,
                **asdict(bootstrap_mean(each.scores)),
            }
            for each in found
        ],
        "claims": told,
    }
    return Report(text, data, {"factors.svg": _figure(by, levels, learners, factors)})


Scores = Mapping[tuple[str, str, str], Array]


def _figure(
    by: Scores, levels: Sequence[str], learners: Sequence[str], factors: Sequence[str]
) -> bytes:
    cells = [
        {
            "factor that is read": factor,
            "learner": learner,
            "level": f"level {level}",
            "difference": 100
            * float(by[level, learner, factor].mean() - by[level, AUTOENCODER, factor].mean()),
            "value": f"{100 * float(by[level, learner, factor].mean()):.0f}",
        }
        for level in levels
        for learner in learners
        for factor in factors
    ]
    return heat(
        cells,
        x="factor that is read",
        y="learner",
        side="level",
        colour="difference",
        label="value",
    )


def _claims(by: Scores, level: str, lessons: Sequence[str], factors: Sequence[str]) -> list[Claim]:
    def compared(pairs: Sequence[tuple[str, str]], other: str) -> dict[tuple[str, str], Told]:
        """Lesson and factor -> what the taught learner has more than another."""
        raw = [
            paired_difference(by[level, taught(lesson), factor], by[level, other, factor])
            for lesson, factor in pairs
        ]
        adjusted = holm([p for _, p in raw])
        return {
            key: (interval, p) for key, (interval, _), p in zip(pairs, raw, adjusted, strict=True)
        }

    found = compared([(lesson, lesson) for lesson in lessons], AUTOENCODER)
    own = [(lesson, *told) for (lesson, _), told in found.items()]
    claims = [
        Claim(
            f"`{level}`: the factor that is taught is read better than off the autoencoder",
            tuple(f"{lesson} {percent_text(i, '+')}, p = {p:.2g}" for lesson, i, p in own),
            all(i.value > 0 and p < 0.05 for _, i, p in own),
        )
    ]
    for other, said in ((AUTOENCODER, "autoencoder"), (UNTRAINED, "untrained one")):
        pairs = [(lesson, f) for lesson in lessons for f in factors if f != lesson]
        differences = compared(pairs, other)
        lost = {
            lesson: {
                f: told for (own_lesson, f), told in differences.items() if own_lesson == lesson
            }
            for lesson in lessons
        }
        claims.append(
            Claim(
                f"`{level}`: every other factor is read worse than off the {said}",
                tuple(f"{taught(lesson)}: {_counted(told)}" for lesson, told in lost.items()),
                all(i.value < 0 and p < 0.05 for told in lost.values() for i, p in told.values()),
            )
        )
    return claims


def _counted(told: Mapping[str, Told]) -> str:
    """Which factors are read worse, better, or as well as can be told."""
    groups: dict[str, list[str]] = {"worse": [], "better": [], "tied": []}
    for factor, (interval, p) in told.items():
        name = "tied" if p >= 0.05 else "worse" if interval.value < 0 else "better"
        groups[name].append(f"{factor} {100 * interval.value:+.1f}")
    return ", ".join(f"{name} {', '.join(some)}" for name, some in groups.items() if some)
