"""Evaluation results as the Hugging Face hub reads them from `.eval_results/*.yaml` of a model's files.

Format: https://huggingface.co/docs/hub/eval-results (huggingface/hub-docs at commit 064c754: work in
progress), as `huggingface_hub` 2.4 parses it. It has no fields for intervals and sizes: `notes`, which is
free text, has them. Optional fields that no record tells (date, source, verifyToken) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bench.errors import BenchError, printable
from bench.report.exports.rows import ScoreRow

_BENCHMARK = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def hub_text(rows: Sequence[ScoreRow], *, benchmark: str) -> str:
    """The entries of one encoder in YAML. benchmark: the hub's data set, as owner/name, whose eval.yaml
    defines the tasks by the names that they have here; no such data set is known to this package.

    Raises BenchError for another form of that name.
    """
    import yaml  # type: ignore[import-untyped]

    if not _BENCHMARK.fullmatch(benchmark):
        raise BenchError(f"benchmark {benchmark!r} is no data set of the hub; write OWNER/NAME")
    entries = [_entry(row, benchmark) for row in rows]
    return str(yaml.safe_dump(entries, sort_keys=False, allow_unicode=False, width=10**6))


def _entry(row: ScoreRow, benchmark: str) -> dict[str, Any]:
    return {
        "dataset": {"id": benchmark, "task_id": printable(row.task)},
        "value": row.value,
        "notes": notes(row),
    }


def notes(row: ScoreRow) -> str:
    """Metric, interval and sizes in a sentence."""
    return printable(
        f"{row.metric}, 95 % interval {row.low:.6g} to {row.high:.6g} over test {row.interval} and seeds; "
        f"{row.n_test} test rows, {row.seeds} trainings of the encoder, {row.replicates} runs; protocol "
        f"{row.protocol}; labels seen: {row.labels_seen}; trust: {row.trust}; record {row.digest}"
    )
