"""Negative log-likelihood and calibration error of probabilistic tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.report.board import Board, display_name
from bench.report.text import table
from bench.tasks.task import Task


def section(board: Board, tasks: Mapping[str, Task]) -> list[str]:
    """Likelihood and calibration error of probabilistic probes, without and with temperature scaling."""
    keys = ("nll", "calibrated_nll", "ece", "calibrated_ece")
    lines = []
    for (owner, encoder), records in board.rows.items():
        for name, record in records.items():
            target = tasks[name].primary.target if name in tasks else None
            if target is None:
                continue
            scores = [replicate.scores.get(target, {}) for replicate in record.replicates]
            if all("nll" in s for s in scores):
                means = [
                    np.mean([s[k] for s in scores]) if all(k in s for s in scores) else None
                    for k in keys
                ]
                line = ["" if m is None else f"{m:.3f}" for m in means]
                lines.append([name, display_name(owner, encoder, records), *line])
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
