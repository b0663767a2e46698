"""What the study of transfer says: its matrices, its claims, its figure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.drawing.charts import heat
from bench.report.text import interval_text, table
from bench.results.record import Record
from bench.results.store import Store
from bench.scoring.comparison import Comparison
from bench.scoring.scorer import primary_rows
from bench.statistics.intervals import Interval, Scored, difference_p, rows_part, scored_interval
from bench.statistics.significance import holm
from bench.studies.base import Claim, Report, judged
from bench.tasks.task import Task

__all__ = ["NONE", "Found", "Place", "report", "weighted"]

NONE = "none (untrained)"
COLOUR = "points from the target's own"

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A cell of an encoder's matrix; source NONE: trained on nothing."""

    encoder: str
    source: str
    target: str

    @property
    def own(self) -> Place:
        """Trained on the target itself."""
        return Place(self.encoder, self.target, self.target)

    @property
    def untrained(self) -> Place:
        return Place(self.encoder, NONE, self.target)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Tasks by data set, records of all places, where their predictions lie, and accuracies compared:
    `minus_own` of every other source, `minus_untrained` of every source; Holm's adjustment is over
    each of the two."""

    tasks: Mapping[str, Task]
    records: Mapping[Place, Record]
    store: Store
    minus_own: Mapping[Place, Comparison]
    minus_untrained: Mapping[Place, Comparison]

    @property
    def encoders(self) -> list[str]:
        return list(dict.fromkeys(place.encoder for place in self.records))

    def accuracy(self, place: Place) -> Interval:
        primary = self.records[place].primary or {}
        return Interval(primary["value"], primary["low"], primary["high"])

    def rows(self, place: Place) -> Array:
        """Scores of trainings by test rows: (r, n)."""
        record, task = self.records[place], self.tasks[place.target]
        return np.stack(list(primary_rows(record, task, self.store.predictions(record)).values()))


def report(found: Found, *, budget: str, untrained: str) -> Report:
    """The study's answer; `budget` is what was asked for, `untrained` the spec of the trained trunks'
    start."""
    shown, told = judged([*_less(found), *_always(found)])
    seeds = max(len(record.replicates) for record in found.records.values())
    parts = [
        "# What was learnt on one data set, on another",
        f"{seeds} trainings each of {budget} images of the source's training rows; a linear probe of "
        "the frozen trunk on the target. Accuracy in per cent with its 95 % interval; below it, in "
        "points on the same test images, that minus the accuracy of the same encoder trained on the "
        f"target itself, and of the untrained trunk (`{untrained}`). p is adjusted by Holm: over the "
        f"{len(found.minus_own)} differences of the one kind, the {len(found.minus_untrained)} of the "
        "other, and in the first claims over the targets.",
        "A trunk gets images as its source has them, the untrained one as the target has them: one "
        "that was trained on grey images sees colour ones in grey.",
        "![matrices](transfer.svg)",
    ]
    for encoder in found.encoders:
        head = ["trained on", "", *found.tasks]
        parts += [f"## `{encoder}`", table(head, _lines(found, encoder))]
    parts += ["## What is said of them", shown]
    data = {
        "datasets": [*found.tasks],
        "budget": budget,
        "seeds": seeds,
        "cells": [_told(found, place) for place in found.records],
        "claims": told,
    }
    return Report("\n\n".join(parts), data, {"transfer.svg": _figure(found)})


def _lines(found: Found, encoder: str) -> list[list[str]]:
    """The table of one encoder: three lines a source, one of none."""
    lines = []
    for source in (*found.tasks, NONE):
        row = [Place(encoder, source, target) for target in found.tasks]
        scores = [interval_text(_points(found.accuracy(place))) for place in row]
        lines.append([source, "accuracy", *scores])
        if source != NONE:
            for name, some in (
                ("minus the target's own", found.minus_own),
                ("minus untrained", found.minus_untrained),
            ):
                lines.append(["", name, *(_compared(some.get(place)) for place in row)])
    return lines


def _told(found: Found, place: Place) -> dict[str, Any]:
    """A place as JSON."""

    def told(one: Comparison | None) -> dict[str, Any] | None:
        if one is None:
            return None
        return {**asdict(one.difference), "p": one.p, "adjusted": one.adjusted}

    return {
        **asdict(place),
        "source": None if place.source == NONE else place.source,
        "spec": found.records[place].encoder["id"],
        "accuracy": asdict(found.accuracy(place)),
        "minus_own": told(found.minus_own.get(place)),
        "minus_untrained": told(found.minus_untrained.get(place)),
    }


def _figure(found: Found) -> bytes:
    cells = []
    for place in found.records:
        if place.source == NONE:
            off = 0 - found.minus_untrained[place.own].difference.value
        else:
            off = found.minus_own[place].difference.value if place != place.own else 0.0
        below = f"\n{100 * off:+.2f}" if place != place.own else ""
        label = f"{100 * found.accuracy(place).value:.2f}{below}"
        cells.append({**asdict(place), COLOUR: 100 * off, "label": label})
    return heat(cells, x="target", y="source", side="encoder", colour=COLOUR, label="label")


def _less(found: Found) -> list[Claim]:
    """Target by target: which of two encoders loses less, on average over the other sources?"""
    plain, labelled = found.encoders
    told = []
    for target in found.tasks:
        others = [source for source in found.tasks if source != target]
        lost = {
            encoder: [
                (1.0, found.rows(Place(encoder, target, target))),
                *((-1 / len(others), found.rows(Place(encoder, s, target))) for s in others),
            ]
            for encoder in (plain, labelled)
        }
        less = weighted([*lost[labelled], *((-weight, rows) for weight, rows in lost[plain])])
        told.append((target, {e: weighted(parts)[0] for e, parts in lost.items()}, *less))
    adjusted = holm([p for *_, p in told])
    return [
        Claim(
            f"trained elsewhere, `{plain}` loses less on {target} than `{labelled}` does, each against "
            "its own training there",
            (
                *(f"{e} loses {interval_text(_points(each))}" for e, each in lost.items()),
                f"less by {_shown(less, p)}",
            ),
            less.value > 0 and p < 0.05,
        )
        for (target, lost, less, _), p in zip(told, adjusted, strict=True)
    ]


def weighted(parts: Sequence[tuple[float, Array]]) -> tuple[Interval, float]:
    """Sum of weights times mean scores (r, n) on the same n rows, and its two-sided p-value.

    Rows are drawn together, all trainings on their own: of weights 1 and -1 as `paired_difference`.
    """
    levels: dict[str, dict[Hashable, float]] = {
        str(number): {seed: weight * float(mean) for seed, mean in enumerate(rows.mean(axis=1))}
        for number, (weight, rows) in enumerate(parts)
        if len(rows) > 1
    }
    total: Array = np.sum([weight * rows.mean(axis=0) for weight, rows in parts], axis=0)
    scored = Scored(total, levels)
    return scored_interval(scored), difference_p(
        scored.value, [rows_part(scored.rows), *scored.parts]
    )


def _always(found: Found) -> list[Claim]:
    """What is said of every source but the target's own."""
    claims = []
    for encoder in found.encoders:
        away = [place for place in found.minus_own if place.encoder == encoder]
        for said, wanted, some in (
            ("always beats the untrained trunk", "A", found.minus_untrained),
            ("is always below itself trained on the target", "B", found.minus_own),
        ):
            claims.append(
                Claim(
                    f"`{encoder}` trained elsewhere {said}",
                    _counted({place: some[place] for place in away}),
                    all(some[place].verdict == wanted for place in away),
                )
            )
    return claims


def _counted(some: Mapping[Place, Comparison]) -> tuple[str, ...]:
    """How many differ beyond doubt, and the ends of what was measured."""
    verdicts = [each.verdict for each in some.values()]
    ordered = sorted(some, key=lambda place: some[place].difference.value)
    ends = [
        f"{end} {place.source} to {place.target} {_compared(some[place])}"
        for end, place in (("least", ordered[0]), ("most", ordered[-1]))
    ]
    counts = f"{verdicts.count('A')} above, {verdicts.count('B')} below"
    return (f"of {len(some)} {counts}, {verdicts.count('tie')} not told apart", *ends)


def _points(interval: Interval) -> Interval:
    return Interval(100 * interval.value, 100 * interval.low, 100 * interval.high)


def _compared(one: Comparison | None) -> str:
    return "" if one is None else _shown(one.difference, one.adjusted)


def _shown(difference: Interval, p: float) -> str:
    return f"{interval_text(_points(difference), '+')}, p = {p:.2g}"
