"""`reptransfer verify PATH`: are records what they say? `--change`: does a commit enter an encoder, and
nothing else?"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from bench.cli.options import Parsers, add_command
from bench.cli.terminal import FINDINGS, OK, print_json
from bench.errors import BenchError


def add(parsers: Parsers) -> None:
    summary = "compute the scores of records again from their predictions; needs no images"
    parser = add_command(parsers, "verify", run, summary)
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="a results folder, or the folder of an owner or encoder in it",
    )
    parser.add_argument(
        "--change",
        metavar=("BASE", "HEAD"),
        nargs=2,
        help="in place of PATH: what HEAD adds to BASE, two commits of the repository here; nothing "
        "of HEAD is checked out",
    )
    parser.add_argument(
        "--author", metavar="LOGIN", help="with --change: who asks for it; may change rows of LOGIN"
    )


def run(arguments: argparse.Namespace) -> int:
    from bench.entries.verify import summary, verify

    if (arguments.path is None) == (arguments.change is None):
        raise BenchError("name a folder, or two commits by --change BASE HEAD")
    if arguments.author is not None and arguments.change is None:
        raise BenchError("--author is of --change BASE HEAD")
    if arguments.change is None:
        verdict = verify(Path(arguments.path))
    else:
        from bench.entries.change import check_change

        verdict = check_change(*arguments.change, author=arguments.author)
    if arguments.json:
        print_json(
            {
                "records": verdict.records,
                "findings": [asdict(remark) for remark in verdict.findings],
                "notes": [asdict(remark) for remark in verdict.notes],
                "consistent": verdict.consistent,
            }
        )
    else:
        print("\n".join(summary(verdict)))
    return FINDINGS if verdict.findings else OK
