"""Sizes and fingerprints of the data sets."""

from __future__ import annotations

from bench.report.board import Board
from bench.report.text import table


def section(board: Board) -> list[str]:
    lines = {
        record.data.id: [
            record.data.id,
            *(str(record.data.rows[split]) for split in ("train", "val", "test")),
            str(record.data.test_in_train),
            str(record.data.digest),
        ]
        for records in board.rows.values()
        for record in records.values()
    }
    head = ["data set", "train", "validation", "test", "test images also in train", "fingerprint"]
    return ["## Data", table(head, [lines[key] for key in sorted(lines)])] if lines else []
