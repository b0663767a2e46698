"""`reptransfer verify PATH`: are records what they say? `--change`: does a commit enter an encoder, and
nothing else? `--rerun`: does the encoder give what its records say? `--mark` writes that down."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import Parsers, add_command, add_options, count
from bench.cli.terminal import FINDINGS, OK, print_json, print_progress
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.entries.rerun import Rerun
    from bench.entries.verify import Verdict


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

    parser.add_argument(
        "--rerun",
        metavar="N",
        type=partial(count, least=1),
        help="run N of the cells again, of those whose encoder can be run here, with nothing cached",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=count,
        default=0,
        help="with --rerun: draws the cells (default: 0)",
    )
    parser.add_argument(
        "--weights",
        metavar="DIR",
        help="with --rerun: a folder with files of weights or features that lie outside of the entry",
    )
    add_options(parser, "--data", "--device")
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="with --rerun: weights and features (default: an empty folder)",
    )
    parser.add_argument(
        "--mark",
        choices=["reproduced", "confirmed"],
        help="write into the results folder's verified.json: what --rerun has found to agree; or what "
        "the author --by confirms, all consistent records of PATH",
    )
    parser.add_argument(
        "--by", metavar="NAME", help="with --mark: who says so (default: maintainers)"
    )


def run(arguments: argparse.Namespace) -> int:
    from bench.entries.verify import summary, verify

    _check(arguments)
    reruns, marked = None, None
    if arguments.change is None:
        verdict = verify(Path(arguments.path))
        if arguments.rerun is not None:
            reruns = _rerun(arguments)
            verdict.findings += reruns.findings
            verdict.notes += reruns.notes
        if arguments.mark is not None:
            marked = _mark(arguments, verdict, reruns)
    else:
        from bench.entries.change import check_change

        verdict = check_change(*arguments.change, author=arguments.author)
    cells = [] if reruns is None else reruns.cells
    if arguments.json:
        values = {
            "records": verdict.records,
            "findings": [asdict(remark) for remark in verdict.findings],
            "notes": [asdict(remark) for remark in verdict.notes],
            "consistent": verdict.consistent,
        }
        values |= {} if reruns is None else {"rerun": [asdict(cell) for cell in cells]}
        values |= {} if marked is None else {"marked": marked}
        print_json(values)
    else:
        lines = [f"run again: {cell}" for cell in cells] + list(summary(verdict))
        lines += [] if marked is None else [f"{marked} records are marked {arguments.mark}"]
        print("\n".join(lines))
    return FINDINGS if verdict.findings else OK


def _check(arguments: argparse.Namespace) -> None:
    """Raise BenchError for options that do not go together."""
    if (arguments.path is None) == (arguments.change is None):
        raise BenchError("name a folder, or two commits by --change BASE HEAD")
    if arguments.author is not None and arguments.change is None:
        raise BenchError("--author is of --change BASE HEAD")
    if arguments.change is not None and (arguments.rerun or arguments.mark):
        raise BenchError("--rerun and --mark need PATH, a folder, and no --change")
    of_rerun = ("weights", "data", "cache", "device")
    if arguments.rerun is None and (name := next(filter(vars(arguments).get, of_rerun), None)):
        raise BenchError(f"--{name} is of --rerun N")
    if (arguments.mark == "reproduced") != (
        arguments.mark is not None and arguments.rerun is not None
    ):
        raise BenchError("--mark reproduced needs --rerun N; --mark confirmed goes without")
    if arguments.by is not None and arguments.mark is None:
        raise BenchError("--by is of --mark")
    if arguments.mark == "confirmed" and arguments.by is None:
        raise BenchError("--mark confirmed needs --by NAME, the encoder's author")
    if arguments.by is not None:
        from bench.results.trust import check_name

        check_name(arguments.by, "--by")


def _rerun(arguments: argparse.Namespace) -> Rerun:
    from bench.entries.rerun import Machine, rerun
    from bench.files.paths import folder_path

    weights = None if arguments.weights is None else folder_path(arguments.weights, "--weights")
    if weights is not None and not weights.is_dir():
        raise BenchError(f"no folder {str(weights)!r} (--weights)")
    machine = Machine(
        data=arguments.data,
        cache=None if arguments.cache is None else folder_path(arguments.cache, "--cache"),
        device=arguments.device,
        weights=weights,
    )
    return rerun(
        Path(arguments.path),
        arguments.rerun,
        seed=arguments.seed,
        machine=machine,
        tell=print_progress,
    )


def _mark(arguments: argparse.Namespace, verdict: Verdict, reruns: Rerun | None) -> int:
    """How many records were marked; none with a finding is."""
    from bench.entries.mark import MAINTAINERS, mark_confirmed, mark_reproduced

    path = Path(arguments.path)
    if reruns is None:
        return mark_confirmed(path, verdict.consistent, arguments.by)
    cells = [cell for cell in reruns.cells if cell.file in verdict.consistent]
    return mark_reproduced(path, cells, arguments.by or MAINTAINERS)
