"""`reptransfer forget`: the records of an encoder are removed from a results folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bench.cli.options import Parsers, add_command, add_options, results_to_read
from bench.cli.terminal import OK, plain_lines, print_json, print_progress


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers, "forget", run, "remove an encoder's records and predictions, without confirmation"
    )
    parser.add_argument(
        "encoder", metavar="SPEC", help="the encoder, as records and boards call it"
    )
    parser.add_argument("--task", metavar="GLOB", default="*", help="only on these tasks")
    parser.add_argument(
        "--dry-run", action="store_true", help="remove nothing; say what would be removed"
    )
    add_options(parser, "--results")


def run(arguments: argparse.Namespace) -> int:
    from contextlib import suppress
    from fnmatch import fnmatchcase

    from bench.errors import BenchError, unknown
    from bench.naming.specs import resolve
    from bench.report.leaderboard import board_path, update_boards
    from bench.results.own_names import OwnNames
    from bench.results.places import Places
    from bench.results.store import SHEET, Store
    from bench.tasks.cell import OURS

    store = Store(results_to_read(arguments))
    names = {arguments.encoder}
    with suppress(BenchError):  # records of an encoder that is gone can be removed too
        spec = resolve("encoders", arguments.encoder)
        if all(map(os.path.exists, spec.paths.values())):  # is it the one of that name here?
            spec = OwnNames(store, Path()).encoder(arguments.encoder)
        names.add(spec.text)  # without arguments that are the defaults
    removable = [path for path in store.paths() if path.parent.parent.name in ("local", OURS)]
    removable = [path for path in removable if path.is_symlink() or not path.is_dir()]
    of_encoder = [path for path in removable if path.parent.name in names]
    chosen = [path for path in of_encoder if fnmatchcase(path.stem, arguments.task)]
    if not of_encoder:
        raise unknown(
            "encoder with records to remove",
            arguments.encoder,
            {path.parent.name for path in removable},
        )
    if not chosen:
        raise unknown("task of its records", arguments.task, {path.stem for path in of_encoder})
    removed: list[str] = []
    for path in chosen:
        owner, encoder, task = path.parent.parent.name, path.parent.name, path.stem
        if not arguments.dry_run:
            with store.claimed(owner, encoder, task) as claimed:
                if not claimed:
                    print_progress(f"{encoder} on {task} stays: another run is computing it")
                    continue
                path.unlink(missing_ok=True)  # first: a record promises its predictions
                path.with_suffix(".npz").unlink(missing_ok=True)
        removed.append(f"{encoder} on {task}")
        if not arguments.json:
            verb = "would remove" if arguments.dry_run else "removed"
            print(plain_lines(f"{verb} {removed[-1]}"))
    if arguments.json:
        print_json(removed)
    if arguments.dry_run:
        return OK
    for folder in {path.parent for path in chosen}:
        if not any(folder.glob("*.json")):
            (folder / SHEET).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    with store.names_lock():
        Places.read(store).of_records(store).write(store)
    if board_path(store).is_file():
        update_boards(store)
    return OK
