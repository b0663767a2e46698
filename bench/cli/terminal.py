"""What a command gives back: tables and JSON on standard output, progress on standard error, a status."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bench.errors import printable

OK, FINDINGS, USAGE, INTERRUPTED = 0, 1, 2, 130  # exit statuses
CONTINUES = "finished cells are kept; the same command continues from there"


def prepare_streams() -> None:
    """Make both outputs writable: what a terminal's encoding lacks is escaped, and for a stream that was
    closed there is the null device, so that no file opened later gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send what is left of standard output nowhere, so that Python's end is silent."""
    with suppress(OSError, ValueError):  # a stream in memory has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupt_on_sigterm() -> None:
    """Let SIGTERM, which schedulers send, do what Ctrl-C does: raise KeyboardInterrupt."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


def print_progress(line: str) -> None:
    """Raises BrokenPipeError where the reader has closed the pipe; where standard error takes nothing for
    another reason, such as a full disk, it is given up."""
    try:
        print(plain_lines(line), file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 until the end


def plain_lines(text: str) -> str:
    """Lines without what a terminal would obey: parts of them may be a stranger's."""
    return "\n".join(map(printable, text.split("\n")))


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from tabulate import tabulate

    rows = [[plain_lines(str(cell)) for cell in row] for row in rows]
    print(tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True))
