"""Rows of scores as a long table, a line a record, or as a wide one, a line an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.exports.rows import COLUMNS, ScoreRow, as_dict

Cell = str | int | float | bool | None
ENCODER = ("owner", "encoder", "short_name")  # the first columns of a wide table


@dataclass(frozen=True, slots=True)
class Table:
    """head: names of columns, each once. lines: cells in their order; None: there is no value."""

    head: Sequence[str]
    lines: Sequence[Sequence[Cell]]


def table_of(rows: Sequence[ScoreRow], *, wide: bool) -> Table:
    """wide: the values of the primary scores, a column a task in the order of the rows; else COLUMNS."""
    if not wide:
        return Table(COLUMNS, [list(as_dict(row).values()) for row in rows])
    tasks = list(dict.fromkeys(row.task for row in rows))
    head = [*ENCODER, *(f"task {name}" if name in ENCODER else name for name in tasks)]
    values = {(row.owner, row.encoder, row.task): row.value for row in rows}
    return Table(
        head,
        [
            [*key, *(values.get((*key[:2], task)) for task in tasks)]
            for key in sorted({(row.owner, row.encoder, row.short_name) for row in rows})
        ],
    )
