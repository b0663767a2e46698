"""Differences with their intervals and p-values, adjusted together, and how reports write them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.data.samples import Array
from bench.report.text import interval_text, percent_text
from bench.statistics.intervals import Interval, paired_difference
from bench.statistics.significance import holm
from bench.studies.base import Claim

LEVEL = 0.05  # of significance, of adjusted p-values
Key = TypeVar("Key", bound=Hashable)
Point = TypeVar("Point", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """A difference with its 95 % interval, its p-value, and that adjusted by Holm."""

    p: float
    adjusted: float

    @property
    def sign(self) -> int:
        """1 or -1 where it is significant, else 0."""
        return (self.value > 0) - (self.value < 0) if self.adjusted < LEVEL else 0

    def text(self, scale: float = 100.0) -> str:
        """In points, with the adjusted p-value."""
        return f"{interval_text(self, '+', scale=scale)}, p = {self.adjusted:.2g}"


def table_lines(
    names: Sequence[str],
    points: Sequence[Key],
    accuracies: Mapping[Key, Interval],
    differences: Mapping[str, Mapping[Key, Difference]],
) -> list[list[str]]:
    """Lines of a table in per cent: the accuracies of points after the row's `names`, and below them each
    kind of differences that some of the points have."""
    lines = [[*names, "accuracy", *(percent_text(accuracies[p]) for p in points)]]
    for kind, by_point in differences.items():
        cells = [by_point[p].text() if p in by_point else "" for p in points]
        lines += [["" for _ in names] + [kind, *cells]] if any(cells) else []
    return lines


def with_holm(raw: Mapping[Key, tuple[Interval, float]]) -> dict[Key, Difference]:
    """Differences and their p-values, with Holm's adjustment over all of them."""
    adjusted = holm([p for _, p in raw.values()])
    return {
        key: Difference(interval.value, interval.low, interval.high, p, q)
        for (key, (interval, p)), q in zip(raw.items(), adjusted, strict=True)
    }


def compared(
    rows: Mapping[Point, Array], pairs: Mapping[Key, tuple[Point, Point]]
) -> dict[Key, Difference]:
    """Scores (r, n) of the first point of each pair minus those of the second, on the same n rows."""
    return with_holm({key: paired_difference(rows[a], rows[b]) for key, (a, b) in pairs.items()})


def claim(
    statement: str, differences: Mapping[str, Difference], sign: int = 1, scale: float = 100
) -> Claim:
    """One that holds where all differences (by their label) are significant with this sign."""
    texts = tuple(f"{label} {d.text(scale)}" for label, d in differences.items())
    return Claim(statement, texts, all(d.sign == sign for d in differences.values()))


def interval_claim(
    statement: str,
    intervals: Mapping[str, Interval],
    sign: int = 1,
    *,
    digits: int = 2,
    scale: float = 1.0,
    beside: Sequence[str] = (),
) -> Claim:
    """One that holds where there are intervals (by their label) and all lie above 0, or with `sign` -1
    below. `beside` is written before them."""
    texts = (
        f"{label} {interval_text(interval, '+', digits=digits, scale=scale)}".lstrip()
        for label, interval in intervals.items()
    )
    beyond = [i.low > 0 if sign > 0 else i.high < 0 for i in intervals.values()]
    return Claim(statement, (*beside, *texts), bool(beyond) and all(beyond))
