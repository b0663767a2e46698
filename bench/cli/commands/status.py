"""`reptransfer status`: how each cell stands; status 1 unless all are done or declined."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Parsers, add_command, add_selection
from bench.cli.terminal import FINDINGS, OK, print_json, print_table


def add(parsers: Parsers) -> None:
    summary = "which cells are done, missing, stale, failed or declined"
    add_selection(add_command(parsers, "status", run, summary))


def run(arguments: argparse.Namespace) -> int:
    from bench.cli.selection import Selection, has_suite, recorded, suite_of
    from bench.report.overview import status_lines, status_summary
    from bench.results.store import Store

    store = Store(Path(arguments.results))
    is_named = arguments.task or arguments.encoder or arguments.images
    selection = Selection.of(arguments, suite_name=None if is_named else suite_of(store))
    standings = [] if is_named or arguments.suite else recorded(store, selection.names)
    if not standings or has_suite(store):
        standings = selection.standings(store) + standings
    if arguments.json:
        names = ("encoder", "task", "state", "reason")
        cells = [(s.cell.name, s.cell.task.name, s.state, s.reason) for s in standings]
        print_json([dict(zip(names, cell, strict=True)) for cell in cells])
    else:
        if rows := status_lines(standings):
            print_table(["state", "encoders", "tasks", "why"], rows)
        print(f"{status_summary(standings)}, in {arguments.results}")
    return OK if all(s.state in ("done", "declined") for s in standings) else FINDINGS
