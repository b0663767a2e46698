"""Comma-separated values (RFC 4180, with line feeds) that spreadsheets do not take for formulas.

Source of the rule for formulas: OWASP, "CSV Injection" (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from bench.errors import printable
from bench.report.exports.rows import ScoreRow
from bench.report.exports.tables import Cell, table_of

# What begins a formula in some spreadsheet, also as full-width characters.
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")


def csv_text(rows: Sequence[ScoreRow], *, wide: bool) -> str:
    """The table with its head. Texts are quoted; one that would be a formula has ' before it. Numbers are
    written so that they read back exactly; an empty cell: there is none."""
    table = table_of(rows, wide=wide)
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writerow([_cell(name) for name in table.head])
    writer.writerows([_cell(cell) for cell in line] for line in table.lines)
    return out.getvalue()


def _cell(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
