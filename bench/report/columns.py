"""The columns that describe encoders in the tables of scores: one entry of COLUMNS each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.board import Board
from bench.results.record import Record
from bench.results.trust import LEVELS


@dataclass(frozen=True, slots=True)
class Column:
    """head: in the table. explanation: a sentence for the board's introduction. cell: the text for one
    encoder, from the board and the encoder's records (one or more) on the tasks of the table."""

    head: str
    explanation: str
    cell: Callable[[Board, Sequence[Record]], str]


def _trust(board: Board, records: Sequence[Record]) -> str:
    """The level of all records, or the number of records at each level."""
    counts = Counter(board.level(record) for record in records)
    levels = [level for level in LEVELS if counts[level]]
    return ", ".join(level if len(levels) == 1 else f"{level} {counts[level]}" for level in levels)


def _features(_: Board, records: Sequence[Record]) -> str:
    return ", ".join(map(str, sorted({record.encoder.dim or 0 for record in records})))


def _seconds(_: Board, records: Sequence[Record]) -> str:
    return f"{sum(record.seconds['total'] for record in records):.0f}"


COLUMNS: tuple[Column, ...] = (
    Column(
        "trust",
        "consistent where scores and intervals follow from the stored predictions of each test row; from "
        "counts where counts by class alone are stored, which bound the area under the seen-unseen curve; "
        "reproduced where the maintainers ran the encoder again; confirmed where its author says so; "
        "reported, without a rank, where no predictions are stored; with the number of scores where they "
        "differ",
        _trust,
    ),
    Column(
        "labels seen",
        "whether the encoder was trained with labels of the task's training images, with other labels, "
        "also before, as pretrained weights are (labels elsewhere), or without labels (none)",
        lambda _, records: str(records[0].supervision),
    ),
    Column("features", "their number, which may differ between data sets", _features),
    Column(
        "parameters",
        "of the encoder, buffers included",
        lambda _, records: str(records[0].encoder.parameters),
    ),
    Column(
        "seconds",
        "run time on the tasks of the table; work that cells share counts in each of them",
        _seconds,
    ),
)


def heads() -> list[str]:
    return [column.head for column in COLUMNS]


def cells(board: Board, records: Sequence[Record]) -> list[str]:
    """The cells of one encoder, from its records on the tasks of the table."""
    return [column.cell(board, records) for column in COLUMNS]


def explanations() -> str:
    """A sentence for each column."""
    return " ".join(f"{c.head.capitalize()}: {c.explanation}." for c in COLUMNS)
