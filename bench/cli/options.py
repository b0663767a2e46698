"""Options that several commands share, each defined once."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from bench.errors import BenchError

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

RUNS = "reptransfer-runs"


def nonnegative(text: str) -> float:
    """A number in [0, 1e9)."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def count(text: str, least: int = 0) -> int:
    """A whole number from `least` up to 9 digits."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def _option(metavar: str | None, text: str, **arguments: Any) -> Mapping[str, Any]:
    return {"metavar": metavar, "help": text, **arguments}


_OPTIONS = {
    "--data": _option("DIR", "folder of data sets (default: $REPTRANSFER_DATA)"),
    "--cache": _option("DIR", "cached weights and features (default: $REPTRANSFER_CACHE)"),
    "--device": _option(None, "cpu, cuda, ... (default: a GPU if there is one)"),
    "--results": _option("DIR", f"results folder (default: ./{RUNS})", default=RUNS),
    "--suite": _option("S", "suite of encoders and tasks (default: demo)"),
    "--encoder": _option(
        "SPEC", "this encoder instead of the suite's; repeatable", action="append"
    ),
    "--task": _option(
        "GLOB", "these tasks, or a TOML file, instead of the suite's; repeatable", action="append"
    ),
    "--images": _option("DIR", "your own images: one subfolder per class"),
    "--semantics": _option("TOML", "attributes of the classes of --images: adds zero-shot tasks"),
    "--skip-bad": _option(
        "N",
        "leave out up to N images of --images that cannot be used (default: 0)",
        type=count,
        default=0,
    ),
    "--name": _option("NAME", "name of the encoder in records and boards; with one --encoder"),
    "--seeds": _option(
        "N", "number of runs of everything that draws random numbers", type=partial(count, least=1)
    ),
}


def add_command(
    parsers: Parsers, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    """The parser of a command, which has --json as all have."""
    parser = parsers.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add shared options by name, such as "--data"."""
    for name in names:
        parser.add_argument(name, **_OPTIONS[name])


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The options that `Selection.of` reads, and where cells are kept."""
    add_options(parser, "--suite", "--encoder", "--task", "--images", "--semantics", "--skip-bad")
    add_options(parser, "--name", "--data", "--cache", "--results", "--seeds")


def results_to_read(arguments: argparse.Namespace) -> Path:
    """The folder of --results. Raises BenchError where it does not exist."""
    root = Path(arguments.results)
    if not root.is_dir():
        raise BenchError(f"no folder {str(root)!r}; name a results folder, or run something first")
    return root
