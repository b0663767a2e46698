"""How well do features learnt on one data set transfer to another? Every source by every target."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.data.samples import Array
from bench.drawing.charts import heat, load_altair
from bench.errors import BenchError
from bench.naming.specs import resolve
from bench.report.text import percent_text, table
from bench.scoring.comparison import compare_records
from bench.statistics.intervals import Interval, rows_difference
from bench.statistics.variance import Scored, is_binary
from bench.studies.base import Claim, MeasuredCells, Report, Setting, accuracy_task, measure
from bench.studies.parts.differences import Difference, table_lines, with_holm
from bench.tasks.cell import Cell

REVISION = 1
ENCODERS = ("autoencoder", "supervised")  # without labels, and with the source's
UNTRAINED = "autoencoder~0"  # the trunk that both have
NONE = "none (untrained)"
COLOUR = "points from the target's own"


@dataclass(frozen=True, slots=True)
class Transfer:
    """An encoder, the data set that it was trained on (NONE: none), and the one that it is probed on."""

    encoder: str
    source: str
    target: str

    @property
    def own(self) -> Transfer:
        """Trained on the target itself."""
        return Transfer(self.encoder, self.target, self.target)

    @property
    def untrained(self) -> Transfer:
        return Transfer(self.encoder, NONE, self.target)

    def spec(self, budget: str) -> str:
        if self.source == NONE:
            return UNTRAINED
        source = "" if self == self.own else f"@{self.source}"
        return f"{self.encoder}{source}~{budget}"


@dataclass(frozen=True, slots=True, eq=False)
class TransferScores:
    """Data sets, cells of all transfers as they were measured, and accuracies compared: `minus_own` of
    every other source, `minus_untrained` of every source; Holm's adjustment is over each of the two."""

    datasets: Sequence[str]
    cells: Mapping[Transfer, Cell]
    measured: MeasuredCells
    minus_own: Mapping[Transfer, Difference]
    minus_untrained: Mapping[Transfer, Difference]

    def accuracy(self, transfer: Transfer) -> Interval:
        primary = self.measured.record(self.cells[transfer]).score
        return Interval(primary.value, primary.low, primary.high)

    def rows(self, transfer: Transfer) -> Array:
        """Scores of trainings by test rows: (r, n)."""
        return self.measured.rows(self.cells[transfer])


def run(
    *, setting: Setting, datasets: str = "mnist fashion_mnist cifar10_jpeg", budget: str = "300k"
) -> Report:
    """Train `autoencoder` and `supervised` on each data set at `budget` images, or take cached weights,
    and probe them linearly on each, the untrained trunk too; differences are paired over test rows.

    Raises BenchError for fewer than two data sets, one that is unknown or has no linear probe
    scored by accuracy, where a cell is not ok, and where charts cannot be drawn.
    """
    load_altair()
    names = dict.fromkeys(datasets.split())
    if len(names) < 2:
        raise BenchError(f"transfer: datasets={datasets!r}; give two or more")
    # The linear probe of each data set.
    tasks = {task.dataset: task for task in (accuracy_task("transfer", name) for name in names)}
    transfers = [Transfer(e, s, t) for e in ENCODERS for s in (*tasks, NONE) for t in tasks]
    # The untrained trunk's cells are those of both encoders, and run once.
    cells = {t: Cell(tasks[t.target], resolve("encoders", t.spec(budget))) for t in transfers}
    measured, by_name = measure(cells.values(), setting), {t.name: t for t in tasks.values()}

    def minus(references: Mapping[Transfer, Transfer]) -> dict[Transfer, Difference]:
        pairs = [[measured.record(cells[t]) for t in pair] for pair in references.items()]
        comparisons = compare_records(measured.store, [(a, b) for a, b in pairs], by_name)
        return {
            transfer: Difference(**asdict(c.difference), p=c.p, adjusted=c.adjusted)
            for transfer, c in zip(references, comparisons, strict=True)
        }

    trained = [transfer for transfer in transfers if transfer.source != NONE]
    scores = TransferScores(
        [*tasks],
        cells,
        measured,
        minus_own=minus({t: t.own for t in trained if t != t.own}),
        minus_untrained=minus({t: t.untrained for t in trained}),
    )
    return report(scores, budget)


def report(scores: TransferScores, budget: str) -> Report:
    """The study's answer; `budget` is that of each training."""
    seeds = max(len(record.replicates) for record in scores.measured.records.values())
    parts = [
        f"{seeds} trainings each of {budget} images of the source's training rows; a linear probe of "
        "the frozen trunk on the target. Accuracy in per cent with its 95 % interval; below it, in "
        "points on the same test images, that minus the accuracy of the same encoder trained on the "
        f"target itself, and of the untrained trunk (`{UNTRAINED}`). p is adjusted by Holm: over the "
        f"{len(scores.minus_own)} differences of the one kind, the {len(scores.minus_untrained)} of the "
        "other, and in the first claims over the targets.",
        "A trunk gets images in the form of its source, the untrained one in that of the target: one "
        "that was trained on grey images gets colour images converted to grey.",
        "![matrices](transfer.svg)",
    ]
    accuracies = {transfer: scores.accuracy(transfer) for transfer in scores.cells}
    own, untrained = scores.minus_own, scores.minus_untrained
    kinds = {"minus the target's own": own, "minus untrained": untrained}
    for encoder in ENCODERS:
        lines = []
        for source in (*scores.datasets, NONE):
            row = [Transfer(encoder, source, target) for target in scores.datasets]
            lines += table_lines([source], row, accuracies, kinds)
        parts += [f"## `{encoder}`", table(["trained on", "", *scores.datasets], lines)]
    cells = [
        {
            **asdict(transfer),
            "source": None if transfer.source == NONE else transfer.source,
            "spec": cell.name,
            "accuracy": accuracies[transfer],
            "minus_own": scores.minus_own.get(transfer),
            "minus_untrained": scores.minus_untrained.get(transfer),
        }
        for transfer, cell in scores.cells.items()
    ]
    return Report.of(
        "Features learnt on one data set, probed on another",
        parts,
        {"datasets": scores.datasets, "budget": budget, "seeds": seeds, "cells": cells},
        claims=[*_smaller_losses(scores), *_always(scores)],
        figures={"transfer.svg": _figure(scores)},
    )


def _figure(scores: TransferScores) -> bytes:
    cells = []
    for transfer in scores.cells:
        if transfer.source == NONE:
            gap = 0 - scores.minus_untrained[transfer.own].value
        else:
            gap = 0.0 if transfer == transfer.own else scores.minus_own[transfer].value
        below = f"\n{100 * gap:+.2f}" if transfer != transfer.own else ""
        label = f"{100 * scores.accuracy(transfer).value:.2f}{below}"
        cells.append({**asdict(transfer), COLOUR: 100 * gap, "label": label})
    return heat(cells, x="target", y="source", side="encoder", colour=COLOUR, label="label")


def _smaller_losses(scores: TransferScores) -> list[Claim]:
    """Target by target: which of two encoders loses less, on average over the other sources?"""
    plain, labelled = ENCODERS
    losses: dict[str, list[str]] = {}
    gaps: dict[str, tuple[Interval, float]] = {}
    for target in scores.datasets:
        sources = [source for source in scores.datasets if source != target]
        parts = {
            encoder: [
                (1.0, scores.rows(Transfer(encoder, target, target))),
                *((-1 / len(sources), scores.rows(Transfer(encoder, s, target))) for s in sources),
            ]
            for encoder in ENCODERS
        }
        losses[target] = [f"{e} loses {percent_text(weighted(p)[0])}" for e, p in parts.items()]
        negative = [(-weight, rows) for weight, rows in parts[plain]]
        gaps[target] = weighted([*parts[labelled], *negative])
    return [
        Claim(
            f"trained elsewhere, `{plain}` loses less on {target} than `{labelled}` does, each against "
            "its own training there",
            (*losses[target], f"less by {gap.text()}"),
            gap.sign > 0,
        )
        for target, gap in with_holm(gaps).items()
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
    width = max(sum(abs(w) for w, _ in parts if w * sign > 0) for sign in (1, -1))
    width = width if all(is_binary(rows) for _, rows in parts) else math.inf
    return rows_difference(total, Scored(total, levels).parts, width)


def _always(scores: TransferScores) -> list[Claim]:
    """What holds for every source but the target's own."""
    claims = []
    for encoder in ENCODERS:
        for words, sign, differences in (
            ("always beats the untrained trunk", 1, scores.minus_untrained),
            ("is always below itself trained on the target", -1, scores.minus_own),
        ):
            away = {t: differences[t] for t in scores.minus_own if t.encoder == encoder}
            holds = all(difference.sign == sign for difference in away.values())
            claims.append(Claim(f"`{encoder}` trained elsewhere {words}", _counted(away), holds))
    return claims


def _counted(differences: Mapping[Transfer, Difference]) -> tuple[str, ...]:
    """How many are above, below or tied, and the extremes."""
    signs = [difference.sign for difference in differences.values()]
    ordered = sorted(differences, key=lambda transfer: differences[transfer].value)
    extremes = [
        f"{end} {transfer.source} to {transfer.target} {differences[transfer].text()}"
        for end, transfer in (("least", ordered[0]), ("most", ordered[-1]))
    ]
    counts = f"{signs.count(1)} above, {signs.count(-1)} below, {signs.count(0)} tied"
    return (f"of {len(signs)} {counts}", *extremes)
