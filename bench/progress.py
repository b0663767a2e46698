"""Progress of long work: a line every ten seconds says what is done, how far, and how long it still takes.

Code that works through many steps counts them by `progress` or `each`. A `Reporter` prints them: that of
the run, else one for the outermost steps alone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
Tell = Callable[[str], None]
PERIOD = 10.0  # seconds from line to line


def to_stderr(line: str) -> None:
    """Print a line on standard error; where that is closed or its reader is gone, nothing."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return


def duration(seconds: float | None) -> str:
    """Seconds as text in s, min or h; "?" for None.

    >>> duration(7.31), duration(432), duration(9000), duration(None)
    ('7.3 s', '7 min', '2.5 h', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Steps:
    """Work of `total` steps (None: not counted), of which `done` are finished."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done, self._start = 0, time.perf_counter()

    def update(self, count: int = 1) -> None:
        """`count` more steps are finished."""
        self.done += count

    @property
    def left(self) -> float | None:
        """Seconds still to go, at the mean speed so far; None before the first step."""
        if not self.total or not self.done:
            return None
        spent = time.perf_counter() - self._start
        return max(0.0, spent * (self.total - self.done) / self.done)

    def __str__(self) -> str:
        if self.total is None:
            return self.what
        return f"{self.what} ({self.done:,} of {self.total:,} {self.unit})"


class Reporter:
    """Within its context it tells a line every `PERIOD` seconds."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self._steps: list[Steps] = []  # the outermost first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._report, name="progress", daemon=True)
        self.begin("")

    def begin(self, head: str, *, expected: float | None = None, rest: float | None = None) -> None:
        """The clock starts anew, for work that is called `head`, such as "[7/20] pca on digits-knn".

        expected: the seconds that it should take, where they are known. rest: those of what comes after.
        """
        self._head, self._expected, self._rest = head, expected, rest
        self._start = time.perf_counter()

    def line(self) -> str:
        """What is being done, how far it is, how long it has taken and still takes."""
        spent = time.perf_counter() - self._start
        steps = list(self._steps)
        what = ", ".join(str(step) for step in steps) or "at work"
        lefts = [step.left for step in steps if step.left is not None]
        if self._expected is not None and self._expected > spent:
            lefts.append(self._expected - spent)
        words = f"about {duration(max(lefts))} left" if lefts else "time left not known yet"
        if self._rest:
            words += f" (then about {duration(self._rest)} for the next ones)"
        return f"{f'{self._head}: ' if self._head else ''}{what}, {duration(spent)} so far, {words}"

    @contextmanager
    def steps(self, steps: Steps) -> Iterator[Steps]:
        self._steps.append(steps)
        try:
            yield steps
        finally:
            self._steps.remove(steps)

    def _report(self) -> None:
        while not self._stop.wait(PERIOD):
            if _reporters[-1] is self:  # one that was begun within it tells for both
                self.tell(self.line())

    def __enter__(self) -> Reporter:
        _reporters.append(self)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        _reporters.remove(self)


_reporters: list[Reporter] = []  # the innermost is the last


@contextmanager
def progress(what: str, total: int | None = None, unit: str = "steps") -> Iterator[Steps]:
    """Count steps of a piece of work; `update` says when some are done."""
    with (
        nullcontext(_reporters[-1]) if _reporters else Reporter(to_stderr) as reporter,
        reporter.steps(Steps(what, total, unit)) as counted,
    ):
        yield counted


def each(items: Iterable[T], what: str, total: int, unit: str = "steps") -> Iterator[T]:
    """The items, to be consumed to the end; each is a step that is done when the next one is asked for."""
    with progress(what, total, unit) as counted:
        for item in items:
            yield item
            counted.update()
