"""The columns that describe the encoder in the tables of scores. A column is one entry of COLUMNS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.results.record import Record

__all__ = ["COLUMNS", "Column", "cells", "explanations", "heads"]


@dataclass(frozen=True, slots=True)
class Column:
    """Its head, what the board's introduction says of it, and its cell: the text for one encoder, from
    its records on the tasks of the table (at least one)."""

    head: str
    explanation: str
    cell: Callable[[Sequence[Record]], str]


def _features(records: Sequence[Record]) -> str:
    return ", ".join(map(str, sorted({record.encoder["dim"] for record in records})))


def _seconds(records: Sequence[Record]) -> str:
    return f"{sum(record.measured['seconds']['total'] for record in records):.0f}"


COLUMNS: tuple[Column, ...] = (
    Column(
        "labels seen",
        "labels that the encoder was trained with, of the task's training rows (labels), of other data "
        "(labels elsewhere), or none",
        lambda records: str(records[0].supervision),
    ),
    Column("features", "their number, one for each size of image", _features),
    Column("parameters", "of the encoder", lambda records: str(records[0].encoder["parameters"])),
    Column("seconds", "measured time of the table's tasks together", _seconds),
)


def heads() -> list[str]:
    return [column.head for column in COLUMNS]


def cells(records: Sequence[Record]) -> list[str]:
    """The cells of one encoder, from its records on the tasks of the table."""
    return [column.cell(records) for column in COLUMNS]


def explanations() -> str:
    """One sentence on all columns."""
    return "; ".join(f"{column.head}: {column.explanation}" for column in COLUMNS)
