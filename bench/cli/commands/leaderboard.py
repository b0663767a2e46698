"""`reptransfer leaderboard`: the boards, made from the records of a results folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Parsers, add_command, add_options, results_to_read
from bench.cli.terminal import FINDINGS, OK, print_json, print_progress


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "leaderboard", run, "make leaderboard.md from the records")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if a board is stale"
    )
    add_options(parser, "--results")


def run(arguments: argparse.Namespace) -> int:
    from bench.report.freshness import check_boards
    from bench.report.leaderboard import FRONT, board_path, collected, update_boards
    from bench.results.store import Store

    store, stale = Store(results_to_read(arguments)), list[Path]()
    made = None if arguments.check else update_boards(store)
    if made is None:
        stale = check_boards(store)
        for path in stale:
            print_progress(f"{path} is stale; update it with: reptransfer leaderboard")
    if arguments.json:
        from bench.report.exports.board_tables import board_tables

        tables = board_tables(made.board if made else collected(store))
        print_json({"file": str(board_path(store)), "fresh": not stale, **tables})
    elif made is not None:
        print(made.texts[FRONT])
    return FINDINGS if stale else OK
