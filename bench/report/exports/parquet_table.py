"""The table as a Parquet file: types are kept, and pandas, Polars, DuckDB and R read it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import get_args, get_type_hints

from bench.report.exports.rows import ScoreRow
from bench.report.exports.tables import ENCODER, table_of


def parquet_bytes(rows: Sequence[ScoreRow], *, wide: bool) -> bytes:
    """One row group. Columns have their type also where all values are missing, or there is no row."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    hints = get_type_hints(ScoreRow)

    def kind(name: str) -> pa.DataType:
        hint = (str if name in ENCODER else float) if wide else hints[name]
        return kinds[next(iter(get_args(hint)), hint)]  # of `int | None` the first

    table = table_of(rows, wide=wide)
    columns = list(zip(*table.lines, strict=True)) or [()] * len(table.head)
    arrays = [
        pa.array(column, type=kind(name)) for name, column in zip(table.head, columns, strict=True)
    ]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=list(table.head)), out)
    return out.getvalue()
