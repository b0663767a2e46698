"""The command `reptransfer`: a subcommand for each file of `bench/cli/commands`."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence

from bench.cli import commands
from bench.cli.terminal import (
    CONTINUES,
    INTERRUPTED,
    OK,
    USAGE,
    discard_output,
    prepare_streams,
    print_progress,
)
from bench.errors import BenchError

_PATHS = {"data", "cache", "results", "into", "images", "semantics", "pictures", "out", "vectors"}

_OURS = "bench"
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image"}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 ok, 1 findings (a failed cell, a stale board, a broken rule), 2 usage."""
    prepare_streams()
    arguments = _parser().parse_args(argv)
    try:
        for name in _PATHS & vars(arguments).keys():  # no shell expands ~ in --data=~/images
            if isinstance(path := getattr(arguments, name), str):
                if not path:
                    raise BenchError(f"{name} is empty; name a file or folder (. is this one)")
                path = path if os.path.exists(path) else os.path.expanduser(path)
                setattr(arguments, name, path)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BenchError as error:
        print_progress(f"reptransfer: {error}")
        return USAGE
    except KeyboardInterrupt:
        print_progress(f"\nreptransfer: stopped; {CONTINUES}")
        return INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        discard_output()
        return OK
    except OSError as error:
        if _folder_is_gone():
            print_progress("reptransfer: the working folder is gone; change to one that is there")
            return USAGE
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            discard_output()
            print_progress(
                f"reptransfer: cannot write: {error.strerror}; free or name another place"
            )
        elif error.filename is not None:
            name = os.fsdecode(error.filename)
            print_progress(f"reptransfer: {name!r} cannot be used: {error.strerror}; name another")
        elif package := _package_that_fails(error):
            print_progress(_cannot_be_imported(package, error))
        else:
            raise
        return USAGE
    except Exception as error:
        if not (package := _package_that_fails(error)):
            raise
        print_progress(_cannot_be_imported(package, error))
        return USAGE
    return status


def _package_that_fails(error: Exception) -> str:
    """The package of others whose import raised the error, as it is missing or broken; else ""."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package != _OURS:
            return package
    package = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    return "" if package == _OURS else package


def _cannot_be_imported(package: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return (
        f"reptransfer: the package {package} cannot be imported ({reason}); install it again: pip install "
        f"--force-reinstall {_DISTRIBUTIONS.get(package, package)}"
    )


def _folder_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


class _HelpFormatter(argparse.HelpFormatter):
    """Leaves room for the longest command: argparse forgets that commands are indented twice."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 15


def _parser() -> argparse.ArgumentParser:
    """Of all modules in `bench.cli.commands`: `add(parsers)` adds a command's words and options, and its
    `run(arguments)` gives the exit status. They import nothing heavy before `run`."""
    parser = argparse.ArgumentParser(
        prog="reptransfer",
        description="How good is this representation, and for what?",
        epilog="`reptransfer COMMAND --help` shows the options of a command.",
        formatter_class=_HelpFormatter,
    )
    parsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name).add(parsers)
    return parser
