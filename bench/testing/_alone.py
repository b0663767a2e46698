"""A component leaves the rest of the process as it was: what encoders need, others need too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping

from bench.errors import BenchError
from bench.seeding import seeded
from bench.testing._finding import Finding, require
from bench.testing._watch import global_state, watched

__all__ = ["require_alone"]


def require_alone(steps: Mapping[str, Callable[[], object]], *, instead: str) -> None:
    """Raise `Finding` where one of the named steps, done in order, fails, asks the network, writes a
    file or changes global state; `instead` says where things are to be kept."""
    tempfile.gettempdir()  # writes a file to try the folder, once a process, whoever asks first
    # From a state that nobody would seed: else who seeds twice by one number changes nothing.
    with seeded(90210), watched() as watch:
        before = global_state()
        for what, step in steps.items():
            try:
                step()
            except Exception as error:
                if watch.asked:  # a failed connection is told below
                    break
                if isinstance(error, BenchError | Finding):
                    raise
                why = f"{what} fails: {type(error).__name__}: {error}"
                raise Finding(why.splitlines()[0]) from error
        after = global_state()
    require(not watch.asked, f"it asks the network ({', '.join(watch.asked[:1])}); {instead}")
    written = ", ".join(sorted(set(watch.written))[:2])
    require(not written, f"it writes {written}; {instead}")
    changed = [name for name in before if before[name] != after[name]]
    require(
        not changed,
        f"it changes {', '.join(changed)}; draw from bench.seeding.generator(seed, what for) instead",
    )
