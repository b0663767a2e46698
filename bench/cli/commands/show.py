"""`reptransfer show`: what is known about a component, task or suite; pictures of an encoder; the JSON
Schema of records."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import RUNS, Parsers, add_command, add_options
from bench.cli.terminal import OK, interrupt_on_sigterm, print_json, print_table
from bench.errors import BenchError


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "show", run, "show an encoder, task, protocol, data set or suite")
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a name or a spec, such as pca,dim=16; or record-schema, the JSON Schema of records",
    )
    parser.add_argument(
        "--pictures", metavar="DIR", help="draw what the encoder has learnt into this folder (PNG)"
    )
    parser.add_argument(
        "--results",
        metavar="DIR",
        help="write one sheet of these pictures beside its records; or the folder that has a task",
    )
    parser.add_argument(
        "--on", metavar="DATASET", help="draw with these images (default: fashion_mnist, or digits)"
    )
    add_options(parser, "--data", "--cache", "--device")


def run(arguments: argparse.Namespace) -> int:
    from bench.results.own_tasks import own_tasks
    from bench.results.schema import RECORD_SCHEMA, record_schema
    from bench.results.store import Store

    if arguments.name == RECORD_SCHEMA:
        print(record_schema(), end="")
        return OK
    tasks = own_tasks(Store(Path(arguments.results or RUNS))).tasks
    drawn = arguments.pictures is not None or arguments.results is not None
    if drawn and arguments.name not in tasks:
        return _draw(arguments)
    from bench.report.catalogue import details, inline

    tables = details(arguments.name, tasks)
    if arguments.json:
        print_json(tables)
    else:
        for table in tables:
            print_table(["", table.pop("kind")], [(k, inline(v)) for k, v in table.items()])
    return OK


def _draw(arguments: argparse.Namespace) -> int:
    from bench.datasets.base import DataSets, data_root
    from bench.naming.specs import resolve
    from bench.running.cache import Cache, cache_root

    spec = resolve("encoders", arguments.name)
    _ = spec.identity  # raises for a file that is missing
    for folder in filter(None, (arguments.pictures, arguments.results)):
        if Path(folder).exists() and not Path(folder).is_dir():
            raise BenchError(f"{folder!r} is a file; name a folder for the pictures")
    from bench.pictures.album import draw_album, save, save_sheet
    from bench.running.machine import chosen_device

    interrupt_on_sigterm()
    try:
        pictures = draw_album(
            arguments.name,
            on=arguments.on,
            datasets=DataSets(data_root(arguments.data)),
            cache=Cache(cache_root(arguments.cache)),
            device=chosen_device(arguments.device),
        )
    except Exception as error:
        if isinstance(error, BenchError) or not spec.local:
            raise
        raise BenchError(f"{arguments.name} fails: {error!r}") from error
    paths = [] if arguments.pictures is None else save(pictures, Path(arguments.pictures))
    paths += [] if arguments.results is None else [save_sheet(pictures, Path(arguments.results))]
    if arguments.json:
        print_json([str(path) for path in paths])
    else:
        print(*paths, sep="\n")
    return OK
