"""`reptransfer cache`: cached weights and features, listed, verified or removed."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from bench.cli.options import Parsers, add_command, add_options, nonnegative
from bench.cli.terminal import FINDINGS, OK, print_json, print_table

if TYPE_CHECKING:
    from bench.running.cache import Cache


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers, "cache", run, "list (ls), verify or remove (gc) cached weights and features"
    )
    parser.add_argument("what", choices=("ls", "verify", "gc"))
    add_options(parser, "--cache")
    parser.add_argument(
        "--days", type=nonnegative, metavar="D", help="gc: remove also files unused for D days"
    )
    parser.add_argument(
        "--max-gb", type=nonnegative, metavar="G", help="gc: keep at most G GB (default: 20)"
    )


def run(arguments: argparse.Namespace) -> int:
    from bench.running.cache import Cache, cache_root

    root = cache_root(arguments.cache)
    limit = {} if arguments.max_gb is None else {"most_bytes": int(arguments.max_gb * 2**30)}
    cache = Cache(root, **limit)
    if arguments.what == "verify":
        return _verify(cache, as_json=arguments.json)
    if arguments.what == "ls":
        return _list(cache, as_json=arguments.json)
    removed = [str(path) for path in cache.collect(days=arguments.days)]
    print(json.dumps(removed) if arguments.json else f"{len(removed)} files removed from {root}")
    return OK


def _list(cache: Cache, *, as_json: bool) -> int:
    from bench.report.overview import cache_lines

    entries = cache.entries()
    if as_json:
        print_json(
            [{"file": str(e.path), "bytes": e.size, "notes": dict(e.notes)} for e in entries]
        )
        return OK
    if entries:
        print_table(["kind", "encoder", "what", "MB", "unused for"], cache_lines(entries))
    size = sum(entry.size for entry in entries) / 1e9
    print(f"{len(entries)} files, {size:.2f} GB, in {cache.root}")
    return OK


def _verify(cache: Cache, *, as_json: bool) -> int:
    """Broken files are removed, and reported."""
    files = [(str(entry.path), fault) for entry, fault in cache.verify()]
    broken = [(path, fault) for path, fault in files if fault]
    if as_json:
        print_json([{"file": path, "broken": fault} for path, fault in files])
    else:
        for path, fault in broken:
            print(f"removed {path}, which was broken: {fault}")
        print(f"{len(files) - len(broken)} of {len(files)} files in {cache.root} are intact")
    return FINDINGS if broken else OK
