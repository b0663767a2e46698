"""Negative log-likelihood and calibration error of probabilistic tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.report.board import Board, Line
from bench.report.text import table
from bench.results.record import Record
from bench.tasks.task import Task


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """Likelihood and calibration error of probabilistic probes, without and with temperature scaling."""
    lines = [list(cells) for task in tasks.values() for _, cells in board.lines(task, _line)]
    if not lines:
        return []
    head = ["task", "encoder", "NLL", "NLL, calibrated", "ECE", "ECE, calibrated"]
    return [
        "## Calibration",
        "NLL: mean negative log-likelihood in nats. ECE: expected calibration error over 15 bins. "
        "Calibrated: logits divided by a temperature that was fitted on validation. "
        "Means over replicates, without intervals.",
        table(head, sorted(lines)),
    ]


def _line(task: Task, name: str, records: Mapping[str, Record]) -> Line | None:
    replicates, target = records[task.name].replicates, task.primary.target or ""
    scores = [replicate.scores.get(target, {}) for replicate in replicates]
    if not all("nll" in of_target for of_target in scores):
        return None
    cells = [task.name, name]
    for key in ("nll", "calibrated_nll", "ece", "calibrated_ece"):
        values = [of_target[key] for of_target in scores if key in of_target]
        cells.append(f"{np.mean(values):.3f}" if len(values) == len(scores) else "")
    return 0.0, cells
