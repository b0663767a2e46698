"""`reptransfer list`: the names of all encoders, tasks, ..., with a line about each."""

from __future__ import annotations

import argparse

from bench.cli.options import Parsers, add_command
from bench.cli.terminal import OK, print_json, print_table
from bench.report.catalogue import LISTS, listing


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers, "list", run, "list the available encoders, tasks, data sets and other components"
    )
    parser.add_argument("what", choices=LISTS, metavar="KIND", help=", ".join(LISTS))


def run(arguments: argparse.Namespace) -> int:
    rows = listing(arguments.what)
    if arguments.json:
        print_json([{"name": name, "summary": summary} for name, summary in rows])
    else:
        print_table(["name", "what it is"], rows)
    return OK
