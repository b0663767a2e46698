"""Tables and JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

__all__ = ["print_json", "print_table"]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


def print_table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    from tabulate import tabulate

    print(tabulate(lines, headers=head, tablefmt="simple", disable_numparse=True))
