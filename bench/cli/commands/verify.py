"""`reptransfer verify PATH`: are records what they say?"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from bench.cli.options import Parsers, add_command
from bench.cli.terminal import FINDINGS, OK, print_json


def add(parsers: Parsers) -> None:
    summary = "compute the scores of records again from their predictions; needs no images"
    parser = add_command(parsers, "verify", run, summary)
    parser.add_argument(
        "path", metavar="PATH", help="a results folder, or the folder of an owner or encoder in it"
    )


def run(arguments: argparse.Namespace) -> int:
    from bench.entries.verify import summary, verify

    verdict = verify(Path(arguments.path))
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
