"""The columns that describe encoders in the tables of scores: one entry of COLUMNS each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.results.record import Record


@dataclass(frozen=True, slots=True)
class Column:
    """head: in the table. explanation: a sentence for the board's introduction. cell: the text for one
    encoder, from its records (one or more) on the tasks of the table."""

    head: str
    explanation: str
    cell: Callable[[Sequence[Record]], str]


def _features(records: Sequence[Record]) -> str:
    return ", ".join(map(str, sorted({record.encoder.dim or 0 for record in records})))


def _seconds(records: Sequence[Record]) -> str:
    return f"{sum(record.seconds['total'] for record in records):.0f}"


COLUMNS: tuple[Column, ...] = (
    Column(
        "labels seen",
        "whether the encoder was trained with labels of the task's training images, with other labels or "
        "from pretrained weights (labels elsewhere), or without labels (none)",
        lambda records: str(records[0].supervision),
    ),
    Column("features", "their number, which may differ between data sets", _features),
    Column(
        "parameters",
        "of the encoder, buffers included",
        lambda records: str(records[0].encoder.parameters),
    ),
    Column(
        "seconds",
        "run time on the tasks of the table; work that cells share counts in each of them",
        _seconds,
    ),
)


def heads() -> list[str]:
    return [column.head for column in COLUMNS]


def cells(records: Sequence[Record]) -> list[str]:
    """The cells of one encoder, from its records on the tasks of the table."""
    return [column.cell(records) for column in COLUMNS]


def explanations() -> str:
    """A sentence for each column."""
    return " ".join(f"{c.head.capitalize()}: {c.explanation}." for c in COLUMNS)
