"""`reptransfer enter`: an encoder of one's own becomes an entry, a folder of data for a pull request."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import Parsers, add_command, add_options
from bench.cli.terminal import (
    FINDINGS,
    OK,
    interrupt_on_sigterm,
    plain_lines,
    print_json,
    print_progress,
    print_table,
)

if TYPE_CHECKING:
    from bench.entries.enter import Entered

_FACTS = {  # of entry.toml: metavar and help of each option, and whether it can be repeated
    "title": ("TEXT", "its title", False),
    "author": ("NAME", "an author; repeatable", True),
    "contact": ("ADDRESS", "e-mail or https address", False),
    "licence": ("SPDX", "of the weights, such as Apache-2.0", False),
    "paper": ("URL", "https address of a paper", False),
    "code": ("URL", "https address of its code", False),
    "trained-with": ("DATASET", "what the weights were trained on with labels; repeatable", True),
    "trained-without": ("DATASET", "what they were trained on without labels; repeatable", True),
}


def add(parsers: Parsers) -> None:
    summary = "make the entry of an encoder: run it, check it, show its rank; nothing is sent"
    parser = add_command(parsers, "enter", run, summary)
    parser.add_argument("encoder", metavar="SPEC", help="a spec, a Python file or an ONNX file")
    parser.add_argument("--owner", metavar="NAME", required=True, help="your GitHub login")
    parser.add_argument("--suite", metavar="S", help="suite of tasks (default: core)")
    parser.add_argument(
        "--task",
        metavar="GLOB",
        action="append",
        default=[],
        help="these tasks instead of the suite's; repeatable",
    )
    parser.add_argument(
        "--as",
        dest="form",
        choices=("onnx", "features"),
        help="export the encoder: its network, or its features alone",
    )
    add_options(parser, "--results", "--data", "--cache")
    parser.add_argument(
        "--into",
        metavar="DIR",
        default="results",
        help="results folder of the entry (default: results)",
    )
    group = parser.add_argument_group("of a new entry.toml")
    for name, (metavar, text, repeatable) in _FACTS.items():
        action = "append" if repeatable else "store"
        default: Any = [] if repeatable else None
        group.add_argument(f"--{name}", metavar=metavar, help=text, action=action, default=default)


def run(arguments: argparse.Namespace) -> int:
    from bench.entries.enter import Facts, Folders, enter

    interrupt_on_sigterm()
    entered = enter(
        arguments.encoder,
        owner=arguments.owner,
        suite_name=arguments.suite,
        tasks=arguments.task,
        form=arguments.form,
        folders=Folders(
            results=Path(arguments.results),
            into=Path(arguments.into),
            data=arguments.data,
            cache=arguments.cache,
        ),
        facts=Facts(
            title=arguments.title or "",
            authors=tuple(arguments.author),
            contact=arguments.contact or "",
            licence=arguments.licence or "",
            paper=arguments.paper,
            code=arguments.code,
            trained_with_labels=tuple(arguments.trained_with),
            trained_without_labels=tuple(arguments.trained_without),
        ),
        tell=print_progress,
    )
    if arguments.json:
        print_json(_json(entered))
    else:
        _print(entered)
    return FINDINGS if entered.findings else OK


def _json(entered: Entered) -> dict[str, Any]:
    from bench.entries import pull_request

    verdict, standings = entered.verdict, entered.standings
    return {
        "folder": str(entered.place.folder),
        "owner": entered.place.owner,
        "encoder": entered.place.encoder,
        "findings": [asdict(remark) for remark in verdict.findings],
        "notes": [asdict(remark) for remark in verdict.notes],
        "left_out": entered.left_out,
        "overall": standings.overall and asdict(standings.overall),
        "incomplete": standings.incomplete,
        "tasks": [asdict(standing) for standing in standings.tasks],
        "steps": pull_request.steps(entered.place),
        "pull_request": pull_request.text(entered.place, entered.entry, standings),
    }


def _print(entered: Entered) -> None:
    from bench.entries import pull_request
    from bench.entries.verify import summary

    place, standings = entered.place, entered.standings
    rows = [[s.task, s.metric, s.score_text, s.rank_text] for s in standings.rows]
    print_table(["task", "metric", "score [95 % interval]", "rank"], rows)
    if standings.incomplete:
        print(f"no overall rank: {standings.incomplete}")
    for task, reason in entered.left_out.items():
        print(plain_lines(f"left out: {task} {reason}"))
    print(plain_lines("\n".join(summary(entered.verdict))))
    print(f"\nthe entry is in {place.folder}")
    if entered.findings:
        print("mend what is found and enter it again: what is done is not computed twice; then")
    print("\n".join(f"  {step}" for step in pull_request.steps(place)))
    print("  push the branch and open a pull request with this text:\n")
    print(plain_lines(pull_request.text(place, entered.entry, standings)))
