"""`reptransfer run`: cells that have no valid record are computed, and board and page are updated.

The new rows are printed, what they answer, and where page and board lie.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import Parsers, add_command, add_options, add_selection, nonnegative
from bench.cli.terminal import (
    CONTINUES,
    FINDINGS,
    OK,
    interrupt_on_sigterm,
    plain_lines,
    print_json,
    print_progress,
    print_table,
)
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.report.board import Board


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "run", run, "run encoders on tasks; run again to continue")
    add_selection(parser)
    add_options(parser, "--device")
    parser.add_argument(
        "--max-minutes",
        type=nonnegative,
        metavar="M",
        help="stop after M minutes; finished cells are kept",
    )


def run(arguments: argparse.Namespace) -> int:
    from bench.cli.selection import Selection
    from bench.report.answers import first_answers
    from bench.report.leaderboard import board_path, update_boards
    from bench.report.overview import RUN_HEAD, run_lines
    from bench.results.store import Store
    from bench.running.cache import Cache, cache_root
    from bench.running.executor import run_cells
    from bench.running.forecast import Forecast

    selection, store = Selection.of(arguments), Store(Path(arguments.results))
    cache = Cache(cache_root(arguments.cache))
    count = len(selection.cells)
    interrupt_on_sigterm()
    selection.names.keep(selection.cells)
    try:
        outcome = run_cells(
            selection.cells,
            selection.names.datasets,
            store=store,
            cache=cache,
            seeds=selection.seeds,
            device=arguments.device,
            minutes=arguments.max_minutes,
            tell=print_progress,
            forecast=lambda: Forecast.of(store, cache, selection.data),
        )
    except KeyboardInterrupt:
        update_boards(store, wait=False)  # who stops does not wait for others
        raise
    if outcome.done_before == count:
        print_progress(
            f"nothing to do: all {count} cells have a fresh record in {arguments.results}"
        )
    board = update_boards(store).board
    page = _write_page(board)
    if arguments.json:
        print_json([record.to_json() for record in outcome.records])
    else:
        if outcome.new:
            print_table(RUN_HEAD, run_lines(outcome.new))
        for line in first_answers(board):
            print(plain_lines(line))
        if page:
            print(f"the page is in {page}")
        print(f"the board is in {board_path(store)}")
    if outcome.not_run:
        print_progress(f"time is up: {outcome.not_run} of {count} cells are left; {CONTINUES}")
    return FINDINGS if outcome.count("failed") else OK


def _write_page(board: Board) -> Path | None:
    """Beside the board; None, and a line that says why, where that cannot be."""
    from bench.report.page.build import page_path, write_page

    path = page_path(board.store)
    try:
        write_page(board, path)
    except BenchError as error:
        print_progress(f"no page: {error}")
        return None
    return path
