"""What a reader should know of a score that contradicts nothing; `verify` and the board tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bench.data.samples import Array
from bench.report.board import Board, is_control, sort_value
from bench.report.text import code
from bench.results.record import Record
from bench.tasks.cell import OURS

FEW = 500  # test rows below which a table says how many there are
PIXELS = (
    "pixels"  # other controls learn, or are made by hand: many good encoders are below one of them
)


class Beside:
    """Records, for what can be said of one beside the others; of equal predictions the first counts."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._pixels = dict[str, Record]()
        self._first = dict[tuple[str, str], str]()
        for record in records:
            self._first.setdefault((record.task.id, _digest(record)), _name(record))
            if _name(record) == f"{OURS}/{PIXELS}":
                self._pixels[record.task.id] = record

    def below_pixels(self, record: Record) -> bool:
        """Is an encoder that is no control worse than raw pixels?"""
        pixels = self._pixels.get(record.task.id)
        return bool(pixels and not is_control(record) and sort_value(pixels) > sort_value(record))

    def equal_to(self, record: Record) -> str:
        """Owner and encoder of the first record on the same task with the same predictions; "" where that
        is of this encoder."""
        first = self._first.get((record.task.id, _digest(record)), "")
        return "" if first == _name(record) else first


def all_right(arrays: Mapping[str, Array]) -> bool:
    """Are all stored classes those of the test rows? False where no classes are stored."""
    pairs = [
        (array, arrays[f"truth/{name.split('/')[1]}"])
        for name, array in arrays.items()
        if name.endswith("/class")
    ]
    return bool(pairs) and all(np.array_equal(array, truth) for array, truth in pairs)


def few_rows_text(board: Board, names: Sequence[str]) -> str:
    """ " Test images: n = 360 of `digits-linear`." where a task of these has fewer than FEW; else ""."""
    by_size: dict[int, list[str]] = {}
    for name in names:
        sizes = [r[name].data.rows.get("test", FEW) for r in board.rows.values() if name in r]
        if sizes and min(sizes) < FEW:
            by_size.setdefault(min(sizes), []).append(code(name))
    sizes_text = [f"n = {n} of {', '.join(tasks)}" for n, tasks in sorted(by_size.items())]
    return f" Test images: {'; '.join(sizes_text)}." if sizes_text else ""


def _name(record: Record) -> str:
    return f"{record.owner}/{record.encoder.id}"


def _digest(record: Record) -> str:
    return str(record.predictions and record.predictions.digest)
