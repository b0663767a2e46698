"""Lines of text for `status`, `plan` and `cache ls`: what is done and what is to be run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from bench.report.text import names_text
from bench.results.status import STATES, CellStatus
from bench.running.cache import CacheFile
from bench.running.forecast import Cost, total


def duration(seconds: float | None) -> str:
    """Seconds as text in s, min or h; "?" for None.

    >>> duration(7.31), duration(432), duration(9000), duration(None)
    ('7.3 s', '7 min', '2.5 h', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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
            reason,
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
            standing.state + (f": {standing.reason}" if standing.reason else ""),
            _cached(cost),
            "no computing" if standing.rescored else duration(_sum(cost)),
        )
        for standing, cost in zip(due, costs, strict=True)
    ]


def _sum(cost: Cost) -> float | None:
    parts = [part for part in cost.parts if part is not None]
    return sum(parts) if len(parts) == len(cost.parts) else None


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
    seconds, unknown = total(costs)
    if unknown == len(costs):
        estimate = "no estimate, since nothing similar has been measured"
    else:
        estimate = f"about {duration(seconds)}, estimated from earlier runs"
        estimate += f"; no estimate for {unknown} of them" if unknown else ""
    return f"{len(costs)} of {len(standings)} cells to run: {estimate}"


def cache_lines(entries: Sequence[CacheFile]) -> list[tuple[str, str, str, str, str]]:
    """Kind, spec, place (split, level, seed), MB and days since the last use of each file."""
    return [
        (
            entry.kind,
            str(entry.notes.get("spec", "?")),
            " ".join(
                str(part)
                for part in (entry.notes.get("split"), entry.notes.get("level"), _seed(entry))
                if part is not None
            ),
            f"{entry.size / 1e6:.1f}",
            f"{max(0.0, time.time() - entry.last_used) / 86_400:.1f} d",
        )
        for entry in entries
    ]


def _seed(entry: CacheFile) -> str | None:
    seed = entry.notes.get("seed")
    return None if seed is None else f"seed {seed}"
