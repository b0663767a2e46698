"""`reptransfer compare`: two encoders on all tasks that both have a record of, paired by test row."""

from __future__ import annotations

import argparse

from bench.cli.options import Parsers, add_command, add_options, results_to_read
from bench.cli.terminal import OK, print_json, print_table


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "compare", run, "compare two encoders, paired over test images")
    parser.add_argument("a", metavar="A", help="spec of an encoder")
    parser.add_argument("b", metavar="B", help="spec of the encoder to compare it with")
    parser.add_argument("--task", metavar="GLOB", default="*", help="only these tasks")
    add_options(parser, "--results")


def run(arguments: argparse.Namespace) -> int:
    import dataclasses

    from bench.scoring.comparison import compare

    a, b = arguments.a, arguments.b
    comparisons = compare(a, b, results=results_to_read(arguments), tasks=arguments.task)
    if arguments.json:
        print_json([{**dataclasses.asdict(c), "verdict": c.verdict} for c in comparisons])
        return OK
    better = {"A": a, "B": b, "tie": "tie"}
    rows = [
        (
            c.task,
            c.metric,
            f"{c.a:.4f}",
            f"{c.b:.4f}",
            f"{c.difference.value:+.4f} [{c.difference.low:+.4f}, {c.difference.high:+.4f}]",
            f"{c.p:.2g}",
            f"{c.adjusted:.2g}",
            better[c.verdict],
        )
        for c in comparisons
    ]
    print_table(["task", "metric", a, b, "A - B", "p", "p, Holm", "better"], rows)
    return OK
