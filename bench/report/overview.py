"""What is done and what is to do, as lines of text: for `status`, `plan` and `cache ls`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from bench.report.text import names_text
from bench.results.status import STATES, Standing
from bench.running.cache import Entry
from bench.running.forecast import Cost, total

__all__ = [
    "cache_lines",
    "duration",
    "plan_lines",
    "plan_summary",
    "status_lines",
    "status_summary",
]


def duration(seconds: float | None) -> str:
    """Seconds in the largest fitting unit; "?" for None.

    >>> duration(7.31), duration(432), duration(9000), duration(None)
    ('7.3 s', '7 min', '2.5 h', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def status_summary(standings: Sequence[Standing]) -> str:
    """How many cells stand in which way."""
    counts = Counter(each.state for each in standings)
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{len(standings)} cells: {told or 'none'}"


def status_lines(standings: Sequence[Standing]) -> list[tuple[str, str, str, str]]:
    """State, encoders, tasks and reason of all cells that are not done, equal reasons together."""
    groups: dict[tuple[str, str], list[Standing]] = {}
    for each in standings:
        if each.state != "done":
            groups.setdefault((each.state, each.reason), []).append(each)
    return [
        (
            state,
            names_text(s.cell.name for s in some),
            names_text(s.cell.task.name for s in some),
            reason,
        )
        for (state, reason), some in sorted(groups.items(), key=lambda g: STATES.index(g[0][0]))
    ]


def plan_lines(
    due: Sequence[Standing], costs: Sequence[Cost]
) -> list[tuple[str, str, str, str, str]]:
    """Encoder, task, why it is to be run, what the cache has, and the time that it will take."""
    return [
        (
            each.cell.name,
            each.cell.task.name,
            each.state + (f": {each.reason}" if each.reason else ""),
            _kept(cost),
            "no computing" if each.rescored else duration(_sum(cost)),
        )
        for each, cost in zip(due, costs, strict=True)
    ]


def _sum(cost: Cost) -> float | None:
    parts = [part for part in cost.parts if part is not None]
    return sum(parts) if len(parts) == len(cost.parts) else None


def _kept(cost: Cost) -> str:
    has, wanted = cost.weights
    weights = (
        "" if not has else "weights" if has == wanted else f"weights of {has} of {wanted} seeds"
    )
    return ", ".join(part for part in (weights, "features" if cost.features else "") if part)


def plan_summary(standings: Sequence[Standing], costs: Sequence[Cost]) -> str:
    """One line: how many cells are to be run, and how long that will take."""
    if not costs:
        return "nothing to do"
    seconds, unknown = total(costs)
    measured = len(costs) - unknown
    told = (
        f"about {duration(seconds)} by what was measured here" if measured else "nothing measured"
    )
    more = f"; of {unknown} nothing like them was measured yet" if unknown and measured else ""
    return f"{len(costs)} of {len(standings)} cells to run: {told}{more}"


def cache_lines(entries: Sequence[Entry]) -> list[tuple[str, str, str, str, str]]:
    """Kind, what it holds, where, MB and age of each file."""
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
            f"{max(0.0, time.time() - entry.used) / 86_400:.1f} d",
        )
        for entry in entries
    ]


def _seed(entry: Entry) -> str | None:
    seed = entry.notes.get("seed")
    return None if seed is None else f"seed {seed}"
