"""A component leaves the rest of the process as it was, since other components run in it too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.errors import BenchError
from bench.seeding import seeded
from bench.testing._finding import Finding, first_line, require
from bench.testing._watch import global_state, watched

# Step -> where in the file it draws random numbers, see `bench.testing._scope.Scope`.
_PLACES = {
    "its file": "?",
    "build": "?build ?__init__ build",
    "fit": "?fit fit",
    "encoding": "?taps ?forward taps()",
    "select": "?select select",
    "predict": "?predict predict()",
}


def require_alone(steps: Mapping[str, Callable[[], object]], *, path: Path, instead: str) -> None:
    """Do the named steps of the code in `path` in order. Raises `Finding` where one fails, connects to the
    network, writes a file or changes global state; `instead` tells the author what to do instead."""
    tempfile.gettempdir()  # its first call in a process writes a file, to try the folder
    refused: Exception | None = None
    changed: dict[str, str] = {}  # what -> the step that changes it first
    # An unusual state: a step that seeds with a usual number would otherwise change nothing.
    with seeded(90210), watched(path) as watch:
        before = global_state()
        for step, call in steps.items():
            try:
                call()
            except Exception as error:
                if watch.connections:  # reported below
                    refused = error
                    break
                if isinstance(error, BenchError | Finding):
                    raise
                raise Finding(f"{step} fails: {first_line(error)}") from error
            after = global_state()
            changed = {what: step for what in before if before[what] != after[what]} | changed
    for connection, line in watch.connections.items():
        raise Finding(f"it connects to the network ({connection}); {instead}", at=line) from refused
    written = ", ".join(sorted(watch.written)[:2])
    line = next((at for at in watch.written.values() if at), None)
    require(not written, f"it writes {written}; {instead}", at=line)
    require(
        not changed,
        f"{' and '.join(dict.fromkeys(changed.values()))} changes {', '.join(changed)}; draw from "
        "bench.generator(seed, purpose) instead",
        at=" ".join(_PLACES[step] for step in dict.fromkeys(changed.values())),
    )
