"""`reptransfer plan`: the cells that `run` would compute, why, and the time that this takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Parsers, add_command, add_selection
from bench.cli.terminal import OK, print_json, print_table


def add(parsers: Parsers) -> None:
    add_selection(
        add_command(parsers, "plan", run, "what `run` would do, and how long it would take")
    )


def run(arguments: argparse.Namespace) -> int:
    from bench.cli.selection import Selection
    from bench.report.overview import plan_lines, plan_summary
    from bench.results.status import run_order
    from bench.results.store import Store
    from bench.running.cache import Cache, cache_root
    from bench.running.forecast import Forecast

    selection, store = Selection.of(arguments), Store(Path(arguments.results))
    standings = selection.standings(store)
    due = run_order([standing for standing in standings if standing.due], store)
    forecast = Forecast.of(store, Cache(cache_root(arguments.cache)), selection.data)
    costs = forecast.costs(due, seeds=selection.seeds)
    rows = plan_lines(due, costs)
    if arguments.json:
        head = ("encoder", "task", "why", "kept")
        phases = ("fit", "extract", "protocol")
        print_json(
            [
                {
                    **dict(zip(head, row, strict=False)),
                    "seconds": dict(zip(phases, cost.parts, strict=True)),
                    "estimated_from": cost.basis,
                }
                for row, cost in zip(rows, costs, strict=True)
            ]
        )
        return OK
    if rows:
        print_table(["encoder", "task", "why", "in the cache", "time"], rows)
    print(plan_summary(standings, costs))
    return OK
