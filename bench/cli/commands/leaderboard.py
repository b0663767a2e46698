"""`reptransfer leaderboard`: leaderboard.md, made from the records of a results folder."""

from __future__ import annotations

import argparse

from bench.cli.options import Parsers, add_command, add_options, results_to_read
from bench.cli.terminal import FINDINGS, OK, print_json, print_progress


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "leaderboard", run, "make leaderboard.md from the records")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if it is stale"
    )
    add_options(parser, "--results")


def run(arguments: argparse.Namespace) -> int:
    from bench.report.leaderboard import board_path, board_text, current_board, update_board
    from bench.results.store import Store

    store = Store(results_to_read(arguments))
    path = board_path(store)
    before = current_board(path)
    text = board_text(store) if arguments.check else update_board(store)
    if arguments.json:
        print_json({"file": str(path), "fresh": before == text})
    if arguments.check:
        if before != text:
            print_progress(f"{path} is stale; update it with: reptransfer leaderboard")
        return OK if before == text else FINDINGS
    if not arguments.json:
        print(text)
    return OK
