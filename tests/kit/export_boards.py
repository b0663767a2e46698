"""Boards of records made by hand, whose ranks are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from bench.report.board import Board
from bench.results.record import Record
from bench.results.store import Store
from bench.tasks.task import Coords, Task
from tests.kit import records

RUNS = tuple(
    records.replicate({"label": {"accuracy": 0.5}}, Coords(encoder_seed=s, head_seed=s))
    for s in range(3)
)


def task(name: str = "digits-knn", **changes: Any) -> Task:
    values: dict[str, Any] = {"family": "probe", "dataset": "digits", "protocol": "knn"}
    return Task(name=name, **{**values, "title": "Digits", "chance": 0.1, **changes})


def scored(owner: str, encoder: str, on: Task, value: float = 0.5, /, **changes: Any) -> Record:
    """A record with the interval value - 0.1 to value + 0.1, of three trainings."""
    return records.record(
        **{
            "owner": owner,
            "encoder": records.encoder(id=encoder, seeded=True),
            "task": records.task(id=on.name, family=on.family),
            "primary": records.primary(value=value, low=value - 0.1, high=value + 0.1),
            "replicates": RUNS,
            **changes,
        }
    )


def board_of(*entries: Record, tasks: list[Task], **ranks: dict[Any, tuple[int, int]]) -> Board:
    """The board of these records. ranks: by task, with _ for -, first and last rank by owner and encoder;
    nobody has a rank on others."""
    board = Board(Store(Path("nowhere")), {one.name: one for one in tasks})
    for record in entries:
        board.add(record, "consistent")
    board.ranks = {one.name: ranks.get(one.name.replace("-", "_"), {}) for one in tasks}
    return board


def hub_entries(values: list[dict[str, Any]]) -> list[Any]:
    """As the hub's own library reads them; older ones do not."""
    if not hasattr(huggingface_hub, "parse_eval_result_entries"):
        pytest.skip("this huggingface_hub has no reader of evaluation results")
    entries: list[Any] = huggingface_hub.parse_eval_result_entries(values)
    return entries
