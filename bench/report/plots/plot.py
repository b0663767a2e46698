"""A plot of the boards: what is drawn, as values, and what is common to all."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.digests import digest
from bench.drawing import figures
from bench.drawing.curves import Curves
from bench.drawing.figures import Estimate, Group
from bench.drawing.forests import Forest
from bench.drawing.tradeoffs import Tradeoff
from bench.errors import printable
from bench.report.board import Board, is_control
from bench.report.names import short_name
from bench.report.ranks import Row
from bench.statistics.intervals import Interval

MOST = 40  # encoders in a plot
CONTROLS = 12  # of them controls, at most, where there are more
PANELS = 6  # tasks in a plot, or plots of one kind

BLUE, ORANGE = "#0072b2", "#d55e00"
ENCODER = Group("encoder", BLUE)
CONTROL = Group("control", ORANGE, "diamond")
UNRANKED = Group("encoder without a rank", BLUE, filled=False)
UNRANKED_CONTROL = Group("control without a rank", ORANGE, "diamond", filled=False)


@dataclass(frozen=True, slots=True)
class Plot:
    """name: of its file, without .svg. page: the board that shows it."""

    name: str
    page: str
    chart: Forest | Curves | Tradeoff

    @property
    def title(self) -> str:
        return self.chart.title

    @property
    def digest(self) -> str:
        """Of all that is drawn and how, not of the tools that draw."""
        kind = type(self.chart).__name__
        return digest([figures.REVISION, kind, asdict(self.chart)])


def group_of(board: Board, row: Row, *, ranked: bool = True) -> Group:
    """The mark of an encoder."""
    if is_control(next(iter(board.rows[row].values()))):
        return CONTROL if ranked else UNRANKED_CONTROL
    return ENCODER if ranked else UNRANKED


def file_name(text: str) -> str:
    """Letters, digits and few signs, as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", text)[:100]


def plain_name(row: Row) -> str:
    """Short, on one line, without control characters."""
    owner, encoder = row
    return printable(short_name(encoder, owner))


def rounded(interval: Interval, scale: float) -> Interval:
    """In the steps in which the boards print numbers, so that digests do not depend on the machine."""
    ends = (interval.value, interval.low, interval.high)
    return Interval(*(round(scale * end, 2) + 0.0 for end in ends))  # + 0.0: no negative zero


def is_finite(interval: Interval) -> bool:
    return all(map(math.isfinite, (interval.value, interval.low, interval.high)))


def estimate(
    name: str, interval: Interval, group: Group, text: str, *, scale: float = 1
) -> Estimate:
    shown = rounded(interval, scale)
    return Estimate(name, shown.value, shown.low, shown.high, group, text)


def first_rows(
    board: Board,
    order: Sequence[Row],
    ranked: Collection[Row] | None = None,
    *,
    most: int = MOST,
    controls: int = CONTROLS,
) -> tuple[list[Row], str]:
    """Of encoders with the best first: all, or `most` of them with the best controls among them, those
    with a rank (None: all) before others; and a sentence that says how many are not shown, "" if all
    are."""
    if len(order) <= most:
        return list(order), ""
    first = sorted(order, key=lambda row: ranked is not None and row not in ranked)
    marked = [row for row in first if group_of(board, row) is CONTROL]
    others = [row for row in first if row not in set(marked)]
    count = max(min(len(marked), controls), most - len(others))
    kept = {*marked[:count], *others[: most - count]}
    without = ranked is not None and not set(order) <= set(ranked)
    text = (
        f"Shown: the best {most - count} of {len(others)} encoders and the best {count} of "
        f"{len(marked)} controls{', those with a rank first' if without else ''}; "
        f"{len(order) - most} are not shown."
    )
    return [row for row in order if row in kept], text


def by_value(values: Mapping[Row, float]) -> list[Row]:
    """The highest first."""
    return sorted(values, key=lambda row: (-values[row], row))
