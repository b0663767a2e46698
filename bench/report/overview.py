"""Lines of text for `status`, `plan` and `cache ls`: what is done and what is to be run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from bench.errors import printable
from bench.progress import duration
from bench.report.text import names_text
from bench.results.record import Record
from bench.results.status import STATES, CellStatus
from bench.running.cache import CacheFile
from bench.running.forecast import Cost, estimate_text
from bench.statistics.metrics import METRICS

_MOST = 300  # characters of a reason


def status_summary(standings: Sequence[CellStatus]) -> str:
    """The number of cells in each state."""
    counts = Counter(standing.state for standing in standings)
    text = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{len(standings)} cells: {text or 'none'}"


def status_lines(standings: Sequence[CellStatus]) -> list[tuple[str, str, str, str]]:
    """State, encoders, tasks and reason of cells that are not done, a line for each state and reason."""
    groups: dict[tuple[str, str], list[CellStatus]] = {}
    for standing in standings:
        if standing.state != "done":
            groups.setdefault((standing.state, standing.reason), []).append(standing)
    return [
        (
            state,
            names_text(s.cell.name for s in group),
            names_text(s.cell.task.name for s in group),
            printable(reason)[:_MOST],
        )
        for (state, reason), group in sorted(groups.items(), key=lambda g: STATES.index(g[0][0]))
    ]


def plan_lines(
    due: Sequence[CellStatus], costs: Sequence[Cost]
) -> list[tuple[str, str, str, str, str]]:
    """Encoder, task, why it must be run, what the cache has, and the estimated time of each due cell."""
    return [
        (
            standing.cell.name,
            standing.cell.task.name,
            standing.state + (f": {printable(standing.reason)[:_MOST]}" if standing.reason else ""),
            _cached(cost),
            "no computing" if standing.rescored else duration(cost.seconds),
        )
        for standing, cost in zip(due, costs, strict=True)
    ]


def _cached(cost: Cost) -> str:
    cached, needed = cost.weights
    if cached in (0, needed):
        weights = "weights" if cached else ""
    else:
        weights = f"weights of {cached} of {needed} seeds"
    return ", ".join(part for part in (weights, "features" if cost.features else "") if part)


def plan_summary(standings: Sequence[CellStatus], costs: Sequence[Cost]) -> str:
    """One line: how many cells must be run, and the estimated time."""
    if not costs:
        return "nothing to do"
    return f"{len(costs)} of {len(standings)} cells to run: {estimate_text(costs)}"


RUN_HEAD = ("task", "encoder", "metric", "score", "95 % interval", "time")


def run_lines(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """A line for each new record, under `RUN_HEAD`: by task in the order of the run, the best first; what
    has failed or was declined last, with its reason."""
    tasks = list(dict.fromkeys(record.task.id for record in records))

    def place(record: Record) -> tuple[int, bool, float]:
        primary, at = record.primary, tasks.index(record.task.id)
        if primary is None:
            return at, True, 0.0
        metric = METRICS.get(primary.metric)
        upwards = metric is None or metric.higher_is_better
        return at, False, -primary.value if upwards else primary.value

    return [_run_line(record) for record in sorted(records, key=place)]


def _run_line(record: Record) -> tuple[str, ...]:
    head, seconds = (record.task.id, record.encoder.id), duration(record.seconds.get("total"))
    if record.primary is None:
        return *head, record.status, "", printable(record.reason or "")[:120], seconds
    primary = record.primary
    interval = f"[{primary.low:.4f}, {primary.high:.4f}]"
    return *head, primary.metric, f"{primary.value:.4f}", interval, seconds


def cache_lines(entries: Sequence[CacheFile]) -> list[tuple[str, str, str, str, str]]:
    """Kind, spec, place (split, level, seed), MB and days since the last use of each file."""
    lines = []
    for entry in entries:
        seed = entry.notes.get("seed")
        places = [
            entry.notes.get("split"),
            entry.notes.get("level"),
            None if seed is None else f"seed {seed}",
        ]
        place = " ".join(str(part) for part in places if part is not None)
        days = max(0.0, time.time() - entry.last_used) / 86_400
        spec, size = str(entry.notes.get("spec", "?")), f"{entry.size / 1e6:.1f}"
        lines.append((entry.kind, spec, place, size, f"{days:.1f} d"))
    return lines
