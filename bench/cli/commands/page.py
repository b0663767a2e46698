"""`reptransfer page`: one HTML file with everything, which opens with the network off."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Parsers, add_command, add_options, results_to_read
from bench.cli.terminal import FINDINGS, OK, print_json, print_progress


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "page", run, "make the offline page of the records")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if the page is stale"
    )
    add_options(parser, "--results")
    parser.add_argument(
        "--out", metavar="FILE", help="the page (default: page.html beside leaderboard.md)"
    )


def run(arguments: argparse.Namespace) -> int:
    from bench.report.leaderboard import collected
    from bench.report.page.build import is_fresh, page_path, require_libraries, write_page
    from bench.results.store import Store

    store = Store(results_to_read(arguments))
    out = Path(arguments.out) if arguments.out else page_path(store)
    if arguments.check:
        fresh = is_fresh(collected(store), out)
        if not fresh:
            print_progress(f"{out} is stale; update it with: reptransfer page")
        if arguments.json:
            print_json({"file": str(out), "fresh": fresh})
        return OK if fresh else FINDINGS
    require_libraries()  # before the long work
    size = write_page(collected(store), out)
    if arguments.json:
        print_json({"file": str(out), "bytes": size})
    else:
        print(f"the page is in {out} ({size / 1e6:.1f} MB)")
    return OK
