"""A component leaves the rest of the process as it was, since other components run in it too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping

from bench.errors import BenchError
from bench.seeding import seeded
from bench.testing._finding import Finding, first_line, require
from bench.testing._watch import global_state, watched


def require_alone(steps: Mapping[str, Callable[[], object]], *, instead: str) -> None:
    """Do the named steps in order. Raises `Finding` where one fails, connects to the network, writes a
    file or changes global state; `instead` tells the author what to do instead."""
    tempfile.gettempdir()  # its first call in a process writes a file, to try the folder
    # An unusual state: a step that seeds with a usual number would otherwise change nothing.
    with seeded(90210), watched() as watch:
        before = global_state()
        for name, step in steps.items():
            try:
                step()
            except Exception as error:
                if watch.connections:  # reported below
                    break
                if isinstance(error, BenchError | Finding):
                    raise
                raise Finding(f"{name} fails: {first_line(error)}") from error
        after = global_state()
    require(
        not watch.connections,
        f"it connects to the network ({', '.join(watch.connections[:1])}); {instead}",
    )
    written = ", ".join(sorted(set(watch.written))[:2])
    require(not written, f"it writes {written}; {instead}")
    changed = [name for name in before if before[name] != after[name]]
    require(
        not changed,
        f"it changes {', '.join(changed)}; draw from bench.seeding.generator(seed, purpose) instead",
    )
