"""`reptransfer study`: a question that many fits or cells answer together, and its report."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Parsers, add_command, add_options
from bench.cli.terminal import OK, interrupt_on_sigterm, print_json, print_progress


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers, "study", run, "answer a question with many cells; run again to continue"
    )
    parser.add_argument(
        "study", metavar="NAME", help="a name or a spec, see `reptransfer list studies`"
    )
    add_options(parser, "--data", "--cache", "--results", "--device")


def run(arguments: argparse.Namespace) -> int:
    from bench.datasets.base import DataSets, data_root
    from bench.naming import registry
    from bench.naming.specs import resolve
    from bench.running.cache import Cache, cache_root

    spec = resolve("studies", arguments.study)
    from bench.results.store import STUDIES
    from bench.studies.base import Setting, keep

    interrupt_on_sigterm()
    setting = Setting(
        datasets=DataSets(data_root(arguments.data)),
        folder=Path(arguments.results) / STUDIES / spec.text,
        cache=Cache(cache_root(arguments.cache)),
        device=arguments.device,
        progress=print_progress,
        results=Path(arguments.results),
    )
    report = registry.load(spec.entry).run(setting=setting, **spec.arguments)
    path = keep(report, setting.folder)
    if arguments.json:
        print_json(dict(report.data))
    else:
        print(report.text)
        print_progress(f"the report is in {path}")
    return OK
