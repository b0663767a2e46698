"""The table as a list of JSON objects, one a line of the table."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.report.exports.rows import ScoreRow
from bench.report.exports.tables import table_of


def json_text(rows: Sequence[ScoreRow], *, wide: bool) -> str:
    """Column -> value; null: there is none. ASCII: characters beyond it are escaped."""
    table = table_of(rows, wide=wide)
    objects = [dict(zip(table.head, line, strict=True)) for line in table.lines]
    return json.dumps(objects, indent=1, allow_nan=False) + "\n"
