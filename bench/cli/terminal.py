"""What a command gives back: tables and JSON on standard output, progress on standard error, a status."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

OK, FINDINGS, USAGE, INTERRUPTED = 0, 1, 2, 130  # exit statuses
CONTINUES = "finished cells are kept; the same command continues from there"


def interrupt_on_sigterm() -> None:
    """Let SIGTERM, which schedulers send, do what Ctrl-C does: raise KeyboardInterrupt."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


def print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from tabulate import tabulate

    print(tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True))
